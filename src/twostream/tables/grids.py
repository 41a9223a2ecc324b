"""A table's grids as text: the values beside the paper's, further columns, the differences to one row."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twostream.tables.collect import Results
from twostream.tables.comparison import Comparison, compare
from twostream.tables.notes import CITED, UNDECIDED, missing_rows
from twostream.tables.results import Value
from twostream.tables.spec import Cited, Column, Row

DASH = "—"


@dataclass(frozen=True)
class Grid:
    """A header and the rows below it, all of one length; the first grid of a table has no heading."""

    heading: str
    header: list[str]
    rows: list[list[str]]


def grids(results: Results) -> list[Grid]:
    """Return the table's grids; those of further columns and of differences only where they have a number."""
    return [_main(results), *_more(results), *_differences(results)]


def _main(results: Results) -> Grid:
    """Return each column's value and the paper's, then how many runs there are; below, what the paper cites."""
    spec, labels, in_paper = results.spec, _row_labels(results), results.spec.in_paper()
    header = [spec.row_heading]
    for column in spec.columns:
        header += [column.label, "paper"] if column.label in in_paper else [column.label]
    rows = []
    for row in spec.rows:
        line = [labels[row.variant]]
        for column in spec.columns:
            line.append(_cell(results, row, column))
            if column.label in in_paper:
                line.append(_papers_cell(row, column))
        found = sum((row.variant, seed) in results.runs for seed in results.seeds)
        rows.append([*line, f"{found}/{len(results.seeds)}"])
    for cited in spec.cited:
        line = [cited.label]
        for column in spec.columns:
            line += [DASH, _papers_cell(cited, column)] if column.label in in_paper else [DASH]
        rows.append([*line, CITED])
    return Grid("", [*header, "runs"], rows)


def _more(results: Results) -> list[Grid]:
    columns, labels = results.more_columns(), _row_labels(results)
    if not columns:
        return []
    rows = [[labels[row.variant], *(_cell(results, row, column) for column in columns)] for row in results.spec.rows]
    return [Grid("More metrics", [results.spec.row_heading, *(column.label for column in columns)], rows)]


def _differences(results: Results) -> list[Grid]:
    spec, labels, base = results.spec, _row_labels(results), results.spec.base()
    found = compare(results).found
    compared = {label for _, label in found}
    columns = [column for column in results.shown_columns() if column.label in compared]
    if base is None or not columns:
        return []
    rows = [
        [labels[row.variant], *(_difference(found.get((row.variant, column.label)), column) for column in columns)]
        for row in spec.others()
    ]
    header = [spec.row_heading, *(column.label for column in columns)]
    return [Grid(f"Difference to {base.label}", header, rows)]


def _row_labels(results: Results) -> dict[str, str]:
    """Return the rows' labels by variant, with the marks of those that lack a run."""
    marks = {row.variant: f" [{i}]" for i, (row, _) in enumerate(missing_rows(results), start=1)}
    return {row.variant: row.label + marks.get(row.variant, "") for row in results.spec.rows}


def _cell(results: Results, row: Row, column: Column) -> str:
    """Return one value with its interval, the mean and standard deviation (ddof 1) of several, or a dash."""
    values = list(results.values(row, column).values())
    if len(values) == 1:
        interval = values[0].interval if results.spec.intervals else None
        return _number(values[0].value, column) + (f" {_interval(interval, column)}" if interval else "")
    return _mean(values, column) if values else DASH


def _papers_cell(row: Row | Cited, column: Column) -> str:
    return _number(row.paper[column.label], column) if column.label in row.paper else DASH


def _mean(values: Sequence[Value], column: Column) -> str:
    found = [value.value for value in values]
    return f"{_number(float(np.mean(found)), column)} ± {_number(float(np.std(found, ddof=1)), column)}"


def _difference(comparison: Comparison | None, column: Column) -> str:
    if comparison is None:
        return DASH
    interval = _interval((comparison.low, comparison.high), column)
    p = f"{comparison.p_holm:.3f}" if comparison.p_holm >= 0.001 else "<0.001"
    mark = f" {UNDECIDED}" if comparison.undecided else ""
    return f"{_number(comparison.difference, column)} {interval} p {p}{mark}"


def _interval(interval: tuple[float, float], column: Column) -> str:
    return f"[{', '.join(_number(end, column) for end in interval)}]"


def _number(number: float, column: Column) -> str:
    # "z": a small negative number rounds to 0.000, not to -0.000.
    return f"{number:z.{column.digits}f}"
