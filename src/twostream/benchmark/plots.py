"""Plots of what was measured, one PNG a part, in colours that the colour-blind tell apart (Okabe and Ito 2008)."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle, product
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from twostream.benchmark.forms import NETS, PLAIN, TUNED, shown
from twostream.files import atomic_write

NET_COLOURS = {"two_stream": ("#56B4E9", "#0072B2"), "patn": ("#E69F00", "#D55E00")}
"""Of a network at batch 1 and at its best batch."""
LINES = {
    "2s-ATN": ("#0072B2", "o", "-"),
    "2s-ATN, D built": ("#56B4E9", "s", "--"),
    "PATN": ("#D55E00", "^", "-"),
}
"""Colour, marker and style of a line of growth."""
GREY, BLUE, GREEN = "#999999", "#0072B2", "#009E73"
LEVERS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
SEEDS = f"{PLAIN}, seed"
"""Curves of the plain form from other seeds begin with this."""
SMOOTHED = 5
"""Iterations in a running mean."""
DPI = 150
NUM_COLOURS = 128
WHISKERS = {"ecolor": "#333333", "elinewidth": 0.8, "capsize": 2}


def draw_inference(results: Mapping[str, Any], path: Path) -> None:
    """Write `inference_figure` as PNG."""
    write(inference_figure(results), path)


def draw_training(results: Mapping[str, Any], path: Path) -> None:
    """Write `training_figure` as PNG."""
    write(training_figure(results), path)


def draw_growth(results: Mapping[str, Any], path: Path) -> None:
    """Write `growth_figure` as PNG."""
    write(growth_figure(results), path)


def draw_curves(results: Mapping[str, Any], path: Path) -> None:
    """Write `curves_figure` as PNG."""
    write(curves_figure(results), path)


def inference_figure(results: Mapping[str, Any]) -> Any:
    """Draw the images/s of `measure_inference`: a panel a size, for each form batch 1 and, below it, its best batch."""
    from matplotlib.patches import Patch

    sizes = [row["size"] for row in results["gflop"]]
    figure, (axes,) = panels("Inference: images/s of the generators", results, (11, 4.2), 1, len(sizes))
    for panel, size in zip(axes, sizes, strict=True):
        rows = [row for row in results["speeds"] if row["size"] == size]
        groups = [rows[:1], rows] if len(rows) > 1 else [rows]
        names = list(rows[0]["images_per_second"])
        colours = [NET_COLOURS[name.split()[0]] for name in names]
        for group, chosen in enumerate(groups):
            best = [max((row["images_per_second"][name], row["batch_size"]) for row in chosen) for name in names]
            height = 0.8 / len(groups)
            at = np.arange(len(names)) + (group - (len(groups) - 1) / 2) * height
            speeds = [speed for speed, _ in best]
            look = {"color": [pair[group] for pair in colours], "xerr": whiskers(speeds), "error_kw": WHISKERS}
            bars = panel.barh(at, [median for median, _, _ in speeds], height, **look)
            texts = [number(speed[0]) + (f" ({batch})" if group else "") for speed, batch in best]
            panel.bar_label(bars, texts, padding=3, fontsize=8)
        panel.set_yticks(range(len(names)), map(shown, names))
        if panel is not axes[0]:
            panel.tick_params(left=False, labelleft=False)
        panel.invert_yaxis()
        panel.margins(x=0.25)
        panel.set_title(f"{by(size)} pixels", fontsize=9)
        panel.set_xlabel("images/s")
    pairs = zip(*NET_COLOURS.values(), strict=True)
    labels = ("batch 1", "best batch (its size)")
    handles = [
        Patch(color=colour, label=f"{net}, {label}")
        for label, kind in zip(labels, pairs, strict=True)
        for net, colour in zip(NETS.values(), kind, strict=True)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def training_figure(results: Mapping[str, Any]) -> Any:
    """Draw the pairs/s and the memory of `measure_training`: a row of panels a setting, a bar a form."""
    settings = results["settings"]
    heights = [len(setting["forms"]) + 1 for setting in settings]
    title = "Training: what each lever gives to an iteration, alone and together"
    figure, rows = panels(title, results, (11, 1.6 + 0.3 * sum(heights)), len(settings), 2, heights)
    for (speed, memory), setting in zip(rows, settings, strict=True):
        forms = setting["forms"]
        names = [name.replace("_", " ") for name in forms]
        times = [form["times_plain"] for form in forms.values()]
        colours = [{PLAIN: GREY, TUNED: GREEN}.get(name, BLUE) for name in forms]
        bars = speed.barh(
            names, [median for median, _, _ in times], color=colours, xerr=whiskers(times), error_kw=WHISKERS
        )
        shares = [form["share_of_ceiling"] for form in forms.values()]
        texts = [f"{median:.2f} ({share:.0%})" for (median, _, _), share in zip(times, shares, strict=True)]
        speed.bar_label(bars, texts, padding=3, fontsize=8)
        speed.axvline(1, color=GREY, linewidth=0.8, zorder=0)
        about = f"batches of {setting['batch_size']}; {setting['rounds']} rounds, medians and quartiles"
        speed.set_title(f"{setting['name']}, {by(setting['size'])}, {about}", fontsize=9)
        gib = [form["peak_bytes"] / 2**30 for form in forms.values()]
        memory.bar_label(
            memory.barh(names, gib, color=colours), [f"{value:.2f}" for value in gib], padding=3, fontsize=8
        )
        memory.tick_params(left=False, labelleft=False)
        for panel in (speed, memory):
            panel.invert_yaxis()
            panel.margins(x=0.2)
    rows[-1][0].set_xlabel("pairs/s, times plain (in brackets: the share of matrix products' GFLOP/s)")
    rows[-1][1].set_xlabel("peak memory, GiB")
    return figure


def growth_figure(results: Mapping[str, Any]) -> Any:
    """Draw times and memory of `measure_growth`: a column of panels an axis, all from 0."""
    axes = results["axes"]
    start = results["start"]
    title = (
        "A training iteration as it grows; "
        f"{by(start['size'])}, {start['num_blocks']} blocks, width {start['width']} but for the axis' own"
    )
    figure, (times, memories) = panels(title, results, (11, 6), 2, len(axes))
    for time, memory, axis in zip(times, memories, axes, strict=True):
        values = axis["values"]
        for name, line in axis["lines"].items():
            colour, marker, style = LINES[name]
            look = {"color": colour, "marker": marker, "linestyle": style, "markersize": 4, "label": name}
            milliseconds = [tuple(1000 * seconds for seconds in point) for point in line["seconds"]]
            medians = [median for median, _, _ in milliseconds]
            time.errorbar(values, medians, yerr=whiskers(milliseconds), elinewidth=0.8, capsize=2, **look)
            memory.plot(values, [peak / 2**30 for peak in line["peak_bytes"]], **look)
        for panel in (time, memory):
            panel.set_xticks(apart(values))
            panel.set_xlim(0)
            panel.set_ylim(0)
        memory.set_xlabel(f"{axis['name']} ({axis['unit']})")
    times[0].set_ylabel("ms an iteration")
    memories[0].set_ylabel("peak memory, GiB")
    named = {name: line for panel in times for line, name in zip(*panel.get_legend_handles_labels(), strict=True)}
    figure.legend(named.values(), named, loc="outside lower center", ncols=3, frameon=False)
    return figure


def curves_figure(results: Mapping[str, Any]) -> Any:
    """Draw the losses of `measure_curves`, smoothed, and how far each curve is from the plain one."""
    title = f"L1 loss in the first {results['iterations']} iterations; {results['setting']}"
    figure, ((loss,), (difference,)) = panels(title, results, (9, 6), 2, 1)
    curves = {name: smoothed(np.array(values, dtype=float)) for name, values in results["curves"].items()}
    plain = curves.pop(PLAIN)
    iterations = np.arange(len(plain)) + 1 + (results["iterations"] - len(plain)) / 2
    looks = cycle(product(("-", "--"), LEVERS))
    seeds = [name for name in curves if name.startswith(SEEDS)]
    for name, values in curves.items():
        if name in seeds:
            label = "plain, other seeds" if name == seeds[0] else None
            look = {"color": "#BBBBBB", "linewidth": 1.2, "zorder": 1, "label": label}
        else:
            style, colour = next(looks)
            look = {"color": colour, "linestyle": style, "linewidth": 1.4, "zorder": 2, "label": name.replace("_", " ")}
        loss.plot(iterations, values, **look)
        difference.plot(iterations, values - plain, **look)
    loss.plot(iterations, plain, color="black", linewidth=1, zorder=3, label=PLAIN)
    difference.axhline(0, color="black", linewidth=1, zorder=3)
    loss.set_ylabel(f"L1 loss of pictures in [-1, 1],\nmean of {SMOOTHED} iterations")
    difference.set_ylabel("difference from plain")
    difference.set_xlabel("iterations")
    figure.legend(*loss.get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    return figure


def panels(
    title: str,
    results: Mapping[str, Any],
    inches: tuple[float, float],
    rows: int,
    columns: int,
    heights: Sequence[float] | None = None,
) -> tuple[Any, Any]:
    """Return a figure and its axes, row by row; the title says on which device and with which code."""
    from matplotlib.figure import Figure

    figure = Figure(inches, dpi=DPI, layout="constrained")
    changed = " with changes" if results["dirty"] else ""
    where = f"{results['hardware']}; commit {results['commit']}{changed}; torch {results['versions']['torch']}"
    if "rounds" in results:
        where += f"; medians of {results['rounds']} rounds, whiskers are quartiles"
    figure.suptitle(f"{title}\n{where}", fontsize=10)
    axes = figure.subplots(rows, columns, squeeze=False, height_ratios=heights)
    for panel in axes.flat:
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(labelsize=8)
        panel.xaxis.label.set_size(9)
        panel.yaxis.label.set_size(9)
    return figure, axes


def write(figure: Any, path: Path) -> None:
    """Write a figure as PNG of few colours, whole or not at all."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    # A palette takes a third of the bytes, and lines and letters need no more colours.
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").quantize(NUM_COLOURS)
    with atomic_write(path) as temporary:
        picture.save(temporary, format="PNG", optimize=True, dpi=(DPI, DPI))


def whiskers(measured: Iterable[Sequence[float]]) -> Float[np.ndarray, "2 n"]:
    """Return how far the quartiles of (median, lower, upper) are below and above the medians."""
    medians, low, high = np.array(list(measured)).T
    return np.stack([medians - low, high - medians])


def smoothed(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " m"]:
    """Return the running mean of `SMOOTHED` values, of all where they are fewer."""
    width = min(SMOOTHED, len(values))
    return np.convolve(values, np.full(width, 1 / width), "valid")


def apart(values: Sequence[float]) -> list[float]:
    """Return the values whose labels have room on an axis from 0, the last one among them."""
    kept = [values[-1]]
    for value in reversed(values[:-1]):
        if kept[0] - value >= 0.1 * values[-1]:
            kept.insert(0, value)
    return kept


def by(size: Iterable[int]) -> str:
    """Write a size as height x width."""
    return "x".join(map(str, size))


def number(value: float) -> str:
    """Write three digits, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
