"""The status of all runs of a sweep, read from their directories."""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from statistics import mean
from typing import Any

from twostream.loggers.curve_csv import read_curves
from twostream.runs import RunState, is_locked, read_run

STATES = ("done", "evaluating", "running", "stalled", "stopped", "interrupted", "failed", "not started", "unreadable")
STYLES = {"done": "green", "running": "cyan", "evaluating": "cyan", "failed": "red", "stalled": "yellow"}
LOSSES = ("train/l1", "train/perceptual", "train/adversarial")
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
    return "\n".join([*lines, _totals(runs)])


def _totals(runs: Mapping[str, RunState]) -> str:
    counts = Counter(run.state for run in runs.values())
    total = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    left = seconds_left(runs.values())
    about = f"; training left: about {_duration(left)}" if left else ""
    return f"{len(runs)} runs: {total}{about}"


def live_view(runs: Mapping[str, RunState], folder: Path) -> Any:
    """Return a rich table of the runs in `folder`: bars, times, last losses, and the path to look at next.

    That path, in the folder of the run, is its last samples, or the log of one that failed.
    """
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    table = Table(caption=_totals(runs), caption_justify="left", box=None, pad_edge=False)
    for name in ("run", "state", "", "iteration", "left", "val/ssim", "look at"):
        is_number = name in ("iteration", "left", "val/ssim")
        table.add_column(name, justify="right" if is_number else "left", no_wrap=True)
    table.add_column("losses or reason", overflow="fold", min_width=16)  # the only one that is wrapped
    for name, run in runs.items():
        progress = run.progress
        bar = ProgressBar(progress.iterations, progress.iteration, width=12) if progress else ""
        iteration, _, left, ssim = _cells(run)
        losses = last_losses(folder / name) if run.state == "running" else run.reason or ""
        look_at = path_to_look_at(folder / name, run.state)
        link = Text(str(look_at), style=f"link {(folder / name / look_at).resolve().as_uri()}") if look_at else ""
        table.add_row(name, Text(run.state, style=STYLES.get(run.state, "")), bar, iteration, left, ssim, link, losses)
    return table


def last_losses(run_dir: Path) -> str:
    """Return the losses in the last row of a run's curves that has any."""
    path = run_dir / "logs" / "metrics.csv"
    if not path.is_file():
        return ""
    try:
        _, rows = read_curves(path)
    except ValueError as error:
        return str(error)
    for row in reversed(rows):
        if losses := {name.removeprefix("train/"): row[name] for name in row if name in LOSSES and row[name]}:
            return ", ".join(f"{name} {float(value):.3f}" for name, value in losses.items())
    return ""


def path_to_look_at(run_dir: Path, state: str) -> Path | None:
    """Return the last samples of a run, or the log of one that failed, in its folder; None if there is neither."""
    logs = [path for name in ("output.log", "train.log") if (path := run_dir / name).is_file()]
    samples = sorted(path for path in (run_dir / "samples").glob("*.png") if not path.stem.startswith("correspondence"))
    found = logs if state == "failed" else samples[-1:]
    return found[0].relative_to(run_dir) if found else None


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
