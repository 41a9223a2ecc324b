"""Results of a part as Markdown and as a figure."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from twostream.benchmark.variants import BASELINE
from twostream.files import atomic_write
from twostream.tables.render import markdown_table

Results = Mapping[str, Any]
DPI, NUM_COLORS = 100, 128  # of a figure


def to_markdown(results: Results) -> str:
    """Return the text and the tables of a part; each row of a table is a dict from column to value."""
    sections = [describe(results), f"{results['text']} Optimized: {', '.join(results['optimized'])}."]
    for table in results["tables"]:
        rows = [[column_title(column) for column in table["rows"][0]]]
        for row in table["rows"]:
            values = {column: value / 2**30 if column.endswith("_bytes") else value for column, value in row.items()}
            rows.append([format_value(value) for value in values.values()])
        sections += [f"{table['title']}:", markdown_table(rows, padded=False)]
    return "\n\n".join(sections) + "\n"


def describe(results: Results) -> str:
    """Return on which hardware, with which code and in how many rounds results were measured."""
    changes = " with uncommitted changes" if results["dirty"] else ""
    rounds = f"; median and quartiles of {results['rounds']} rounds" if "rounds" in results else ""
    torch = results["versions"]["torch"]
    return f"{results['hardware']}; torch {torch}; commit {results['commit']}{changes}{rounds}"


def column_title(column: str) -> str:
    """Return the title of a column such as `pairs_per_second` or `peak_bytes`, whose unit becomes GiB."""
    for word, written in (("_per_second", "/s"), ("_bytes", " memory, GiB"), ("gflop", "GFLOP"), ("_", " ")):
        column = column.replace(word, written)
    return column


def format_value(value: Any) -> str:
    """Format a text, a count, a number with three digits, or a median with its quartiles in brackets."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 99.95 else f"{value:#.3g}"
    if isinstance(value, list | tuple):
        median, lower, upper = map(format_value, value)
        return f"{median} [{lower}, {upper}]"
    return str(value).replace("_", " ")


def save_png(plot: Callable[[Results], Any], results: Results, path: Path) -> None:
    """Write the figure of a plot function as PNG, atomically."""
    import matplotlib.style

    settings = {"font.size": 8, "axes.titlesize": 9, "errorbar.capsize": 2}
    # petroff10 is readable by the colour-blind.
    with atomic_write(path) as temporary, matplotlib.style.context(["petroff10", settings]):
        plot(results).savefig(temporary, dpi=DPI)
        with Image.open(temporary) as image:
            # Unlike Pillow's default, this method keeps the colours of thin lines.
            quantized = image.convert("RGB").quantize(NUM_COLORS, Image.Quantize.MAXCOVERAGE)
        quantized.save(temporary, optimize=True)


def plot_inference(results: Results) -> Any:
    """Plot images/s, a panel for each image size, with bars for the first and for the best batch size."""
    flops, throughput, *_ = (table["rows"] for table in results["tables"])
    figure, (panels,) = new_figure("Inference: images/s of the generators", results, (11, 4.2), 1, len(flops))
    for panel, size in zip(panels, (row["size"] for row in flops), strict=True):
        first, *others = (row for row in throughput if row["size"] == size)
        names = [name for name, value in first.items() if isinstance(value, list | tuple)]
        groups = {f"batch size: {row['batch_size']}": [row[name] for name in names] for row in (first, *others[-1:])}
        draw_bars(panel, names, groups)
        panel.tick_params(labelleft=panel is panels[0])
        panel.set(title=size, xlabel="images/s")
    add_legend(figure, panels[0])
    return figure


def plot_training(results: Results) -> Any:
    """Plot the speedup and the peak memory of every variant, a row of panels for each setting."""
    tables = results["tables"]
    heights = [len(table["rows"]) + 1 for table in tables]
    title = "Training iteration: each optimization alone, and all together"
    figure, panels = new_figure(title, results, (11, 1.6 + 0.3 * sum(heights)), len(tables), 2, heights)
    for (speed, memory), table in zip(panels, tables, strict=True):
        names = [row["variant"].replace("_", " ") for row in table["rows"]]
        draw_bars(speed, names, {"speedup": [row["speedup"] for row in table["rows"]]})
        draw_bars(memory, names, {"memory": [(row["peak_bytes"] / 2**30,) * 3 for row in table["rows"]]})
        speed.set_title(table["title"], loc="left")
        memory.tick_params(labelleft=False)
    panels[-1][0].set_xlabel("speedup over the baseline")
    panels[-1][1].set_xlabel("peak memory, GiB")
    return figure


def plot_scaling(results: Results) -> Any:
    """Plot seconds and peak memory of an iteration, a column of panels for each axis."""
    tables = results["tables"]
    figure, panels = new_figure("Scaling of a training iteration", results, (11, 6), 2, len(tables))
    for time, memory, table in zip(*panels, tables, strict=True):
        axis, *columns = table["rows"][0]
        values = [row[axis] for row in table["rows"]]
        lines = [column.removesuffix(", seconds") for column in columns if column.endswith(", seconds")]
        for line, style in zip(lines, ("o-", "s--", "^:"), strict=False):
            seconds = [row[f"{line}, seconds"] for row in table["rows"]]
            time.errorbar(values, [median for median, *_ in seconds], error_bars(seconds), fmt=style, label=line)
            memory.plot(values, [row[f"{line}, peak_bytes"] / 2**30 for row in table["rows"]], style)
        for panel in (time, memory):
            panel.set(xticks=values, xlim=(0, None), ylim=(0, None))
        memory.set_xlabel(table["axis"])
    panels[0][0].set_ylabel("seconds per iteration")
    panels[1][0].set_ylabel("peak memory, GiB")
    add_legend(figure, panels[0][0])
    return figure


def plot_curves(results: Results) -> Any:
    """Plot the L1 losses, and their differences from the baseline's."""
    figure, ((loss,), (difference,)) = new_figure(results["tables"][0]["title"], results, (9, 6), 2, 1)
    curves = {name: np.array(losses["l1"]) for name, losses in results["losses"].items()}
    iterations = np.arange(len(curves[BASELINE])) + 1
    for name, curve in curves.items():
        # The baseline from other seeds shows the differences due to chance.
        style = "k-" if name == BASELINE else "k:" if name.startswith(BASELINE) else "-"
        loss.plot(iterations, curve, style, label=name.replace("_", " "))
        difference.plot(iterations, curve - curves[BASELINE], style)
    for panel in (loss, difference):
        panel.locator_params(axis="x", integer=True)
    loss.set_ylabel("L1 loss")
    difference.set(xlabel="iterations", ylabel="difference from baseline")
    add_legend(figure, loss)
    return figure


def new_figure(
    title: str,
    results: Results,
    inches: tuple[float, float],
    rows: int,
    columns: int,
    heights: Sequence[float] | None = None,
) -> tuple[Any, Any]:
    """Return a figure and its panels by row and column; its title says how the results were measured."""
    from matplotlib.figure import Figure

    figure = Figure(inches, layout="constrained")
    figure.suptitle(f"{title}\n{describe(results)}", fontsize=10)
    return figure, figure.subplots(rows, columns, squeeze=False, height_ratios=heights)


def draw_bars(panel: Any, names: Sequence[str], groups: Mapping[str, Sequence[Sequence[float]]]) -> None:
    """Draw a horizontal bar for each name and group, with its median and quartiles, from top to bottom."""
    height = 0.8 / len(groups)
    for index, (label, measured) in enumerate(groups.items()):
        medians = [median for median, *_ in measured]
        positions = np.arange(len(names)) + (index - (len(groups) - 1) / 2) * height
        bars = panel.barh(positions, medians, height, xerr=error_bars(measured), label=label)
        panel.bar_label(bars, [format_value(median) for median in medians], padding=3)
    panel.set_yticks(range(len(names)), names)
    panel.yaxis.set_inverted(True)
    panel.margins(x=0.2)


def add_legend(figure: Any, panel: Any) -> None:
    """Add the legend of a panel below all panels."""
    figure.legend(*panel.get_legend_handles_labels(), loc="outside lower center", ncols=5)


def error_bars(measured: Sequence[Sequence[float]]) -> Float[np.ndarray, "2 n"]:
    """Return the distances of the lower and the upper quartiles from the medians."""
    median, lower, upper = np.array(measured).T
    return np.stack([median - lower, upper - median])
