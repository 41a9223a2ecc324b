import io
from pathlib import Path

import pytest
import rich
from omegaconf import OmegaConf

from commands import call
from tiny_run import compose_config
from twostream.cli import CONF
from twostream.cli import status as status_command
from twostream.files import write_json


def test_the_ablations_are_swept_in_one_place():
    params = compose_config("train", "sweep=ablations", return_hydra_config=True).hydra.sweeper.params
    there = {path.stem for path in Path(CONF, "ablation").glob("*.yaml")}
    warp = compose_config("train", "sweep=warp", return_hydra_config=True).hydra.sweeper.params.ablation.split(",")
    assert {*params.ablation.split(",")} == there - {"patn", *warp}
    assert {*warp} == {name for name in there if name.startswith("warp")}


def test_without_any_run_all_ablations_are_not_started(tmp_path):
    done = call("status", tmp_path, "runs=runs/synthetic/small", "seeds=[0,1]")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) == 1 + 18 + 1
    assert lines[1].split() == ["full/seed0", "not", "started", "-", "-", "-", "-"]
    assert lines[-1] == "18 runs: 18 not started"


@pytest.mark.parametrize(
    ("overrides", "said"),
    [([], "1 runs: 1 done"), (["unless_done=true"], ""), (["unless_done=true", "seeds=[0,1]"], "1 not started")],
)
def test_it_can_be_silent_if_all_runs_are_done(tmp_path, capsys, overrides, said):
    write_json(tmp_path / "full/seed0/run.json", {"state": "done"})
    status_command.main(compose_config("status", f"runs={tmp_path}", "ablations=[full]", *overrides))
    printed = capsys.readouterr().out
    assert said in printed
    assert bool(said) == bool(printed)


@pytest.fixture
def terminal():
    """What rich draws on a terminal."""
    drawn = io.StringIO()
    rich.reconfigure(file=drawn, force_terminal=True, width=160)
    yield drawn
    rich.reconfigure()


def test_it_watches_until_all_runs_have_ended(tmp_path, monkeypatch, terminal):
    """Each look is drawn, and what happens between two looks is in the next one."""
    run = tmp_path / "runs/full/seed0"
    states = iter(["running", "failed"])
    waits = []

    def change_the_run(seconds):
        waits.append(seconds)
        write_json(run / "run.json", {"state": next(states), "reason": "it was full"})

    monkeypatch.setattr(status_command.time, "sleep", change_the_run)
    status_command.watch(OmegaConf.create({"runs": str(tmp_path / "runs"), "ablations": ["full"], "seeds": [0]}))
    text = terminal.getvalue()
    assert waits == [status_command.INTERVAL] * 2
    assert [word in text for word in ("not started", "interrupted", "it was full")] == [True] * 3
    assert "1 runs: 1 failed" in text.splitlines()[-2]
