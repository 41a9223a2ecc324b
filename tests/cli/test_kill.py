"""Runs that are killed with SIGKILL at random moments, in subprocesses."""

import random
import signal
import time
from pathlib import Path

import pytest
import torch

from commands import start, train, wait_until
from tiny_run import assert_same_leaves

NUM_ITERATIONS = 202


def end_of(run_dir: Path) -> dict:
    return torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)


@pytest.mark.slow
@pytest.mark.parametrize(("trainer", "num_kills"), [("cpu", 3), ("ddp_cpu", 1)])
def test_a_run_killed_at_random_moments_is_bit_identical_to_an_uninterrupted_one(tmp_path, tiny, trainer, num_kills):
    arguments = [
        *tiny,
        f"trainer={trainer}",
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
    run_dir = killed / "runs/synthetic/smoke/full/seed0"
    moments = random.Random(0)
    for _ in range(num_kills):
        kill_after_a_checkpoint(start(killed, *arguments), run_dir, moments.uniform(0, 1))
    code, output = train(killed, *arguments)
    assert code == 0, output
    one, other = (end_of(tmp_path / name / "runs/synthetic/smoke/full/seed0") for name in ("uninterrupted", "killed"))
    assert one["iteration"] == NUM_ITERATIONS
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "averaged_generator", "processes", "best"):
        assert_same_leaves(one[part], other[part])


def kill_after_a_checkpoint(process, run_dir: Path, seconds: float):
    """Kill a run so many seconds after it has written another checkpoint."""
    before = iteration_of(run_dir)
    wait_until(lambda: process.poll() is not None or iteration_of(run_dir) > before)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def iteration_of(run_dir: Path) -> int:
    path = run_dir / "checkpoints" / "last.ckpt"
    return end_of(run_dir)["iteration"] if path.is_file() else 0
