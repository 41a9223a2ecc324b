import json
import signal
import urllib.request

import pytest

from attack.writers import Writer
from commands import call
from tiny_run import train_tiny

pytestmark = pytest.mark.slow


def test_the_demo_serves_a_run_until_it_is_interrupted(people_parent, tmp_path):
    run = tmp_path / "full" / "seed0"
    train_tiny(people_parent, run, "evaluate=false")
    before = sorted(tmp_path.rglob("*"))
    arguments = ("models=[full/seed0]", "device=cpu", "port=0", "open_browser=false")
    demo = Writer("demo", "demo", arguments).start(tmp_path)
    try:
        said = demo.stdout.readline()
        assert said.startswith("Demo: http://127.0.0.1:"), said + demo.stdout.read()
        with urllib.request.urlopen(f"{said.split()[1]}/content.json", timeout=60) as answer:
            content = json.load(answer)
        assert [model["name"] for model in content["models"]] == ["full"]
        demo.send_signal(signal.SIGINT)
        assert demo.communicate(timeout=60) == ("interrupted by Ctrl-C\n", None)
        assert demo.returncode == 130
    finally:
        demo.kill()
        demo.wait()
    assert sorted(tmp_path.rglob("*")) == before, "it writes nothing"


def test_a_missing_model_is_named_in_one_line(tmp_path):
    done = call("demo", tmp_path, "models=[nothing/seed0]", "open_browser=false")
    assert done.returncode == 1
    line = done.stdout.splitlines()[-1]
    assert line.startswith("ValueError: model: expected a model package, a run, a checkpoint or one of ")
    assert line.endswith("got 'nothing/seed0'")
