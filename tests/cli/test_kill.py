"""Commands that are killed with SIGKILL or stopped by signals, in subprocesses."""

import json
import signal

import pytest
import torch

from attack.kills import attack
from attack.writers import RUN, WRITERS
from commands import start, train, wait_until
from tiny_run import assert_same_leaves
from twostream.runs import read_run


@pytest.mark.slow
def test_a_killed_run_of_two_processes_is_bit_identical_to_an_uninterrupted_one(tmp_path, tiny):
    arguments = [
        *tiny,
        "trainer=ddp_cpu",
        "variant=full",
        "schedule.constant_iterations=200",
        "trainer.val_check_interval=40",
        "callbacks.checkpoints.every_n_iterations=7",
        "data/augmentation=flip",
        "averaging=ema",
        "evaluate=false",
    ]
    uninterrupted, killed = tmp_path / "uninterrupted", tmp_path / "killed"
    uninterrupted.mkdir()
    killed.mkdir()
    code, output = train(uninterrupted, *arguments)
    assert code == 0, output
    process = start(killed, *arguments)
    wait_until(lambda: process.poll() is not None or (killed / RUN / "checkpoints/last.ckpt").is_file())
    process.send_signal(signal.SIGKILL)
    process.communicate()
    code, output = train(killed, *arguments)
    assert code == 0, output
    one, other = (
        torch.load(folder / RUN / "checkpoints/last.ckpt", weights_only=True) for folder in (uninterrupted, killed)
    )
    assert one["iteration"] == 202
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "averaged_generator", "processes", "best"):
        assert_same_leaves(one[part], other[part])


@pytest.mark.slow
@pytest.mark.parametrize("writer", [pytest.param(writer, id=writer.name) for writer in WRITERS])
def test_a_command_that_is_killed_or_signalled_leaves_what_an_undisturbed_one_leaves(writers_folder, writer):
    counts, defects = attack(writer, writers_folder, count=1, seed=1)
    assert not defects, defects[0]
    assert counts["kills"] + counts["signals"] > 0


STAGES = {
    "set-up": lambda run_dir: (run_dir / "run.json").exists(),
    "training": lambda run_dir: (run_dir / "checkpoints/last.ckpt").exists(),
    "evaluation": lambda run_dir: any(run_dir.glob("images/*.png")),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "number"), list(zip(STAGES, [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1], strict=True))
)
def test_a_signal_ends_each_stage_of_a_run_in_one_line_and_it_resumes(tmp_path, tiny, stage, number):
    arguments = [*tiny, "variant=full", "scoring.metrics=[ssim]", "scoring.batch_size=1"]
    arguments += ["schedule.constant_iterations=100"] if stage == "training" else []
    run_dir = tmp_path / RUN
    process = start(tmp_path, *arguments)
    wait_until(lambda: process.poll() is not None or STAGES[stage](run_dir))
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    name = "Ctrl-C" if number == signal.SIGINT else number.name
    assert output.count(f"interrupted by {name}") == 1, output
    assert "Traceback" not in output
    assert process.returncode == (130 if number == signal.SIGINT else 0)
    run = read_run(run_dir)
    assert run.state == "stopped"
    assert run.reason.startswith(name)
    code, output = train(tmp_path, *arguments)
    assert code == 0, output
    assert read_run(run_dir).state == "done"
    assert json.loads((run_dir / "metrics.json").read_text())["values"]
