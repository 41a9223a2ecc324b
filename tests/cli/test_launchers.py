"""Sweeps by Hydra's basic launcher, by joblib, and by submitit on this machine and on a stand-in for SLURM."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from commands import start, train, wait_until
from slurm_stand_in import install
from twostream.runs import is_locked, read_run
from twostream.signals import Interrupted

ROOT = Path(__file__).parents[2]
CORES = os.sysconf("SC_NPROCESSORS_ONLN")
LONG = ["schedule.constant_iterations=60", "trainer.val_check_interval=20"]


@pytest.mark.parametrize(
    ("knobs", "expected"),
    [
        (["GPUS="], f"hydra/launcher=joblib hydra.launcher.n_jobs={CORES} sweep=ablations"),
        (["GPUS=GPU 0"], "scale=smoke seed=0  sweep=ablations"),
        (["LAUNCHER=one"], "scale=smoke seed=0  sweep=ablations"),
        (["LAUNCHER=joblib"], f"hydra/launcher=joblib hydra.launcher.n_jobs={CORES} sweep=ablations"),
        (["LAUNCHER=joblib", "JOBS=4"], "hydra/launcher=joblib hydra.launcher.n_jobs=4 sweep=ablations"),
        (["LAUNCHER=slurm"], "hydra/launcher=slurm  sweep=ablations"),
        (["LAUNCHER=slurm", "JOBS=4"], "hydra/launcher=slurm hydra.launcher.array_parallelism=4 sweep=ablations"),
        (["LAUNCHER=ray"], "LAUNCHER: expected auto, one, joblib or slurm, got ray"),
    ],
)
def test_the_makefile_selects_the_launcher(knobs, expected):
    command = ["make", "--dry-run", "--no-print-directory", "ablations", "LAUNCHER=auto", "JOBS=", *knobs]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)
    assert expected in done.stdout + done.stderr


def task_of(controller: int) -> int:
    """Return the process that submitit's local executor has started for its job."""
    return int(Path(f"/proc/{controller}/task/{controller}/children").read_text().split()[0])


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_a_killed_sweep_ends_its_jobs_and_the_next_call_finishes_them(tmp_path, tiny, launcher):
    runs = tmp_path / "runs/synthetic/smoke/full"
    sweep = ["-m", *tiny, *LONG, "variant=full", "seed=0,1", f"hydra/launcher={launcher}"]
    sweep += ["hydra.launcher.n_jobs=2"] if launcher == "joblib" else []
    assert train(tmp_path, *tiny, *LONG, "variant=full", "seed=0")[0] == 0
    first = (runs / "seed0/checkpoints/last.ckpt").stat()
    process = start(tmp_path, *sweep)
    wait_until((runs / "seed1/checkpoints/last.ckpt").exists)
    assert is_locked(runs / "seed1")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    wait_until(lambda: not is_locked(runs / "seed1"))
    assert read_run(runs / "seed1").state == "stopped"
    code, output = train(tmp_path, *sweep)
    assert code == 0, output
    assert "seed0 is finished" in output
    assert "resumes from iteration" in (runs / "seed1/train.log").read_text()
    assert (runs / "seed0/checkpoints/last.ckpt").stat() == first
    assert [read_run(runs / name).state for name in ("seed0", "seed1")] == ["done", "done"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_a_parallel_sweep_stops_its_jobs_after_a_checkpoint(tmp_path, tiny, number):
    runs = [tmp_path / f"runs/synthetic/smoke/full/seed{seed}" for seed in (0, 1)]
    sweep = ["-m", *tiny, "schedule.constant_iterations=5000", "variant=full", "seed=0,1"]
    process = start(tmp_path, *sweep, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    wait_until(lambda: all((run / "checkpoints/last.ckpt").exists() for run in runs))
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    output, _ = process.communicate()
    assert output.count(f"interrupted by {Interrupted(number)}") == 1, output
    assert process.returncode == (130 if number == signal.SIGINT else 0)
    for run in map(read_run, runs):
        assert run.state == "stopped"
        assert re.fullmatch(r"SIGTERM at iteration \d+", run.reason)


@pytest.mark.slow
def test_joblib_runs_jobs_in_parallel_and_keeps_their_output(tmp_path, tiny):
    sweep = ["-m", *tiny, "variant=rate${generator.dropout}", "evaluate=false", "generator.dropout=2,0.5"]
    code, output = train(tmp_path, *sweep, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    runs = tmp_path / "runs/synthetic/smoke"
    assert code == 1
    assert "rate2/seed0 failed: ValueError: generator: dropout probability has to be between 0 and 1" in output
    assert read_run(runs / "rate0.5/seed0").state == "done"
    assert "iteration 4/4" not in output
    assert "iteration 4/4" in (runs / "rate0.5/seed0/output.log").read_text()
    starts = [match.start() for match in re.finditer("seed0 starts", output)]
    assert len(starts) == 2
    assert max(starts) < output.index("has ended")


@pytest.mark.slow
def test_a_job_preempted_by_submitit_is_requeued_once_and_resumes(tmp_path, tiny):
    process = start(tmp_path, "-m", *tiny, *LONG, "variant=full", "evaluate=false", "hydra/launcher=submitit_local")
    run_dir = tmp_path / "runs/synthetic/smoke/full/seed0"
    wait_until((run_dir / "checkpoints/last.ckpt").exists)
    (log,) = (tmp_path / "runs/.submitit").glob("*/*_log.out")
    os.kill(task_of(int(log.parent.name)), signal.SIGUSR2)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert len(re.findall("submitit INFO .* Requeued job", log.read_text())) == 1
    assert "resumes from iteration" in (run_dir / "train.log").read_text()
    assert read_run(run_dir).state == "done"


@pytest.mark.slow
def test_a_slurm_job_trains_with_one_task_per_process_and_is_requeued_once(tmp_path, tiny):
    slurm = tmp_path / "slurm"
    sweep = ["-m", *tiny, *LONG, "variant=full", "evaluate=false", "hydra/launcher=slurm"]
    sweep += ["trainer=ddp_cpu", "trainer.devices=2", "hydra.launcher.gpus_per_node=null"]
    process = start(tmp_path, *[word for word in sweep if word != "trainer=cpu"], PATH=install(slurm))
    run_dir = tmp_path / "runs/synthetic/smoke/full/seed0"
    wait_until((run_dir / "checkpoints/last.ckpt").exists)
    for task in (slurm / "tasks.txt").read_text().split():
        os.kill(int(task), signal.SIGUSR2)
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 0, output
    calls = (slurm / "calls.txt").read_text().splitlines()
    assert [call for call in calls if call.startswith("scontrol")] == ["scontrol requeue 1234"]
    assert sum(call.startswith("sbatch") for call in calls) == 1
    script = (slurm / "script.sh").read_text()
    for option in ("--ntasks-per-node=2", "--nodes=1", "--signal=USR2@90", "--requeue", "--time=1440"):
        assert f"#SBATCH {option}\n" in script
    assert "resumes from iteration" in (run_dir / "train.log").read_text()
    assert "MEMBER: 2/2" in next((tmp_path / "runs/.submitit").glob("*/1234_1_log.out")).read_text()
    assert json.loads((run_dir / "run.json").read_text())["progress"]["iteration"] == 62


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "said"), [(signal.SIGKILL, "was killed by SIGKILL"), (signal.SIGSTOP, "is stopped")]
)
def test_a_lost_rank_ends_the_training_with_a_line_that_names_it(tmp_path, tiny, number, said):
    arguments = [word for word in tiny if word != "trainer=cpu"]
    arguments += ["trainer=ddp_cpu", "variant=full", "evaluate=false"]
    process = start(tmp_path, *arguments, "schedule.constant_iterations=100000")
    run_dir = tmp_path / "runs/synthetic/smoke/full/seed0"
    wait_until((run_dir / "checkpoints/last.ckpt").exists)
    (rank,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(rank), number)
    output, _ = process.communicate(timeout=90)
    assert process.returncode == 1
    assert "Traceback" not in output
    assert re.findall(r"rank 1 \(process (\d+)\) " + said, output) == [rank]
    run = read_run(run_dir)
    assert run.state == "failed"
    assert re.match(rf"ChildProcessError: rank 1 \(process {rank}\) {said}", run.reason)
    assert not Path("/proc", rank).exists()
