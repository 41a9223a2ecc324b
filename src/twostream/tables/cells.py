"""The cells of a table, which Markdown, LaTeX and CSV are made from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from twostream.tables.comparison import Comparison, Comparisons
from twostream.tables.notes import ABOUT_ZERO, CITED, missing_rows
from twostream.tables.results import Results, Value
from twostream.tables.spec import Cited, Column, Row, Spec

DASH = "—"
Grid = list[list[str]]  # a header and the rows below it


@dataclass(frozen=True)
class Cell:
    """One column of a row: our values by seed, the paper's number, the difference or why it was not tested."""

    column: Column
    values: Mapping[int, Value]
    paper: float | None
    difference: Comparison | str | None

    def mean(self) -> str:
        """Return the mean over the seeds, or a dash."""
        numbers = [value.value for value in self.values.values()]
        return self._number(float(np.mean(numbers))) if numbers else DASH

    def spread(self, intervals: bool) -> str:
        """Return the mean and standard deviation (ddof 1) of several seeds, or a single value with its interval."""
        values = list(self.values.values())
        if len(values) > 1:
            return f"{self.mean()} ± {self._number(float(np.std([value.value for value in values], ddof=1)))}"
        interval = values[0].interval if values and intervals else None
        return f"{self.mean()} {self._interval(*interval)}" if interval else self.mean()

    def in_paper(self) -> str:
        """Return the paper's number, or a dash."""
        return DASH if self.paper is None else self._number(self.paper)

    def tested(self) -> str:
        """Return the difference with its interval and p, or a dash."""
        found = self.difference
        if not isinstance(found, Comparison):
            return DASH
        p = f"{found.p_holm:.3f}" if found.p_holm >= 0.001 else "<0.001"
        mark = f" {ABOUT_ZERO}" if found.contains_zero else ""
        interval = self._interval(found.difference_low, found.difference_high)
        return f"{self._number(found.difference)} {interval} p {p}{mark}"

    def _interval(self, low: float, high: float) -> str:
        return f"[{self._number(low)}, {self._number(high)}]"

    def _number(self, number: float) -> str:
        # "z": a small negative number rounds to 0.000, not to -0.000.
        return f"{number:z.{self.column.digits}f}"


TableRow = tuple[Row | Cited, dict[str, Cell]]


def table_rows(results: Results, comparisons: Comparisons) -> list[TableRow]:
    """Return the rows with the cells of all columns, shown or not, by label; those that the paper cites come last."""
    return [
        (row, {column.label: _cell(results, comparisons, row, column) for column in results.spec.all_columns()})
        for row in results.spec.all_rows()
    ]


def grids(results: Results, comparisons: Comparisons) -> dict[str, Grid]:
    """Return the parts of the full table by title; more metrics and differences only where there are any."""
    spec, more, base = results.spec, results.more_columns(), results.spec.base()
    rows = table_rows(results, comparisons)
    ours = [(row, cells) for row, cells in rows if row.variant]
    others = [(row, cells) for row, cells in ours if row in spec.others()]
    marks = {row.variant: f" [{i}]" for i, (row, _) in enumerate(missing_rows(results), start=1)}

    def value(cell: Cell) -> str:
        return cell.spread(spec.intervals)

    found = {"": main_grid(results, rows, spec.columns, value, marks)}
    if more:
        found["More metrics"] = _grid(spec, ours, [(column.label, column, value) for column in more], marks)
    tested = {label for (_, label), outcome in comparisons.items() if isinstance(outcome, Comparison)}
    if base and tested:
        parts = [(column.label, column, Cell.tested) for column in results.shown_columns() if column.label in tested]
        found[f"Difference to {base.label}"] = _grid(spec, others, parts, marks)
    return found


def main_grid(
    results: Results,
    rows: Sequence[TableRow],
    columns: Sequence[Column],
    value: Callable[[Cell], str],
    marks: Mapping[str, str],
) -> Grid:
    """Return the `value` of each column with the paper's number next to it, and the number of runs; mark the labels."""
    parts = []
    for column in columns:
        parts.append((column.label, column, value))
        if column.label in results.spec.in_paper():
            parts.append(("paper", column, Cell.in_paper))
    header, *lines = _grid(results.spec, rows, parts, marks)
    for (row, _), line in zip(rows, lines, strict=True):
        found = sum((row.variant, seed) in results.runs for seed in results.seeds)
        line.append(f"{found}/{len(results.seeds)}" if row.variant else CITED)
    return [[*header, "runs"], *lines]


def _grid(
    spec: Spec,
    rows: Sequence[TableRow],
    parts: Sequence[tuple[str, Column, Callable[[Cell], str]]],
    marks: Mapping[str, str],
) -> Grid:
    """Return the rows with a column for each of `parts`: its heading, the column of the spec, the text of a cell."""
    lines = [
        [row.label + marks.get(row.variant, ""), *(text(cells[column.label]) for _, column, text in parts)]
        for row, cells in rows
    ]
    return [[spec.row_heading, *(heading for heading, _, _ in parts)], *lines]


def _cell(results: Results, comparisons: Comparisons, row: Row | Cited, column: Column) -> Cell:
    values, difference = results.values(row, column), comparisons.get((row.variant, column.label))
    return Cell(column, values, row.paper.get(column.label), difference)
