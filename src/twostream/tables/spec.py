"""Read a table's spec: its rows, its columns and the paper's own numbers."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from twostream.tables.fields import field, image_size, no_repeats, only_keys


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
class Spec:
    """A table of the paper; its numbers are of `paper_data` at `image_size`, (height, width) in pixels."""

    name: str
    number: int
    title: str
    question: str
    row_heading: str
    paper_data: str
    paper_label: str
    image_size: tuple[int, int]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


def load_spec(path: Path) -> Spec:
    """Read `experiments/<name>.yaml`.

    Raises:
        ValueError: naming the file and the key, when a key is missing, unknown, repeated or of a wrong type.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected YAML, got: {' '.join(str(error).split())}") from error
    where = str(path)
    only_keys(content, {"number", "title", "question", "paper", "row_heading", "columns", "rows"}, where)
    columns = tuple(
        _column(item, f"{where}: columns[{i}]") for i, item in enumerate(field(content, "columns", list, where))
    )
    labels = [column.label for column in columns]
    rows = tuple(
        _row(item, labels, f"{where}: rows[{i}]") for i, item in enumerate(field(content, "rows", list, where))
    )
    no_repeats(labels, f"{where}: key 'columns'")
    no_repeats([row.variant for row in rows], f"{where}: key 'rows'")
    paper = field(content, "paper", dict, where)
    only_keys(paper, {"data", "label", "image_size"}, f"{where}: paper")
    return Spec(
        name=path.stem,
        number=field(content, "number", int, where),
        title=field(content, "title", str, where),
        question=field(content, "question", str, where),
        row_heading=field(content, "row_heading", str, where),
        paper_data=field(paper, "data", str, f"{where}: paper"),
        paper_label=field(paper, "label", str, f"{where}: paper"),
        image_size=image_size(paper, f"{where}: paper"),
        columns=columns,
        rows=rows,
    )


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
    paper = field(source, "paper", dict, where)
    only_keys(paper, labels, f"{where}: paper")
    return Row(
        label=field(source, "label", str, where),
        variant=field(source, "variant", str, where),
        paper={label: field(paper, label, float, f"{where}: paper") for label in paper},
    )
