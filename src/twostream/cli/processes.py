"""Run each job of a sweep in a subprocess: GPU assignment, signal forwarding, clean-up with the parent."""

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO

from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import CompactHydraException
from omegaconf import DictConfig
from typing_extensions import override

from twostream.files import open_log
from twostream.registry import model_config
from twostream.runs import check_same_config, is_finished, read_run, update_run
from twostream.signals import signal_main_thread

log = logging.getLogger(__name__)

# Environment variables of a job: the process whose end ends it, and the pipe to which it says why it failed.
PARENT, REASON = "TWOSTREAM_PARENT", "TWOSTREAM_REASON"
MAX_REASON = 4096  # bytes
OUTPUT = "output.log"
FORWARDED = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)  # of a user, a scheduler, submitit


class JobError(CompactHydraException):
    """A job of a sweep failed or was stopped; Hydra shows the message alone."""


class ToSweep(logging.Handler):
    """Tells errors to the sweep that has started this process."""

    def __init__(self, pipe: int) -> None:
        super().__init__(logging.ERROR)
        self.pipe = pipe
        os.set_blocking(pipe, False)

    @override
    def emit(self, record: logging.LogRecord) -> None:
        # The sweep reads after the end of this process; what does not fit into the pipe is lost.
        with suppress(BlockingIOError):
            os.write(self.pipe, f"{record.getMessage()}\n".encode()[:MAX_REASON])


def run_job(cfg: DictConfig, overrides: Sequence[str], run_dir: Path) -> float | None:
    """Run one job of a sweep unless it is finished; return the SSIM of its last validation, None if it had none.

    Raises JobError if the folder holds a run with a different config, and if the job fails or is stopped.
    """
    end_with_parent()
    if is_finished(run_dir, cfg.evaluate):
        try:
            check_same_config(run_dir, model_config(cfg))
        except ValueError as error:
            raise JobError(str(error)) from None
        log.info("%s is finished", run_dir)
    else:
        run_in_subprocess(overrides, run_dir, cfg.trainer.devices)
    progress = read_run(run_dir).progress
    return progress.val_ssim if progress else None


def run_in_subprocess(overrides: Sequence[str], run_dir: Path, devices: object) -> None:
    """Run one job of a sweep in a subprocess. Raises JobError with the reason if it fails or is stopped.

    Jobs in one process would share a W&B run, and would all hang if one rank of a DDP job failed. Stop signals are
    forwarded to the job as SIGTERM, on which a training writes its checkpoint; after the job has ended, the signal is
    raised again in this process. In a worker of a pool (joblib), the job gets as many GPUs as the trainer's `devices`
    says, and its output goes to `output.log` in the run's folder.
    """
    folder = QuotedString(str(run_dir), Quote.single).with_quotes()
    command = [sys.executable, "-m", "twostream.cli.train", *overrides, f"hydra.run.dir={folder}"]
    environment = {**os.environ, PARENT: str(os.getpid())}
    if multiprocessing.parent_process() is None:
        code, signals, reason = _run(command, environment, None)
    else:
        # The workers of a pool are numbered from 1; nothing public tells the number.
        worker = multiprocessing.current_process()._identity[-1]
        if isinstance(devices, int) and devices > 0 and (gpus := visible_gpus()):
            environment["CUDA_VISIBLE_DEVICES"] = gpus_of_worker(worker, devices, gpus)
        log.info("%s starts", run_dir)
        run_dir.mkdir(parents=True, exist_ok=True)
        with open_log(run_dir / OUTPUT, "w") as output:
            code, signals, reason = _run(command, environment, output)
        log.info("%s has ended", run_dir)
    for number in signals:
        signal.raise_signal(number)
    if code < 0 and not signals:
        reason = f"killed by signal {signal.Signals(-code).name}"
        update_run(run_dir, state="failed", reason=reason)
    if signals or (code == 0 and read_run(run_dir).state == "stopped"):
        raise JobError(f"{run_dir} was stopped")
    if code:
        raise JobError(f"{run_dir} failed: {reason or f'exit status {code}, without a reason'}")


def stop_jobs() -> None:
    """Stop the jobs of this process' pool of workers and wait for their checkpoints: joblib would kill them."""
    jobs = [job for worker in _children_of(os.getpid()) for job in _children_of(worker) if _is_in_own_session(job)]
    for job in jobs:
        with suppress(ProcessLookupError):
            os.kill(job, signal.SIGTERM)
    while any(map(_is_in_own_session, jobs)):
        time.sleep(0.1)


def tell_sweep() -> None:
    """Tell errors that are logged to the sweep that has started this process, if one has."""
    if pipe := os.environ.pop(REASON, None):
        logging.getLogger().addHandler(ToSweep(int(pipe)))


def end_with_parent() -> None:
    """End this process when its parent ends: the sweep of a job or a pool's worker, rank 0 of a DDP rank.

    No process is left running unattended, or waiting for ranks that no longer exist.
    """
    pool = multiprocessing.parent_process()
    is_first = os.environ.get("LOCAL_RANK", "0") == "0"
    parent = os.environ.pop(PARENT, None) or (pool and pool.pid) or (None if is_first else os.getppid())
    if parent:
        _watch_parent(int(parent))


def gpus_of_worker(worker: int, num_gpus: int, gpus: Sequence[str]) -> str:
    """Return CUDA_VISIBLE_DEVICES for a worker of a pool, numbered from 1.

    GPUs are assigned cyclically: of four GPUs, two per job, worker 1 gets "0,1", worker 2 "2,3" and worker 3 "0,1".
    """
    first = (worker - 1) * num_gpus
    return ",".join(gpus[(first + i) % len(gpus)] for i in range(min(num_gpus, len(gpus))))


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use: those in CUDA_VISIBLE_DEVICES if it is set, else all."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return [str(i) for i in range(sum(line.startswith("GPU ") for line in listed.splitlines()))]


def _run(command: Sequence[str], environment: Mapping[str, str], output: IO[str] | None) -> tuple[int, list[int], str]:
    """Run a command; return its exit status, the stop signals received meanwhile, and the first error that it told."""
    signals: list[int] = []
    reader, writer = os.pipe()
    # In a session of its own, so that Ctrl-C reaches only the sweep, which then stops the job as for other signals.
    process = subprocess.Popen(
        command,
        env={**environment, REASON: str(writer)},
        stdout=output,
        stderr=output,
        start_new_session=True,
        pass_fds=[writer],
    )
    os.close(writer)

    def forward(number: int, _: object) -> None:
        if number not in signals:
            signals.append(number)
        process.terminate()

    handlers = {number: signal.signal(number, forward) for number in FORWARDED}
    try:
        while process.poll() is None:
            # A signal that arrives just before a wait without a limit would be handled only after it.
            with suppress(subprocess.TimeoutExpired):
                process.wait(1)
    except BaseException:
        process.terminate()
        process.wait()
        raise
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        with open(reader, errors="replace") as told:  # noqa: PTH123  a descriptor
            reason = told.readline().strip()
    return process.returncode, signals, reason


def _children_of(process: int) -> list[int]:
    """Return the children of a process; none where the system does not list them."""
    with suppress(OSError):  # it has ended
        listed = [path.read_text() for path in Path(f"/proc/{process}/task").glob("*/children")]
        return [int(child) for text in listed for child in text.split()]
    return []


def _is_in_own_session(process: int) -> bool:
    """Return whether a process exists and has a session of its own, as jobs have."""
    with suppress(ProcessLookupError):
        return os.getsid(process) == process
    return False


@cache
def _watch_parent(parent: int) -> None:
    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        signal_main_thread(signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
