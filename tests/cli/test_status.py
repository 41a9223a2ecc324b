import subprocess
import sys
from pathlib import Path

import yaml

from twostream.cli import CONF
from twostream.files import write_json

ROOT = Path(__file__).parents[2]


def status(folder, *arguments):
    command = [sys.executable, "-c", "from twostream.cli.status import main; main()", *arguments]
    done = subprocess.run(command, cwd=folder, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_ablations_are_those_of_the_configuration_and_of_the_makefile():
    listed = yaml.safe_load(Path(CONF, "status.yaml").read_text())["ablations"]
    there = {path.stem for path in Path(CONF, "ablation").glob("*.yaml")}
    assert set(listed) == there - {"patn"}, "all but the baseline"
    assert f"ABLATIONS := {','.join(listed)}\n" in (ROOT / "Makefile").read_text()


def test_without_any_run_all_ablations_are_not_started(tmp_path):
    lines = status(tmp_path, "runs=runs/synthetic/small", "seeds=[0,1]").splitlines()
    assert len(lines) == 1 + 18 + 1
    assert lines[1].split() == ["full/seed0", "not", "started", "-", "-", "-", "-"]
    assert lines[-1] == "18 runs: 18 not started"


def test_where_all_is_done_it_can_be_silent(tmp_path):
    write_json(tmp_path / "runs/full/seed0/run.json", {"state": "done"})
    asked = ["runs=runs", "ablations=[full]"]
    assert "1 runs: 1 done" in status(tmp_path, *asked)
    assert status(tmp_path, *asked, "unless_done=true") == ""
    assert "1 not started" in status(tmp_path, *asked, "seeds=[0,1]", "unless_done=true")
