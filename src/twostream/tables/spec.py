"""Read a table's spec: its rows, its columns and, for a table of the paper, the paper's own numbers."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from twostream.tables.fields import field, image_size, names, no_repeats, only_keys, optional


@dataclass(frozen=True)
class Column:
    """One metric under one protocol, shown with `digits` decimals (0 or more)."""

    label: str
    metric: str
    protocol: str
    digits: int


@dataclass(frozen=True)
class Row:
    """One variant of the model, with the paper's numbers by column label (any may be absent)."""

    label: str
    variant: str
    paper: Mapping[str, float]


@dataclass(frozen=True)
class Cited:
    """Numbers by column label that the paper gives, at least one, and that no run of this project stands behind."""

    label: str
    paper: Mapping[str, float]


@dataclass(frozen=True)
class Paper:
    """What the paper's numbers are of: a data set, what to call it, (height, width) in pixels."""

    data: str
    label: str
    image_size: tuple[int, int]


@dataclass(frozen=True)
class Spec:
    """A table.

    Attributes:
        name: of its files.
        number: in the paper; None for a table of our own.
        title: of the table.
        question: that it answers.
        row_heading: what its rows are.
        paper: what the paper's numbers are of; None without such numbers.
        columns: always shown.
        more_columns: shown in a grid of their own, each where a run has a value.
        rows: its variants.
        cited: further numbers of the paper, shown below the rows.
        compare_with: the variant that the others are compared with; None for no comparison.
        only_data: the data sets that it is for; none for any.
        intervals: show the interval beside the value of a single run.

    """

    name: str
    number: int | None
    title: str
    question: str
    row_heading: str
    paper: Paper | None
    columns: tuple[Column, ...]
    more_columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    cited: tuple[Cited, ...]
    compare_with: str | None
    only_data: tuple[str, ...]
    intervals: bool

    def is_for(self, data: str) -> bool:
        """Return whether the table is for a data set."""
        return not self.only_data or data in self.only_data

    def in_paper(self) -> set[str]:
        """Return the labels of the columns that the paper has a number for."""
        numbers = [row.paper for row in self.rows] + [row.paper for row in self.cited]
        return {label for paper in numbers for label in paper}

    def base(self) -> Row | None:
        """Return the row that the others are compared with."""
        return next((row for row in self.rows if row.variant == self.compare_with), None)

    def others(self) -> tuple[Row, ...]:
        """Return the rows that are compared with it; none without `compare_with`."""
        return tuple(row for row in self.rows if row.variant != self.compare_with) if self.compare_with else ()


_REQUIRED = {"title", "question", "row_heading", "columns", "rows"}
_OPTIONAL = {"number", "paper", "more_columns", "cited", "compare_with", "only_data", "intervals"}


def load_spec(path: Path) -> Spec:
    """Read `experiments/<name>.yaml`.

    Raises:
        ValueError: naming the file and the key, when a key is missing, unknown, repeated or of a wrong type, or
            two keys don't fit each other.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected YAML, got: {' '.join(str(error).split())}") from error
    where = str(path)
    only_keys(content, _REQUIRED | _OPTIONAL, where)
    columns = _columns(field(content, "columns", list, where), f"{where}: columns")
    more_columns = _columns(optional(content, "more_columns", list, [], where), f"{where}: more_columns")
    labels = [column.label for column in columns]
    rows = tuple(
        _row(item, labels, f"{where}: rows[{i}]") for i, item in enumerate(field(content, "rows", list, where))
    )
    cited = tuple(
        _cited(item, labels, f"{where}: cited[{i}]")
        for i, item in enumerate(optional(content, "cited", list, [], where))
    )
    no_repeats(labels, f"{where}: key 'columns'")
    no_repeats([*labels, *(column.label for column in more_columns)], f"{where}: key 'more_columns'")
    variants = [row.variant for row in rows]
    no_repeats(variants, f"{where}: key 'rows'")
    no_repeats([row.label for row in cited], f"{where}: key 'cited'")
    compare_with = optional(content, "compare_with", str, None, where)
    if compare_with not in (None, *variants):
        raise ValueError(f"{where}: key 'compare_with': expected one of {', '.join(variants)}, got '{compare_with}'")
    return Spec(
        name=path.stem,
        number=optional(content, "number", int, None, where),
        title=field(content, "title", str, where),
        question=field(content, "question", str, where),
        row_heading=field(content, "row_heading", str, where),
        paper=_paper(content, (*rows, *cited), where),
        columns=columns,
        more_columns=more_columns,
        rows=rows,
        cited=cited,
        compare_with=compare_with,
        only_data=names(content, "only_data", where) if "only_data" in content else (),
        intervals=optional(content, "intervals", bool, True, where),
    )


def _columns(items: list[object], where: str) -> tuple[Column, ...]:
    return tuple(_column(item, f"{where}[{i}]") for i, item in enumerate(items))


def _column(source: object, where: str) -> Column:
    only_keys(source, {"label", "metric", "protocol", "digits"}, where)
    column = Column(
        label=field(source, "label", str, where),
        metric=field(source, "metric", str, where),
        protocol=field(source, "protocol", str, where),
        digits=field(source, "digits", int, where),
    )
    if column.digits < 0:
        raise ValueError(f"{where}: key 'digits': expected 0 or more, got {column.digits}")
    return column


def _row(source: object, labels: Collection[str], where: str) -> Row:
    only_keys(source, {"label", "variant", "paper"}, where)
    return Row(
        label=field(source, "label", str, where),
        variant=field(source, "variant", str, where),
        paper=_papers_numbers(source, labels, where),
    )


def _cited(source: object, labels: Collection[str], where: str) -> Cited:
    only_keys(source, {"label", "paper"}, where)
    cited = Cited(label=field(source, "label", str, where), paper=_papers_numbers(source, labels, where))
    if not cited.paper:
        raise ValueError(f"{where}: key 'paper': expected at least one number, got none")
    return cited


def _papers_numbers(source: object, labels: Collection[str], where: str) -> dict[str, float]:
    paper = field(source, "paper", dict, where)
    only_keys(paper, labels, f"{where}: paper")
    return {label: field(paper, label, float, f"{where}: paper") for label in paper}


def _paper(content: object, rows: Collection[Row | Cited], where: str) -> Paper | None:
    """Return what the paper's numbers are of; where a row has such numbers, it must be said."""
    needed = any(row.paper for row in rows)
    paper = field(content, "paper", dict, where) if needed else optional(content, "paper", dict, None, where)
    if paper is None:
        return None
    inside = f"{where}: paper"
    only_keys(paper, {"data", "label", "image_size"}, inside)
    return Paper(
        data=field(paper, "data", str, inside),
        label=field(paper, "label", str, inside),
        image_size=image_size(paper, inside),
    )
