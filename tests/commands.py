"""Commands as a user calls them, in subprocesses."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

SECONDS = 600
QUIET = {"OMP_NUM_THREADS": "1", "HYDRA_FULL_ERROR": "0", "WANDB_MODE": "offline"}


def call(command: str, folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Call `twostream-<command>` in a folder."""
    return subprocess.run(
        [sys.executable, "-c", f"from twostream.cli.main import run; run({command!r})", *arguments],
        cwd=folder,
        env={**os.environ, **QUIET, **environment},
        text=True,
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )


def start(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen:
    """Start `twostream-train` in a folder, and in a process group of its own, as a shell does."""
    return subprocess.Popen(
        [sys.executable, "-m", "twostream.cli.train", *arguments],
        process_group=0,
        cwd=folder,
        env={**os.environ, **QUIET, **environment},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def train(folder: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    """Call `twostream-train` and return its exit status and output."""
    process = start(folder, *arguments, **environment)
    output, _ = process.communicate(timeout=SECONDS)
    return process.returncode, output


def ended_process() -> int:
    """Return the number of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def wait_until(condition: Callable[[], object], seconds: float = SECONDS / 2) -> None:
    """Wait until a condition is true. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"expected {condition} to be true within {seconds} s")
        time.sleep(0.05)
