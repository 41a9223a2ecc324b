import json
import os
import signal
import subprocess
import sys
import urllib.request

import pytest

from commands import QUIET, call
from tiny_run import compose_config, overrides_of_tiny_run
from twostream.cli.train import train_and_evaluate

pytestmark = pytest.mark.slow


def test_the_demo_serves_a_run_until_it_is_interrupted(people_parent, tmp_path):
    run = tmp_path / "full" / "seed0"
    train_and_evaluate(compose_config("train", *overrides_of_tiny_run(people_parent, run), "evaluate=false"), run)
    before = sorted(tmp_path.rglob("*"))
    command = [sys.executable, "-c", "from twostream.cli.main import run; run('demo')"]
    demo = subprocess.Popen(
        [*command, "models=[full/seed0]", "device=cpu", "port=0", "open_browser=false"],
        cwd=tmp_path,
        env={**os.environ, **QUIET},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
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
