"""The report of an experiment: one HTML file that needs no server, no network and no other file."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader
from PIL import Image

from twostream.files import data_uri, read_object, write_text
from twostream.report.figures import Spec as Figure
from twostream.report.metric_names import CURVES, DIRECTIONS, metric_of, score_headings
from twostream.report.pair_browser import browser_data
from twostream.report.plots import DPI, OUTCOMES, Interval, plot_curves, plot_forest, read_curve, svg
from twostream.tables import content
from twostream.tables.comparison import Comparison, compare
from twostream.tables.results import Results, Run, RunKey
from twostream.tables.spec import Column, Row, check

SVG = "image/svg+xml"
MIN_PIXELS = 75  # of CSS, for an inch of a printed figure: its text stays readable


def write_report(tables: Sequence[Results], figures: Sequence[Figure], out: Path, max_pairs: int = 100) -> Path:
    """Write the report of tables of one folder of runs, with its figures next to it; return the path of `out`.

    Images are those of the first seed of which any run is evaluated. Raises ValueError if there is none.
    """
    check(len(tables) > 0, "specs", "a table for these data", "none")
    folder, seeds = tables[0].folder, tables[0].seeds
    # What `warp@2` is, two source images of a run's people, only the tables show.
    found = {key: run for table in tables for key, run in table.runs.items() if "@" not in key[0]}
    check(bool(found), f"{folder}", f"an evaluated run of seeds {', '.join(map(str, seeds))}", "none")
    seed = next(seed for seed in seeds if any(seed == other for _, other in found))
    labels = _labels(tables, {variant for variant, number in found if number == seed})
    shown = {label: folder / variant / f"seed{seed}" for variant, label in labels.items()}
    compared = _of_equal_pairs({label: found[variant, seed] for variant, label in labels.items()})
    in_browser = {label: shown[label] for label in compared}
    drawn, not_drawn = _draw(figures, folder, seed, out.parent / "figures")
    environment = Environment(loader=PackageLoader("twostream.report"), autoescape=True, trim_blocks=True)
    page = environment.get_template("report.html").render(
        data=content.data_text(tables[0]),
        data_name=tables[0].data,
        scale=tables[0].scale,
        seeds=seeds,
        seed=seed,
        tables=[table_context(table) for table in tables],
        meanings=_meanings(tables),
        outcomes=OUTCOMES,
        figures=[_figure_context(spec, path) for spec, path in drawn],
        not_drawn=not_drawn,
        curves=_curves(shown),
        browser=browser_data(in_browser, max_pairs, score_headings(table.spec for table in tables)),
        not_in_browser=[label for label in shown if label not in in_browser],
        runs=[_provenance(folder, key) for key in sorted(found)],
        missing={f"{v}/seed{s}": reason for table in tables for (v, s), reason in table.missing.items()},
    )
    write_text(out, page)
    return out


def _labels(tables: Sequence[Results], variants: Collection[str]) -> dict[str, str]:
    """Return the labels of variants; those that occur more than once are told apart by the variant."""
    labels = {row.variant: table.spec.full_label(row) for table in reversed(tables) for row in table.spec.rows}
    labels = {variant: label for variant, label in labels.items() if variant in variants}
    counts = Counter(labels.values())
    return {variant: label if counts[label] == 1 else f"{label} ({variant})" for variant, label in labels.items()}


def _of_equal_pairs(runs: Mapping[str, Run]) -> list[str]:
    """Return the labels of the runs whose data, test pairs and image size are those of the first."""
    about = {label: (run.data_hash, run.pairs_hash, run.image_size) for label, run in runs.items()}
    first = next(iter(about.values()))
    return [label for label, of_run in about.items() if of_run == first]


def _draw(
    figures: Sequence[Figure], folder: Path, seed: int, out: Path
) -> tuple[list[tuple[Figure, Path]], dict[str, str]]:
    """Draw the figures that the runs allow; return these with their PNG files, and the reasons for the others."""
    drawn, not_drawn = [], {}
    for spec in figures:
        try:
            drawn.append((spec, spec.make(folder, seed, out)[0]))
        except ValueError as error:
            not_drawn[spec.title] = str(error)
    return drawn, not_drawn


def _figure_context(spec: Figure, path: Path) -> dict[str, Any]:
    """Return what the page shows of a figure; where it is wider than a phone, it scrolls instead of shrinking."""
    with Image.open(path) as image:
        min_width = round(image.width / DPI * MIN_PIXELS)
    uri = data_uri(path.read_bytes(), "image/png")
    return {"title": spec.title, "caption": spec.caption, "uri": uri, "min_width": min_width}


def table_context(results: Results) -> dict[str, Any]:
    """Return what the page shows of a table: its cells, the forest plots of its differences, and its notes."""
    spec, base, not_computed = results.spec, results.spec.base(), content.not_computed(results)
    columns = _columns(results)
    left_out = [column.label for column in spec.all_columns() if column not in columns]
    return {
        "heading": spec.heading,
        "question": spec.question,
        "about": content.heading(results),
        "columns": [column.label for column in columns],
        "in_paper": spec.in_paper(),
        "row_heading": spec.row_heading,
        "rows": [
            {"label": row.label, "cells": [_cell(results, row, column) for column in columns]} for row in spec.rows
        ],
        "forests": _forests(results, columns),
        "base": spec.full_label(base) if base else "",
        "notes": _about_bars(results, columns) + content.notes(results, marks=False),
        "left_out": left_out,
        "has_reasons": not not_computed.keys().isdisjoint(left_out),
    }


def _meanings(tables: Sequence[Results]) -> dict[str, str]:
    """Return what the metrics of columns measure, by heading, without those that are not known."""
    columns = [column for table in tables for column in _columns(table)]
    found = {column.label: metric_of(column.metric) for column in columns}
    return {label: metric.text for label, metric in found.items() if metric}


def _about_bars(results: Results, columns: Sequence[Column]) -> list[str]:
    """Explain the bars of those kinds that the table has."""
    cells = [list(results.values(row, column).values()) for row in results.spec.rows for column in columns]
    lines = []
    if any(len(values) == 1 and values[0].interval for values in cells):
        lines.append("Bar: 95 % interval of a single run, bootstrap over the test identities.")
    if any(len(values) > 1 for values in cells):
        lines.append("Bar of a mean of several seeds: from the smallest to the largest value.")
    return lines


def _columns(results: Results) -> list[Column]:
    """Return the columns that a run has a value for."""
    return [
        column for column in results.shown_columns() if any(results.values(row, column) for row in results.spec.rows)
    ]


def _cell(results: Results, row: Row, column: Column) -> dict[str, Any]:
    """Return a cell's text, the paper's number, and the ends of its interval as fractions of the column's range."""
    interval = _interval(results, row, column)
    intervals = [_interval(results, other, column) for other in results.spec.rows]
    low = min((other.low for other in intervals if other), default=0.0)
    spread = max((other.high for other in intervals if other), default=1.0) - low or 1.0
    bar = [100 * (end - low) / spread for end in (interval.low, interval.value, interval.high)] if interval else None
    paper = row.paper.get(column.label)
    return {
        "text": content.mean(results, row, column),
        "interval": f"{column.text(interval.low)} to {column.text(interval.high)}" if interval else "",
        "bar": bar,
        "paper": None if paper is None else column.text(paper),
    }


def _interval(results: Results, row: Row, column: Column) -> Interval | None:
    """Return a value with the interval of its run, or the mean of several seeds with their smallest and largest."""
    values = list(results.values(row, column).values())
    if not values:
        return None
    numbers = [value.value for value in values]
    low, high = values[0].interval or (numbers[0], numbers[0]) if len(values) == 1 else (min(numbers), max(numbers))
    return Interval(row.label, float(np.mean(numbers)), low, high)


def _forests(results: Results, columns: Sequence[Column]) -> list[dict[str, str]]:
    """Return the plots of the differences in columns whose better direction is known."""
    spec, base, comparisons = results.spec, results.spec.base(), compare(results)
    plots = []
    for column in columns:
        found = [(row, comparisons.get((row.variant, column.label))) for row in spec.others()]
        intervals = [
            Interval(spec.full_label(row), one.difference, one.difference_low, one.difference_high)
            for row, one in found
            if isinstance(one, Comparison)
        ]
        metric = metric_of(column.metric)
        if base and intervals and metric and metric.better:
            plot = svg(plot_forest(intervals, spec.full_label(base), metric.better))
            texts = [
                f"{one.label} {one.value:+.3g} ({one.low:.3g} to {one.high:.3g}), {one.outcome(metric.better)}"
                for one in intervals
            ]
            label = f"{column.label}, {DIRECTIONS[metric.better]}"
            plots.append({"label": label, "uri": data_uri(plot.encode(), SVG), "alt": "; ".join(texts)})
    return plots


def _curves(runs: Mapping[str, Path]) -> list[dict[str, str]]:
    plots = []
    for metric, title in CURVES.items():
        curves = {label: read_curve(folder / "logs" / "metrics.csv", metric) for label, folder in runs.items()}
        shown = {label: [curve] for label, curve in curves.items() if curve.values}
        if shown:
            by_iteration, by_time = (
                data_uri(svg(plot_curves(shown, title, over_time)).encode(), SVG) for over_time in (False, True)
            )
            plots.append({"title": title, "by_iteration": by_iteration, "by_time": by_time})
    return plots


def _provenance(folder: Path, key: RunKey) -> dict[str, Any]:
    """Return what the page shows of a run's origin; nothing but its name while an evaluation replaces its metrics."""
    variant, seed = key
    run = (read_object(folder / variant / f"seed{seed}" / "metrics.json") or {}).get("run", {})
    keys = ("iterations", "commit", "dirty", "hardware", "data_hash", "generator_parameters")
    about = {name: run.get(name, "") for name in keys}
    return about | {"variant": variant, "seed": seed, "versions": run.get("versions", {})}
