"""A run's directory: its lock, its config, and its state in `run.json`."""

import errno
import fcntl
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, is_dataclass, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from filelock import FileLock, Timeout
from hydra.errors import InstantiationException

from twostream.files import quoted, read_object, remove_remains, write_json
from twostream.signals import Interrupted

RUN, CONFIG, LOCK = "run.json", "config.json", ".lock"
STATES = ("not started", "running", "done", "stopped", "failed")
OUTPUTS = (
    *("averaged", "validation", "checkpoints", "images", "logs", "samples", "scoring"),
    *("changes.diff", "correspondence.json", "scores.csv", "bootstrap.json", "metrics.json"),
)
# Names of files in the folders that a run writes.
OWN = re.compile(
    r"(last|previous|best)\.ckpt|.+_2_.+\.png|(correspondence_)?\d+\.png|(test|val)\.png|(metrics|scores)\.csv|"
    r"(metrics|bootstrap|correspondence)\.json|\d+\.npz|checkpoint\.sha256|key"
)
SPLITS = {"test": ".", "val": "validation"}
# Keys of a config that do not affect the result.
NOT_COMPARED = (
    *("data.root", "data.cache", "data.num_workers", "data.source.num_workers"),
    *("loss.perceptual.weights", "loss.perceptual.folder", "loss.perceptual.download"),
)


@dataclass(frozen=True)
class Progress:
    """How far training has come; None is a value that is not known yet or not finite."""

    iteration: int  # iterations done
    iterations: int  # length of the run
    seconds_per_iteration: float | None  # recent mean, validations and checkpoints included
    val_ssim: float | None  # of the last validation
    written: float  # seconds since 1970


@dataclass(frozen=True)
class RunState:
    """Content of `run.json`; progress and provenance are None before training starts."""

    state: str = "not started"  # one of STATES; remains `running` if the process is killed, see `sweep_status`
    reason: str | None = None  # why the run failed or stopped
    progress: Progress | None = None
    provenance: dict[str, Any] | None = None  # data, code and hardware, see twostream.callbacks.run_log

    @property
    def seconds_left(self) -> float | None:
        """Seconds of training left; None unless the run is training at a known speed."""
        progress = self.progress
        if self.state != "running" or progress is None or progress.seconds_per_iteration is None:
            return None
        return (progress.iterations - progress.iteration) * progress.seconds_per_iteration


def results_folder(run_dir: Path, split: str, num_sources: int = 1) -> Path:
    """Return the folder of a run's results on a split, with one or several source images of each person.

    Raises ValueError for another split than test and val, and for less than one source image.
    """
    if split not in SPLITS:
        raise ValueError(f"split: expected {' or '.join(SPLITS)}, got {split!r}")
    if num_sources < 1:
        raise ValueError(f"num_sources: expected at least 1, got {num_sources}")
    return run_dir / SPLITS[split] / (f"sources_{num_sources}" if num_sources > 1 else ".")


def read_run(run_dir: Path, needs_progress: bool = True) -> RunState:
    """Read `run.json`, if it exists. Raises ValueError naming the file and the first wrong field.

    Without `needs_progress`, a damaged progress is read as None, because it is only shown.
    """
    path = run_dir / RUN
    content = read_object(path)
    if content is None:
        return RunState()
    try:
        run: RunState = _parse(content, RunState, path)
    except ValueError:
        if needs_progress:
            raise
        run = _parse(content | {"progress": None}, RunState, path)
    if run.state not in STATES:
        raise ValueError(f"{path}: state: expected one of {', '.join(STATES)}, got {quoted(run.state)}")
    return run


def _parse(value: Any, hint: Any, path: Path, key: str = "") -> Any:
    """Return a value of a JSON file as the type of an annotation; keys that a dataclass does not have are ignored."""
    kind, *others = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    kind = get_origin(kind) or kind
    if value is None and NoneType in others:
        return None
    if is_dataclass(kind) and isinstance(value, dict):
        prefix = f"{key}." if key else ""
        hints = get_type_hints(kind)
        fields = {name: _parse(value.get(name), hints[name], path, prefix + name) for name in hints}
        return kind(**fields)  # type: ignore[operator]
    if type(value) is kind or (kind is float and type(value) is int):
        return value
    expected = "an object" if is_dataclass(kind) else kind.__name__
    raise ValueError(f"{path}: {key}: expected {expected}{' or null' if others else ''}, got {quoted(value)}")


def update_run(run_dir: Path, **changes: Any) -> None:
    """Set fields of the `RunState` in `run.json` and keep the others; only the first process of a run calls this."""
    write_json(run_dir / RUN, asdict(replace(read_run(run_dir, needs_progress=False), **changes)))


def read_provenance(run_dir: Path) -> dict[str, Any]:
    """Return what a run was trained with. Raises ValueError if training has not started, and as `read_run`."""
    provenance = read_run(run_dir, needs_progress=False).provenance
    if provenance is None:
        raise ValueError(f"{run_dir}: expected the directory of a run, found no provenance in {RUN}")
    return provenance


def is_finished(run_dir: Path, evaluate: bool) -> bool:
    """Whether a run is trained and, with `evaluate`, also evaluated."""
    try:
        is_done = read_run(run_dir, needs_progress=False).state == "done"
    except ValueError:
        return False
    return is_done and (not evaluate or (run_dir / "metrics.json").is_file())


@contextmanager
def run_lock(run_dir: Path) -> Iterator[None]:
    """Lock a run's directory, which is created if needed; the OS releases the lock when the process exits.

    Temporary files that killed processes left in it are removed. Raises ValueError while another process holds the
    lock, OSError if the lock is a link.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    # `is_locked` holds the lock for a moment.
    lock = FileLock(run_dir / LOCK, timeout=0.5, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        raise ValueError(f"{run_dir}: another process is running in this directory") from None
    try:
        remove_remains(run_dir)
        yield
    finally:
        lock.release()


def is_locked(run_dir: Path) -> bool:
    """Whether a process holds the `run_lock` of a directory."""
    try:
        lock = os.open(run_dir / LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    # No lock, or a link, which `run_lock` refuses.
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ELOOP):
            raise
        return False
    try:
        # Unlike filelock's exclusive lock, a shared one takes no write permission and does not disturb another
        # `twostream-status`.
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


@contextmanager
def track_status(run_dir: Path) -> Iterator[None]:
    """Keep the state in `run.json`: running, then done, stopped, or failed with the error as its reason."""
    try:
        update_run(run_dir, state="running", reason=None)
        yield
    except Interrupted as stop:
        update_run(run_dir, state="stopped", reason=str(stop))
        raise
    except BaseException as error:
        cause = cause_of(error)
        # A full disk or a damaged file must not hide the error.
        with suppress(OSError, ValueError):
            reason, *_ = f"{type(cause).__name__}: {cause}".splitlines()
            update_run(run_dir, state="failed", reason=reason)
        raise
    update_run(run_dir, state="done")


def cause_of(error: BaseException) -> BaseException:
    """Return the error that a constructor raised if Hydra wrapped it, else the error itself."""
    return error.__cause__ if isinstance(error, InstantiationException) and error.__cause__ else error


def clear_outputs(run_dir: Path) -> None:
    """Remove the outputs of an earlier training from a run's directory, and its progress and provenance."""
    for path in [*(run_dir / name for name in OUTPUTS), *run_dir.glob("sources_*")]:
        remove_output(path)
    if (run_dir / RUN).exists():
        update_run(run_dir, progress=None, provenance=None)


def remove_output(path: Path) -> None:
    """Remove a file or folder of a run, if it exists.

    A link to a folder, such as one on a bigger disk, stays, and the files in it that have names as a run gives them are
    removed; others are not, because a run from elsewhere may lead anywhere.
    """
    if path.is_symlink() and path.is_dir():
        for inner in path.rglob("*"):
            if OWN.fullmatch(inner.name) and inner.is_file():
                inner.unlink()
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def check_same_config(run_dir: Path, config: dict[str, Any]) -> None:
    """Raise ValueError if the directory holds checkpoints that were trained with a different config."""
    on_disk = read_object(run_dir / CONFIG)
    if on_disk is not None and (run_dir / "checkpoints").exists() and (changes := differences(on_disk, config)):
        raise ValueError(
            f"{run_dir}: contains a run with a different config ({changes}); remove the directory, or choose "
            "another one with variant=NAME"
        )


def differences(on_disk: Mapping[str, Any], requested: Mapping[str, Any]) -> str:
    """Describe in one line how two nested configs differ in what affects the result; empty if they agree."""
    old, new = _flatten(on_disk), _flatten(requested)
    changed = [key for key in sorted(old | new) if old.get(key) != new.get(key)]
    changed = [key for key in changed if key not in NOT_COMPARED]
    return ", ".join(f"{key}: {old.get(key)!r} on disk, {new.get(key)!r} requested" for key in changed[:5])


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Map the dotted path of each leaf of a nested dict to its value."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves |= _flatten(value, f"{prefix}{key}.") if value and isinstance(value, dict) else {f"{prefix}{key}": value}
    return leaves
