import json
import signal
import urllib.request

import pytest

from attack.writers import Writer
from tiny_run import compose_config, train_tiny
from twostream.cli.demo import main

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


def test_a_missing_model_is_named():
    with pytest.raises(ValueError, match=r"^model: expected a model package, a run, .*, got 'nothing/seed0'$"):
        main(compose_config("demo", "models=[nothing/seed0]"))
