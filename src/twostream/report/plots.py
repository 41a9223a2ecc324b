"""Plots for light and dark pages: curves, bars, and a forest plot of differences."""

from collections.abc import Mapping, Sequence
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from twostream.files import atomic_write
from twostream.loggers.curve_csv import STEP, read_curves

INK = "#808080"  # axes and text: readable on white and on black
# What a difference says, with its mark in a plot and in text, and its colour: all readable on white and on black.
OUTCOMES = {
    "better": ("^", "▲", "#1f77b4"),
    "worse": ("v", "▼", "#d55e00"),
    "the interval includes 0": ("o", "○", INK),
}
DPI = 300  # of a PNG file
SPEED = "throughput/iterations_per_second"


class Curve(NamedTuple):
    """A validation metric of a run."""

    iterations: list[int]
    minutes: list[float]  # of training, validations excluded
    values: list[float]


class Interval(NamedTuple):
    """A labelled value with the ends of its interval."""

    label: str
    value: float
    low: float
    high: float

    def outcome(self, better: int) -> str:
        """Return which of `OUTCOMES` this is, as a difference whose sign is `better` (1 or -1) for an improvement."""
        better_outcome, worse, unclear = OUTCOMES
        if self.low <= 0 <= self.high:
            return unclear
        return better_outcome if self.value * better > 0 else worse


def read_curve(path: Path, metric: str) -> Curve:
    """Read a metric from a run's `logs/metrics.csv`; it is empty if there is no such file or metric."""
    curve = Curve([], [], [])
    if not path.is_file():
        return curve
    _, rows = read_curves(path)
    rows.sort(key=lambda row: int(row[STEP]))
    speeds = [(int(row[STEP]), float(row[SPEED])) for row in rows if row.get(SPEED)]
    for row in rows:
        if row.get(metric):
            curve.iterations.append(int(row[STEP]))
            curve.minutes.append(_seconds(speeds, int(row[STEP])) / 60)
            curve.values.append(float(row[metric]))
    return curve


def _seconds(speeds: Sequence[tuple[int, float]], iteration: int) -> float:
    """Return the seconds that training took up to an iteration, given the recent speed at some iterations."""
    points = [(0, speeds[0][1]), *(point for point in speeds if point[0] <= iteration)] if speeds else []
    return sum((after[0] - before[0]) / after[1] for before, after in pairwise(points) if after[1])


def plot_curves(curves: Mapping[str, Sequence[Curve]], heading: str, over_time: bool) -> Any:
    """Plot a metric over iterations or minutes of training; all curves of a label (its seeds) are alike."""
    figure, axes = _axes(6.4, 3.4)
    for number, (label, runs) in enumerate(curves.items()):
        for curve in runs:
            x = curve.minutes if over_time else curve.iterations
            style = {"color": f"C{number % 10}", "linestyle": ("-", "--", ":")[number // 10 % 3], "linewidth": 1.4}
            axes.plot(x, curve.values, **style, label=label if curve is runs[0] else None)
    axes.set_xlabel("minutes of training" if over_time else "iterations")
    axes.set_ylabel(heading)
    axes.legend(frameon=False, labelcolor=INK, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def plot_bars(values: Mapping[str, float]) -> Any:
    """Plot labelled values as bars, below one another."""
    figure, axes = _axes(6.4, 0.5 + 0.26 * len(values))
    bars = axes.barh(list(values), list(values.values()), color=[f"C{number % 10}" for number in range(len(values))])
    axes.bar_label(bars, fmt="%.3g", padding=3, color=INK, fontsize=8)
    axes.invert_yaxis()
    return figure


def plot_forest(intervals: Sequence[Interval], base: str, better: int) -> Any:
    """Plot differences to a row, below one another, with their intervals, and a line at 0.

    Marks and colours are those of `OUTCOMES`; `better` is the sign of an improvement, 1 or -1.
    """
    figure, axes = _axes(4.4, 0.7 + 0.28 * len(intervals))
    axes.axvline(0, color=INK, linewidth=1)
    for row, interval in enumerate(intervals):
        (_, value, low, high), (mark, _, colour) = interval, OUTCOMES[interval.outcome(better)]
        errors = [[value - low], [high - value]]
        face = "none" if mark == "o" else colour
        axes.errorbar(value, row, xerr=errors, fmt=mark, color=colour, capsize=4, markersize=7, markerfacecolor=face)
    axes.set_yticks(range(len(intervals)), [interval.label for interval in intervals])
    axes.set_ylim(len(intervals) - 0.4, -0.6)
    axes.set_xlabel(f"difference to {base}")
    axes.tick_params(labelsize=9)
    axes.locator_params(axis="x", nbins=5)
    return figure


def _axes(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    axes.tick_params(colors=INK, labelsize=8)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    return figure, axes


def save_figure(figure: Any, out: Path, name: str) -> list[Path]:
    """Write a figure of matplotlib as `out/<name>.png` and `.pdf`; return the paths. Equal figures are equal files."""
    paths = []
    for suffix, undated in (("png", {"Software": None}), ("pdf", {"CreationDate": None})):
        paths.append(out / f"{name}.{suffix}")
        with atomic_write(paths[-1]) as temporary:
            figure.savefig(temporary, dpi=DPI, format=suffix, metadata=undated)
    return paths


def svg(figure: Any) -> str:
    """Return a figure of matplotlib as an SVG file with real text."""
    from matplotlib import rc_context

    text = StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "twostream"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()
