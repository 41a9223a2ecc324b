"""Sweeps: what a run is called, and a process of its own for each job."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from twostream.runs import read_failure, write_failure

# In the folder's path by themselves, or without influence on the result.
NOT_IN_VARIANT = (
    *("data", "scale", "ablation", "seed", "trainer", "logger", "callbacks", "hydra", "evaluate", "variant"),
    *("scoring", "pose_estimator"),
)
PARENT = "TWOSTREAM_PARENT"


def variant_name(ablation: str, overrides: Sequence[str]) -> str:
    """Name a run by its ablation and by what else is overridden: `full`, `full+generator.blocks=5`."""
    others = []
    for override in sorted(overrides):
        key, _, value = override.lstrip("+~").replace("'", "").partition("=")
        group = re.split(r"[/.@]", key)[0]
        if group not in NOT_IN_VARIANT or key.startswith(("data.", "data/")):
            others.append(re.sub(r"[^\w.=-]+", ".", f"{key}={value}"))
    return "+".join([ablation, *others])


def register_resolvers() -> None:
    """Let the configuration say `${variant:ABLATION,OVERRIDES}` and `${iterations:EPOCHS,PAIRS,BATCH_SIZE}`."""
    OmegaConf.register_new_resolver("variant", variant_name, replace=True)
    # As PATN counts: what does not fill a batch is left out of an epoch.
    OmegaConf.register_new_resolver("iterations", lambda epochs, pairs, batch: epochs * (pairs // batch), replace=True)


def quote_numbered_options(arguments: Sequence[str]) -> list[str]:
    """Quote the options of a group that are numbers: `generator/blocks=5,7` as Hydra takes it.

    Hydra reads a bare 5 as an integer and refuses an integer for a group's option.
    """
    numbered = re.compile(r"([\w/]+/\w+)=(\d+(?:,\d+)*)")
    return [
        f"{match[1]}=" + re.sub(r"(\d+)", r"'\1'", match[2]) if (match := numbered.fullmatch(argument)) else argument
        for argument in arguments
    ]


def run_in_own_process(overrides: Sequence[str], run_dir: Path) -> None:
    """Do one job of a sweep in a process of its own. Raises RuntimeError with the reason if it fails.

    Jobs in one process would share a W&B run, and would all hang where one rank of a DDP job fails.
    """
    command = [sys.executable, "-m", "twostream.cli.train", *overrides, f"hydra.run.dir='{run_dir}'"]
    done = subprocess.run(command, env={**os.environ, PARENT: str(os.getpid())}, check=False)
    if done.returncode < 0:
        write_failure(run_dir, f"killed by signal {signal.Signals(-done.returncode).name}")
    if done.returncode:
        raise RuntimeError(f"{run_dir} failed: {read_failure(run_dir)}")


def end_with_parent() -> None:
    """End this process when the sweep that started it is gone, so that no job is left running unseen."""
    parent = os.environ.pop(PARENT, None)
    if parent is not None:
        threading.Thread(target=_end_after, args=(int(parent),), daemon=True).start()


def _end_after(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)
