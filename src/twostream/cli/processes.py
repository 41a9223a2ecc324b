"""The process of a sweep's job: it gets its share of the GPUs, is stopped with a checkpoint, and outlives no sweep."""

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO

from twostream.runs import is_stopped, read_failure, write_failure

log = logging.getLogger(__name__)

PARENT = "TWOSTREAM_PARENT"
OUTPUT = "output.log"
# What asks for an end: a user or a scheduler, submitit's own signal being the last.
STOPPING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


def run_in_own_process(overrides: Sequence[str], run_dir: Path, devices: object) -> None:
    """Do one job of a sweep in a process of its own. Raises RuntimeError with the reason if it fails or is stopped.

    Jobs in one process would share a W&B run, and would all hang where one rank of a DDP job fails. A signal that asks
    for an end is handed to the job as SIGTERM, on which a training writes its checkpoint; when the job has ended, the
    signal goes to whom it was meant for. A worker of a pool (joblib's) gives its job a share of the GPUs, and what the
    job prints goes to `output.log` in the run's folder.

    Args:
        overrides: what describes the job, as on the command line.
        run_dir: folder of the run.
        devices: the trainer's; a number is that of the GPUs that a pool's worker gives to its job.

    """
    command = [sys.executable, "-m", "twostream.cli.train", *overrides, f"hydra.run.dir='{run_dir}'"]
    environment = {**os.environ, PARENT: str(os.getpid())}
    pool = multiprocessing.parent_process()
    if pool is None:
        code, signals = _finish(command, environment, None)
    else:
        worker = multiprocessing.current_process()._identity[-1]
        if isinstance(devices, int) and devices > 0 and (gpus := visible_gpus()):
            environment["CUDA_VISIBLE_DEVICES"] = gpus_of_worker(worker, devices, gpus)
        log.info("%s starts", run_dir)
        run_dir.mkdir(parents=True, exist_ok=True)
        with (run_dir / OUTPUT).open("w") as output:
            code, signals = _finish(command, environment, output)
        log.info("%s has ended", run_dir)
    for number in signals:
        signal.raise_signal(number)
    if signals or (code == 0 and is_stopped(run_dir)):
        raise RuntimeError(f"{run_dir} was stopped")
    if code < 0:
        write_failure(run_dir, f"killed by signal {signal.Signals(-code).name}")
    if code:
        raise RuntimeError(f"{run_dir} failed: {read_failure(run_dir)}")


def end_with_parent() -> None:
    """End this process when the one is gone that started it: a sweep for a job or a pool, a training's first process.

    So none runs on unseen, and none waits for others that are not there.
    """
    pool = multiprocessing.parent_process()
    is_first = os.environ.get("LOCAL_RANK", "0") == "0"
    parent = os.environ.pop(PARENT, None) or (pool and pool.pid) or (None if is_first else os.getppid())
    if parent:
        _end_with(int(parent))


def gpus_of_worker(worker: int, num_gpus: int, gpus: Sequence[str]) -> str:
    """Return the GPUs of a pool's worker, numbered from 1, as CUDA_VISIBLE_DEVICES has them.

    The workers take turns: of four GPUs, two each, the first worker has "0,1", the second "2,3", the third "0,1".
    """
    first = (worker - 1) * num_gpus
    return ",".join(gpus[(first + i) % len(gpus)] for i in range(min(num_gpus, len(gpus))))


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use: those of CUDA_VISIBLE_DEVICES where that is set, else all."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return [str(i) for i in range(sum(line.startswith("GPU ") for line in listed.splitlines()))]


def _finish(command: Sequence[str], environment: Mapping[str, str], output: IO[str] | None) -> tuple[int, list[int]]:
    """Run a command to its end; return its exit status and the signals that asked for an end meanwhile."""
    signals: list[int] = []
    # In a session of its own a Ctrl-C reaches the sweep alone, which then stops the job as it does on other signals.
    process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)

    def pass_on(number: int, _: object) -> None:
        """Ask the job to end, and remember the signal."""
        if number not in signals:
            signals.append(number)
        process.terminate()

    handlers = {number: signal.signal(number, pass_on) for number in STOPPING}
    try:
        process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return process.returncode, signals


@cache
def _end_with(parent: int) -> None:
    threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    main_thread = threading.main_thread().ident
    assert main_thread is not None
    # Not to this thread, where the signal would not wake the main one.
    signal.pthread_kill(main_thread, signal.SIGTERM)
