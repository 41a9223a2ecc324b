"""A run's directory: its lock, its config, and its state in `run.json`."""

import json
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.errors import InstantiationException

from twostream.files import read_json, write_json

RUN, CONFIG, LOCK = "run.json", "config.json", ".lock"
STATES = ("running", "done", "stopped", "failed")
OUTPUTS = (
    *("averaged", "checkpoints", "images", "logs", "samples", "scoring"),
    *("changes.diff", "scores.csv", "bootstrap.json", "metrics.json"),
)
# Keys of a config that do not affect the result.
NOT_COMPARED = ("root", "weights", "num_workers", "cache")


@dataclass(frozen=True)
class Progress:
    """How far training has come; None is a value that is not known yet or not finite."""

    iteration: int  # iterations done
    iterations: int  # length of the run
    seconds_per_iteration: float | None  # recent mean, validations and checkpoints included
    val_ssim: float | None  # of the last validation
    written: float  # seconds since 1970

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the last iteration."""
        if self.seconds_per_iteration is None:
            return None
        return (self.iterations - self.iteration) * self.seconds_per_iteration


@dataclass(frozen=True)
class RunState:
    """Content of `run.json`; progress and provenance are None before training starts."""

    state: str  # one of STATES; remains `running` if the process is killed
    reason: str | None = None  # why the run failed or stopped
    progress: Progress | None = None
    provenance: dict[str, Any] | None = None  # data, code and hardware, see twostream.callbacks.run_log


def read_run(run_dir: Path) -> RunState | None:
    """Read `run.json`; None if it does not exist. Raises ValueError naming the file and the first wrong field."""
    path = run_dir / RUN
    content = read_json(path)
    if content is None:
        return None
    if not isinstance(content, dict) or content.get("state") not in STATES:
        raise ValueError(f"{path}: state: expected one of {', '.join(STATES)}, got {content!r}")
    reason, progress, provenance = (content.get(name) for name in ("reason", "progress", "provenance"))
    for name, value, kind in (("reason", reason, str), ("progress", progress, dict), ("provenance", provenance, dict)):
        if not (value is None or isinstance(value, kind)):
            raise ValueError(f"{path}: {name}: expected {kind.__name__} or null, got {value!r}")
    return RunState(content["state"], reason, None if progress is None else _progress_of(progress, path), provenance)


def update_run(run_dir: Path, **changes: Any) -> None:
    """Set fields of the `RunState` in `run.json` and keep the others; only the first process of a run calls this."""
    write_json(run_dir / RUN, asdict(replace(read_run(run_dir) or RunState("running"), **changes)))


def read_progress(run_dir: Path) -> Progress | None:
    """Return how far a run has come; None before it starts. Raises ValueError as `read_run`."""
    run = read_run(run_dir)
    return None if run is None else run.progress


def read_provenance(run_dir: Path) -> dict[str, Any]:
    """Return what a run was trained with. Raises ValueError if training has not started, and as `read_run`."""
    run = read_run(run_dir)
    if run is None or run.provenance is None:
        raise ValueError(f"{run_dir}: expected the directory of a run, found no provenance in {RUN}")
    return run.provenance


def is_stopped(run_dir: Path) -> bool:
    """Whether a run was interrupted on request and has saved a checkpoint."""
    run = read_run(run_dir)
    return run is not None and run.state == "stopped"


def is_finished(run_dir: Path, evaluate: bool) -> bool:
    """Whether a run is trained and, with `evaluate`, also evaluated."""
    try:
        run = read_run(run_dir)
    except ValueError:
        return False
    return run is not None and run.state == "done" and (not evaluate or (run_dir / "metrics.json").is_file())


def write_failure(run_dir: Path, error: str) -> None:
    """Set a run's state to failed, with the first line of the error as its reason."""
    update_run(run_dir, state="failed", reason=(error.splitlines() or ["unknown"])[0])


def read_failure(run_dir: Path) -> str:
    """Return why a run failed."""
    run = read_run(run_dir)
    return run.reason if run and run.state == "failed" and run.reason else f"no reason in {RUN}"


@contextmanager
def run_lock(run_dir: Path) -> Iterator[None]:
    """Lock a run's directory, which is created if needed; the OS releases the lock when the process exits.

    Raises ValueError while another process holds the lock.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    # `is_locked` holds the lock for a moment.
    lock = FileLock(run_dir / LOCK, timeout=0.5, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        raise ValueError(f"{run_dir}: another process is running in this directory") from None
    try:
        yield
    finally:
        lock.release()


class TrainingInterrupted(Exception):
    """Training stopped on a signal after saving a checkpoint; the message names signal and iteration."""


@contextmanager
def track_status(run_dir: Path) -> Iterator[None]:
    """Keep the state in `run.json`: running, then done, stopped, or failed with the error as its reason."""
    update_run(run_dir, state="running", reason=None)
    try:
        yield
    except TrainingInterrupted as stop:
        update_run(run_dir, state="stopped", reason=str(stop))
        raise
    except BaseException as error:
        cause = cause_of(error)
        # A full disk or a damaged file must not hide the error.
        with suppress(OSError, ValueError):
            write_failure(run_dir, f"{type(cause).__name__}: {cause}")
        raise
    update_run(run_dir, state="done")


def cause_of(error: BaseException) -> BaseException:
    """Return the error that a constructor raised if Hydra wrapped it, else the error itself."""
    return error.__cause__ if isinstance(error, InstantiationException) and error.__cause__ else error


def clear_outputs(run_dir: Path) -> None:
    """Remove the outputs of an earlier training from a run's directory, and its progress and provenance."""
    for name in OUTPUTS:
        path = run_dir / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    if (run_dir / RUN).exists():
        update_run(run_dir, progress=None, provenance=None)


def check_same_config(run_dir: Path, config: dict[str, Any]) -> None:
    """Raise ValueError if the directory holds checkpoints that were trained with a different config."""
    path = run_dir / CONFIG
    if path.is_file() and (run_dir / "checkpoints").exists():
        changes = differences(json.loads(path.read_text(encoding="utf-8")), config)
        if changes:
            raise ValueError(
                f"{run_dir}: contains a run with a different config ({changes}); remove the directory, or choose "
                "another one with variant=NAME"
            )


def differences(
    on_disk: Mapping[str, Any], requested: Mapping[str, Any], ignored: Collection[str] = NOT_COMPARED
) -> str:
    """Describe in one line how two nested dicts differ, apart from `ignored` keys at any depth; empty if they agree."""
    old, new = _flatten(on_disk), _flatten(requested)
    changed = sorted(key for key in old | new if old.get(key) != new.get(key) and key.rpartition(".")[2] not in ignored)
    return ", ".join(f"{key}: {old.get(key)!r} on disk, {new.get(key)!r} requested" for key in changed[:5])


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Map the dotted path of each leaf of a nested dict to its value."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return leaves


def _progress_of(content: dict[str, Any], path: Path) -> Progress:
    values: dict[str, Any] = {field.name: content.get(field.name) for field in fields(Progress)}
    for name, value in values.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (is_number or (value is None and name in ("seconds_per_iteration", "val_ssim"))):
            raise ValueError(f"{path}: progress.{name}: expected a number, got {value!r}")
    return Progress(**values)
