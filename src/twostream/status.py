"""Where the runs of a sweep stand, from what they leave in their folders."""

import fcntl
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from twostream.files import read_json
from twostream.progress import Progress, read_progress

STATES = ("done", "evaluating", "running", "stopped", "cut off", "failed", "not started", "unreadable")
AT_WORK = ("evaluating", "running")
SILENT_SECONDS = 600
"""A run at work that has written nothing for so long is pointed out."""


@dataclass(frozen=True)
class RunStatus:
    """One run.

    Attributes:
        name: of its folder below the scale, such as `full/seed0`.
        state: one of STATES.
        note: why it failed or stopped, or what else is to be known.
        progress: what it wrote last.

    """

    name: str
    state: str
    note: str = ""
    progress: Progress | None = None

    @property
    def seconds_left(self) -> float | None:
        """Seconds of training left; None unless it trains at a known pace."""
        return self.progress.seconds_left if self.state == "running" and self.progress else None


def collect_status(folder: Path, variants: Sequence[str], seeds: Sequence[int], now: float) -> list[RunStatus]:
    """Return the status of the expected runs, in their order, and of all others in the folder, by name.

    Args:
        folder: of one data set and scale; holds `<variant>/seed<k>`.
        variants: expected with each of the seeds.
        seeds: expected seeds.
        now: seconds since 1970.

    """
    expected = [(variant, seed) for variant in variants for seed in seeds]
    others = {(path.parent.name, seed) for path in folder.glob("*/seed*") if (seed := _seed(path)) is not None}
    places = {variant: place for place, variant in enumerate(variants)}
    names = sorted({*expected, *others}, key=lambda name: (places.get(name[0], len(places)), *name))
    return [read_status(folder / variant / f"seed{seed}", now) for variant, seed in names]


def read_status(run_dir: Path, now: float) -> RunStatus:
    """Return the status of the run in a folder, which need not be there; `now` in seconds since 1970."""
    name = f"{run_dir.parent.name}/{run_dir.name}"
    try:
        status, progress = _read_state(run_dir), read_progress(run_dir)
    except ValueError as error:
        return RunStatus(name, "unreadable", str(error))
    if status is None:
        return RunStatus(name, "not started")
    state, note = status["state"], ""
    if state == "failed":
        note = " ".join(str(status.get("error", "no reason given")).split())
    elif state == "stopped":
        note = str(status.get("reason", ""))
    elif state == "done" and not (run_dir / "metrics.json").is_file():
        note = "not evaluated"
    elif state == "running":
        state = _state_of_unended(run_dir, progress)
        if state == "running" and progress and now - progress.written > SILENT_SECONDS:
            note = f"nothing written for {duration(now - progress.written)}"
    return RunStatus(name, state, note, progress)


def is_finished(run_dir: Path, evaluate: bool) -> bool:
    """Say whether a run has come to its end, and to that of its evaluation if that is asked for."""
    try:
        status = _read_state(run_dir)
    except ValueError:
        return False
    there = status is not None and status["state"] == "done"
    return there and (not evaluate or (run_dir / "metrics.json").is_file())


def is_held(run_dir: Path) -> bool:
    """Say whether a process holds the run's folder (twostream.runs.run_lock)."""
    try:
        with (run_dir / ".lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def seconds_left(runs: Sequence[RunStatus]) -> float | None:
    """Return the seconds of training that all runs together have left, as many at a time as now; None if unknown.

    A run without a pace is taken at the mean of those that have one, one without a length at the longest.
    """
    known = [run.progress for run in runs if run.progress]
    paces = [progress.seconds_per_iteration for progress in known if progress.seconds_per_iteration is not None]
    if not paces:
        return None
    longest = max(progress.iterations for progress in known)
    work = 0.0
    for run in runs:
        if run.state not in ("done", "evaluating"):
            left = run.progress.iterations - run.progress.iteration if run.progress else longest
            pace = run.progress.seconds_per_iteration if run.progress else None
            work += left * (mean(paces) if pace is None else pace)
    at_once = max(1, sum(run.state == "running" for run in runs))
    return max([work / at_once, *(run.seconds_left or 0.0 for run in runs)])


def render_status(runs: Sequence[RunStatus]) -> str:
    """Return the runs as aligned text, one a line, with a line for all of them below."""
    rows = [("run", "state", "iteration", "it/s", "left", "val/ssim", "note"), *map(_cells, runs)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if column in (0, 1, 6) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    counts = Counter(run.state for run in runs)
    total = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    left = seconds_left(runs)
    about = f"; training left: about {duration(left)}" if left else ""
    return "\n".join([*lines, f"{len(runs)} runs: {total}{about}"])


def duration(seconds: float) -> str:
    """Write a length of time in its two greatest units: `2 h 05 min`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours:02d} h"
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _cells(run: RunStatus) -> tuple[str, ...]:
    progress = run.progress
    if progress is None:
        return run.name, run.state, "-", "-", "-", "-", run.note
    pace = progress.seconds_per_iteration
    return (
        run.name,
        run.state,
        f"{progress.iteration}/{progress.iterations}",
        f"{1 / pace:.2f}" if pace and run.state == "running" else "-",
        "-" if run.seconds_left is None else duration(run.seconds_left),
        "-" if progress.val_ssim is None else f"{progress.val_ssim:.3f}",
        run.note,
    )


def _state_of_unended(run_dir: Path, progress: Progress | None) -> str:
    if not is_held(run_dir):
        return "cut off"
    return "evaluating" if progress and progress.iteration >= progress.iterations else "running"


def _read_state(run_dir: Path) -> dict[str, str] | None:
    """Read `status.json`; None where there is none. Raises ValueError where it says no state."""
    path = run_dir / "status.json"
    content = read_json(path)
    if content is None:
        return None
    states = ("running", "done", "failed", "stopped")
    if not isinstance(content, dict) or content.get("state") not in states:
        raise ValueError(f"{path}: state: expected one of {', '.join(states)}, got {content!r}")
    return content


def _seed(path: Path) -> int | None:
    match = re.fullmatch(r"seed(-?\d+)", path.name)
    return int(match[1]) if match and path.is_dir() else None
