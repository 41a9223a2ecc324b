"""The status of all runs of a sweep, read from their directories."""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from statistics import mean

from twostream.runs import RunState, is_locked, read_run

STATES = ("done", "evaluating", "running", "stalled", "stopped", "interrupted", "failed", "not started", "unreadable")
STALLED_AFTER = 600  # seconds without progress


def collect_status(folder: Path, variants: Sequence[str], seeds: Sequence[int], now: float) -> dict[str, RunState]:
    """Return the state of every expected variant and seed, then of all other runs in the folder, by `variant/seed<k>`.

    `now` is in seconds since 1970.
    """
    expected = [(variant, seed) for variant in variants for seed in seeds]
    found = [path for path in folder.glob("*/seed*") if re.fullmatch(r"seed-?\d+", path.name) and path.is_dir()]
    others = [(path.parent.name, int(path.name.removeprefix("seed"))) for path in found]
    ranks = {variant: rank for rank, variant in enumerate(variants)}
    runs = sorted({*expected, *others}, key=lambda run: (ranks.get(run[0], len(ranks)), *run))
    names = [f"{variant}/seed{seed}" for variant, seed in runs]
    return {name: read_status(folder / name, now) for name in names}


def read_status(run_dir: Path, now: float) -> RunState:
    """Return the state of a run, one of STATES, with a remark as its reason; `now` in seconds since 1970."""
    try:
        run = read_run(run_dir)
    except ValueError as error:
        return RunState("unreadable", str(error))
    progress = run.progress
    if run.state == "done" and not (run_dir / "metrics.json").is_file():
        return replace(run, reason="not evaluated")
    if run.state != "running":
        return run
    if not is_locked(run_dir):
        return replace(run, state="interrupted")
    if progress and progress.iteration >= progress.iterations:
        return replace(run, state="evaluating")
    if progress and now - progress.written > STALLED_AFTER:
        return replace(run, state="stalled", reason=f"no progress for {_duration(now - progress.written)}")
    return run


def seconds_left(runs: Collection[RunState]) -> float | None:
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


def render_status(runs: Mapping[str, RunState]) -> str:
    """Return an aligned table with one line per run, and a last line with the totals."""
    rows = [("run", "state", "iteration", "it/s", "left", "val/ssim", "note")]
    rows += [(name, run.state, *_cells(run), " ".join((run.reason or "").split())) for name, run in runs.items()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = (str.ljust, str.ljust, str.rjust, str.rjust, str.rjust, str.rjust, str.ljust)
    lines = [
        "  ".join(align(cell, width) for align, cell, width in zip(aligned, row, widths, strict=True)).rstrip()
        for row in rows
    ]
    counts = Counter(run.state for run in runs.values())
    total = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    left = seconds_left(runs.values())
    about = f"; training left: about {_duration(left)}" if left else ""
    return "\n".join([*lines, f"{len(runs)} runs: {total}{about}"])


def _cells(run: RunState) -> tuple[str, str, str, str]:
    progress = run.progress
    if progress is None:
        return "-", "-", "-", "-"
    seconds = progress.seconds_per_iteration
    return (
        f"{progress.iteration}/{progress.iterations}",
        f"{1 / seconds:.2f}" if seconds and run.state == "running" else "-",
        "-" if run.seconds_left is None else _duration(run.seconds_left),
        "-" if progress.val_ssim is None else f"{progress.val_ssim:.3f}",
    )


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
