"""The status of all runs of a sweep, read from their directories."""

import fcntl
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import mean

from twostream.runs import LOCK, Progress, read_run

STATES = ("done", "evaluating", "running", "stalled", "stopped", "interrupted", "failed", "not started", "unreadable")
STALLED_AFTER = 600  # seconds without progress


@dataclass(frozen=True)
class RunStatus:
    """The status of one run."""

    name: str  # variant and seed, such as `full/seed0`
    state: str  # one of STATES
    note: str = ""  # why the run failed or stopped, or another remark
    progress: Progress | None = None

    @property
    def seconds_left(self) -> float | None:
        """Seconds of training left; None unless the run is training at a known speed."""
        return self.progress.seconds_left if self.state == "running" and self.progress else None


def collect_status(folder: Path, variants: Sequence[str], seeds: Sequence[int], now: float) -> list[RunStatus]:
    """Return the status of every expected variant and seed, then of all other runs in the folder by name.

    The runs are in `folder/<variant>/seed<k>`; `now` is in seconds since 1970.
    """
    expected = [(variant, seed) for variant in variants for seed in seeds]
    others = {(path.parent.name, seed) for path in folder.glob("*/seed*") if (seed := _seed(path)) is not None}
    ranks = {variant: rank for rank, variant in enumerate(variants)}
    runs = sorted({*expected, *others}, key=lambda run: (ranks.get(run[0], len(ranks)), *run))
    return [read_status(folder / variant / f"seed{seed}", now) for variant, seed in runs]


def read_status(run_dir: Path, now: float) -> RunStatus:
    """Return the status of one run, whose directory may be missing; `now` in seconds since 1970."""
    name = f"{run_dir.parent.name}/{run_dir.name}"
    try:
        run = read_run(run_dir)
    except ValueError as error:
        return RunStatus(name, "unreadable", str(error))
    if run is None:
        return RunStatus(name, "not started")
    state, note = run.state, " ".join((run.reason or "").split())
    if state == "running":
        state, note = _state_of_running(run_dir, run.progress, now)
    elif state == "done" and not (run_dir / "metrics.json").is_file():
        note = "not evaluated"
    return RunStatus(name, state, note, run.progress)


def is_locked(run_dir: Path) -> bool:
    """Whether a process holds the lock of a run's directory (twostream.runs.run_lock)."""
    try:
        with (run_dir / LOCK).open() as lock:
            # Unlike filelock's exclusive lock, a shared one takes no write permission and does not disturb another
            # `twostream-status`.
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def seconds_left(runs: Sequence[RunStatus]) -> float | None:
    """Return the seconds of training left for all runs, with as many in parallel as now; None if unknown.

    Runs of unknown speed are assumed to have the mean speed of the others, runs of unknown length the longest length.
    """
    known = [run.progress for run in runs if run.progress]
    times = [progress.seconds_per_iteration for progress in known if progress.seconds_per_iteration is not None]
    if not times:
        return None
    longest = max(progress.iterations for progress in known)
    total = 0.0
    for run in runs:
        if run.state not in ("done", "evaluating"):
            left = run.progress.iterations - run.progress.iteration if run.progress else longest
            seconds = run.progress.seconds_per_iteration if run.progress else None
            total += left * (mean(times) if seconds is None else seconds)
    num_parallel = max(1, sum(run.state in ("running", "stalled") for run in runs))
    return max([total / num_parallel, *(run.seconds_left or 0.0 for run in runs)])


def render_status(runs: Sequence[RunStatus]) -> str:
    """Return an aligned table with one line per run, and a last line with the totals."""
    rows = [("run", "state", "iteration", "it/s", "left", "val/ssim", "note"), *map(_cells, runs)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = (str.ljust, str.ljust, str.rjust, str.rjust, str.rjust, str.rjust, str.ljust)
    lines = [
        "  ".join(align(cell, width) for align, cell, width in zip(aligned, row, widths, strict=True)).rstrip()
        for row in rows
    ]
    counts = Counter(run.state for run in runs)
    total = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    left = seconds_left(runs)
    about = f"; training left: about {_duration(left)}" if left else ""
    return "\n".join([*lines, f"{len(runs)} runs: {total}{about}"])


def _state_of_running(run_dir: Path, progress: Progress | None, now: float) -> tuple[str, str]:
    """Return state and note of a run whose `run.json` says `running`."""
    if not is_locked(run_dir):
        return "interrupted", ""
    if progress and progress.iteration >= progress.iterations:
        return "evaluating", ""
    if progress and now - progress.written > STALLED_AFTER:
        return "stalled", f"no progress for {_duration(now - progress.written)}"
    return "running", ""


def _cells(run: RunStatus) -> tuple[str, ...]:
    progress = run.progress
    if progress is None:
        return run.name, run.state, "-", "-", "-", "-", run.note
    seconds = progress.seconds_per_iteration
    return (
        run.name,
        run.state,
        f"{progress.iteration}/{progress.iterations}",
        f"{1 / seconds:.2f}" if seconds and run.state == "running" else "-",
        "-" if run.seconds_left is None else _duration(run.seconds_left),
        "-" if progress.val_ssim is None else f"{progress.val_ssim:.3f}",
        run.note,
    )


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _seed(path: Path) -> int | None:
    match = re.fullmatch(r"seed(-?\d+)", path.name)
    return int(match[1]) if match and path.is_dir() else None
