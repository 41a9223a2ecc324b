"""The commands as a user calls them, in processes of their own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tiny_run import overrides_of_tiny_run
from twostream.cli.jobs import quote_numbered_options, variant_name
from twostream.runs import claimed, write_failure


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], "full"),
        (["ablation=full", "seed=3", "scale=small", "data=synthetic", "trainer=cpu", "logger=wandb"], "full"),
        (["generator/blocks=5"], "full+generator.blocks=5"),
        (["generator/blocks='5'", "trainer.devices=2"], "full+generator.blocks=5"),
        (["loss.l1_weight=1", "data.batch_size=4"], "full+data.batch_size=4+loss.l1_weight=1"),
        (["data.batch_size=4", "loss.l1_weight=1"], "full+data.batch_size=4+loss.l1_weight=1"),
        (["data/augmentation=flip"], "full+data.augmentation=flip"),
        (["scoring.weights_dir=w", "pose_estimator@scoring.pose_estimator=keypoint_rcnn"], "full"),
    ],
)
def test_variant_name(overrides, expected):
    assert variant_name("full", overrides) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("generator/blocks=5", "generator/blocks='5'"),
        ("generator/blocks=5,13", "generator/blocks='5','13'"),
        ("generator.num_blocks=5", "generator.num_blocks=5"),
        ("seed=0,1", "seed=0,1"),
        ("generator/at_module=on,off", "generator/at_module=on,off"),
    ],
)
def test_numbered_options_are_quoted(given, expected):
    assert quote_numbered_options([given]) == [expected]


def test_a_folder_is_held_by_one_process_at_a_time(tmp_path):
    with (
        claimed(tmp_path),
        pytest.raises(ValueError, match="another process is at work on this run"),
        claimed(tmp_path),
    ):
        pass
    with claimed(tmp_path):
        pass


def test_a_failure_is_one_line(tmp_path):
    write_failure(tmp_path, "first\nsecond")
    assert json.loads((tmp_path / "status.json").read_text())["error"] == "first"
    write_failure(tmp_path, "")


def start(folder: Path, *arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "twostream.cli.train", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HYDRA_FULL_ERROR": "0", "WANDB_MODE": "offline"}
    return subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def train(folder: Path, *arguments: str) -> tuple[int, str]:
    process = start(folder, *arguments)
    output, _ = process.communicate(timeout=240)
    return process.returncode, output


@pytest.fixture
def tiny(people_parent, tmp_path):
    """Overrides of a tiny run but for its folder, which Hydra chooses."""
    return [
        override.replace("generator.num_blocks=2", "generator.num_blocks=1")
        for override in overrides_of_tiny_run(people_parent, tmp_path)
        if not override.startswith(("run_dir=", "variant="))
    ]


def test_a_config_that_can_not_work_is_refused_in_one_line(tmp_path, tiny):
    code, output = train(tmp_path, *tiny, "variant=x", "data.image_size=[30,16]")
    assert code == 1
    assert "data.image_size: expected height and width divisible by 4, got 30x16" in output
    assert "Traceback" not in output


def test_the_tables_of_no_runs_say_so(tmp_path):
    specs = sorted(str(path) for path in Path(__file__).parents[2].glob("experiments/table*.yaml"))
    command = [sys.executable, "-c", "from twostream.cli.table import main; main()"]
    command += ["runs=runs/synthetic/smoke", "seeds=[0,1]", f"specs=[{','.join(specs)}]"]
    done = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True, check=True)
    assert done.stdout.count("## Table") == 3
    assert "synthetic/smoke/full/seed1: not run" in done.stdout
    assert (tmp_path / "runs/synthetic/smoke/tables/table3_at_module.csv").is_file()


@pytest.mark.slow
def test_a_sweep_goes_on_after_a_failure_and_does_nothing_twice(tmp_path, tiny):
    sweep = ["-m", *tiny, "variant=rate${generator.dropout}"]
    runs = tmp_path / "runs/synthetic/smoke"
    code, output = train(tmp_path, *sweep, "generator.dropout=2,0.5")
    assert code == 1
    failed = json.loads((runs / "rate2/seed0/status.json").read_text())
    assert failed["state"] == "failed"
    assert "dropout probability has to be between 0 and 1" in failed["error"]
    assert (runs / "rate0.5/seed0/metrics.json").is_file(), output
    code, output = train(tmp_path, *sweep, "generator.dropout=0.5,0.25")
    assert code == 0, output
    assert (runs / "rate0.25/seed0/metrics.json").is_file()
    code, output = train(tmp_path, *sweep, "generator.dropout=0.5,0.25")
    assert code == 0
    assert output.count("is finished") == 2
    assert "Iterations" not in output


@pytest.mark.slow
def test_a_run_killed_in_training_is_done_by_the_next_call(tmp_path, tiny):
    arguments = [*tiny, "variant=full", "schedule.constant_iterations=40"]
    process = start(tmp_path, *arguments)
    run_dir = tmp_path / "runs/synthetic/smoke/full/seed0"
    deadline = time.monotonic() + 120
    while not (run_dir / "checkpoints/last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (run_dir / "metrics.json").exists()
    code, output = train(tmp_path, *arguments)
    assert code == 0, output
    assert json.loads((run_dir / "metrics.json").read_text())["run"]["iterations"] == 42


@pytest.mark.slow
def test_a_job_ends_with_the_sweep_that_started_it(tmp_path, tiny):
    arguments = ["-m", *tiny, "variant=full", "schedule.constant_iterations=100000"]
    process = start(tmp_path, *arguments)
    run_dir = tmp_path / "runs/synthetic/smoke/full/seed0"
    deadline = time.monotonic() + 120
    while not (run_dir / "checkpoints/last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    while time.monotonic() < deadline:
        try:
            with claimed(run_dir):
                return
        except ValueError:
            time.sleep(0.2)
    pytest.fail("the job is still at work")


@pytest.mark.slow
def test_wandb_logs_offline_beside_the_csv(tmp_path, tiny):
    code, output = train(tmp_path, *tiny, "variant=full", "logger=wandb")
    assert code == 0, output
    run_dir = tmp_path / "runs/synthetic/smoke/full/seed0"
    assert list(run_dir.glob("wandb/offline-run-*/run-*.wandb"))
    assert (run_dir / "logs/metrics.csv").is_file()
