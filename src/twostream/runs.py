"""A run's folder: who works in it, what was asked of it, and how it ended."""

import fcntl
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from twostream.files import read_json, write_json

CONFIG = "config.json"
OUTPUTS = (
    "averaged",
    "checkpoints",
    "images",
    "logs",
    "samples",
    "scoring",
    "changes.diff",
    "progress.json",
    "record.json",
    "scores.csv",
    "bootstrap.json",
    "metrics.json",
)

# The parts of a config that say what is trained; the others say where and how it is track_status.
MODEL_KEYS = ("seed", "data", "generator", "discriminators", "loss", "schedule", "averaging")
# Of these, what only says where things lie and how many processes read them.
NOT_COMPARED = ("root", "weights", "num_workers", "cache")


def model_config(cfg: DictConfig) -> dict[str, Any]:
    """Return what defines the run's result as a plain, resolved dict, fit for a checkpoint that loads safely."""
    nodes = {key: cfg[key] for key in MODEL_KEYS}
    return {
        key: OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
        for key, node in nodes.items()
    }


@contextmanager
def run_lock(run_dir: Path) -> Iterator[None]:
    """Hold a run's folder for this process. Raises ValueError while another process holds it.

    The system lets go of the folder when its process ends, however that comes.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / ".lock").open("w") as lock:
        for wait in (0.1, 0.3, None):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if wait is None:
                    raise ValueError(f"{run_dir}: another process is at work on this run") from None
                # twostream-status looks at the lock for a moment.
                time.sleep(wait)
        yield


class TrainingInterrupted(Exception):
    """Training was asked to stop and has written a checkpoint; says by what and where."""


@contextmanager
def track_status(run_dir: Path) -> Iterator[None]:
    """Keep `status.json` of a run: running, then done, stopped or failed with the error."""
    write_json(run_dir / "status.json", {"state": "running"})
    try:
        yield
    except TrainingInterrupted as stop:
        write_json(run_dir / "status.json", {"state": "stopped", "reason": str(stop)})
        raise
    except BaseException as error:
        cause = cause_of(error)
        # Where the disk is full, that is the error to show.
        with suppress(OSError):
            write_failure(run_dir, f"{type(cause).__name__}: {cause}")
        raise
    write_json(run_dir / "status.json", {"state": "done"})


def cause_of(error: BaseException) -> BaseException:
    """Return what a constructor raised where Hydra wrapped it."""
    return error.__cause__ if isinstance(error, InstantiationException) and error.__cause__ else error


def write_failure(run_dir: Path, error: str) -> None:
    """Say in `status.json` why a run ended early."""
    write_json(
        run_dir / "status.json",
        {"state": "failed", "error": (error.splitlines() or ["unknown"])[0], "log": "train.log"},
    )


def read_failure(run_dir: Path) -> str:
    """Return why a run ended early, as its `status.json` has it."""
    status = read_json(run_dir / "status.json")
    return "it left no status.json" if status is None else status.get("error", "its status.json names no error")


def is_stopped(run_dir: Path) -> bool:
    """Say whether a run was asked to stop and did."""
    status = read_json(run_dir / "status.json")
    return status is not None and status["state"] == "stopped"


def check_same_config(run_dir: Path, config: dict[str, Any]) -> None:
    """Raise ValueError where the folder holds weights that were trained with another config."""
    path = run_dir / CONFIG
    if path.is_file() and (run_dir / "checkpoints").exists():
        changes = differences(json.loads(path.read_text(encoding="utf-8")), config)
        if changes:
            raise ValueError(
                f"{run_dir}: holds a run of another config ({changes}); remove the folder, or name another one with "
                "variant=NAME"
            )


def differences(there: dict[str, Any], asked: dict[str, Any]) -> str:
    """Say in one line what a config changes of the one that is there; nothing where the result would be the same."""
    old, new = flatten(there), flatten(asked)
    differing = sorted(
        key for key in old | new if old.get(key) != new.get(key) and key.rpartition(".")[2] not in NOT_COMPARED
    )
    return ", ".join(f"{key}: {old.get(key)!r} there, {new.get(key)!r} asked" for key in differing[:5])


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Name each leaf of a nested dict by its dotted path."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return leaves


def clear_outputs(run_dir: Path) -> None:
    """Remove what a run that was cut off has left."""
    for name in OUTPUTS:
        path = run_dir / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
