"""The spec of a table, `experiments/<name>.yaml`: its rows, its columns and the paper's numbers."""

import io
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from twostream.files import read_text, shortened

MAX_BYTES, MAX_DEPTH = 2**16, 20  # of a spec
WRITTEN_OUT = "values, each written out"
MAX_MESSAGE = 300  # characters of another package's message
MAX_DIGITS = 10
MAX_COUNT = 100  # columns that one with a `count` stands for
T = TypeVar("T")
Metric = tuple[str, str]  # name and protocol


@dataclass
class Column:
    """One metric under one protocol.

    With a `count`, it stands for that many columns: 1, 2, ... count replace the `{}` in label and metric.
    """

    label: str
    metric: str
    protocol: str
    digits: int  # decimals shown
    count: int | None = None

    @property
    def key(self) -> Metric:
        """Name and protocol of the metric."""
        return self.metric, self.protocol

    def text(self, number: float) -> str:
        """Return a number with the column's decimals."""
        # "z": a small negative number rounds to 0.000, not to -0.000.
        return f"{number:z.{self.digits}f}"


@dataclass
class Row:
    """One variant of the model, or a method without runs that the paper cites."""

    label: str
    variant: str = ""  # empty for a cited method
    paper: dict[str, float] = field(default_factory=dict)  # the paper's numbers by column label


@dataclass
class Paper:
    """The data of the paper's numbers."""

    data: str
    label: str
    image_size: list[int]  # (height, width) in pixels
    note: str = ""  # on these data, shown below the table


@dataclass
class Spec:
    """A table of runs."""

    name: str  # stem of its files
    title: str
    question: str
    row_heading: str
    columns: list[Column]
    rows: list[Row]
    number: int | None = None  # in the paper
    paper: Paper | None = None
    more_columns: list[Column] = field(default_factory=list)  # shown where a run has a value; without `columns`
    cited: list[Row] = field(default_factory=list)  # methods without runs, shown below the rows
    source: str = "the paper"  # of the cited numbers
    compare_with: str | None = None  # variant of the row that the others are compared with
    only_data: list[str] = field(default_factory=list)  # datasets that the table is for; empty for all
    intervals: bool = True  # show the intervals of single runs

    def __post_init__(self) -> None:
        self.columns = _expand(self.columns)
        keys = [column.key for column in self.columns]
        self.more_columns = [column for column in _expand(self.more_columns) if column.key not in keys]
        labels = [column.label for column in self.columns]
        variants = [row.variant for row in self.rows]
        check_unique("columns", labels)
        check_unique("more_columns", (column.label for column in self.all_columns()))
        check_unique("rows", variants)
        check_unique("cited", (row.label for row in self.cited))
        for row in self.all_rows():
            for label, number in row.paper.items():
                check(isfinite(number), f"{row.label}: paper: {label}", "a finite number", number)
        for column in self.all_columns():
            check(0 <= column.digits <= MAX_DIGITS, "digits", f"0 to {MAX_DIGITS}", column.digits)
        for row in self.rows:
            check(row.variant != "", f"rows: {row.label}: variant", "the name of a variant", "none")
        for row in self.cited:
            check(row.variant == "", f"cited: {row.label}: variant", "none", row.variant)
            check(len(row.paper) > 0, f"cited: {row.label}: paper", "at least one number", "none")
        for label in self.in_paper():
            check(label in labels, "rows: paper", f"one of {', '.join(labels)}", label)
        if self.paper:
            check_image_size(self.paper.image_size)
        check(not self.in_paper() or self.paper is not None, "paper", "the data of the paper's numbers", "none")
        check(
            self.compare_with in (None, *variants), "compare_with", f"one of {', '.join(variants)}", self.compare_with
        )

    @property
    def cited_heading(self) -> str:
        """The heading of a column of cited numbers."""
        return "paper" if self.source == "the paper" else "published"

    @property
    def heading(self) -> str:
        """The title with the table's number."""
        return self.title if self.number is None else f"Table {self.number}: {self.title}"

    def all_columns(self) -> list[Column]:
        """Return the columns, shown or not."""
        return self.columns + self.more_columns

    def all_rows(self) -> list[Row]:
        """Return the rows, then the cited methods."""
        return self.rows + self.cited

    def full_label(self, row: Row) -> str:
        """Return a row's label for use outside of the table, where a number says what it counts: 5 AT-blocks."""
        return f"{row.label} {self.row_heading.removeprefix('#')}" if row.label.isdecimal() else row.label

    def is_for(self, data: str) -> bool:
        """Return whether the table is for a dataset."""
        return not self.only_data or data in self.only_data

    def in_paper(self) -> set[str]:
        """Return the labels of the columns that the paper has a number for."""
        return {label for row in self.all_rows() for label in row.paper}

    def base(self) -> Row | None:
        """Return the row that the others are compared with."""
        return next((row for row in self.rows if row.variant == self.compare_with), None)

    def others(self) -> list[Row]:
        """Return the rows that are compared with it; none without `compare_with`."""
        return [row for row in self.rows if self.compare_with and row.variant != self.compare_with]


def load_spec(path: Path) -> Spec:
    """Read a spec; its key `base` names a YAML file in the same folder whose keys it starts from.

    Raises:
        ValueError: in one line that names the file and the key, when a key is missing, unknown, repeated or of a wrong
            type, or two keys contradict each other.
    """
    content = dict(read_mapping(path))
    if "base" in content:
        base = str(content.pop("base"))
        if Path(base).name != base or not (path.parent / base).exists():
            raise ValueError(f"{path}: base: expected a spec in the same folder, file not found: {shortened(base)}")
        content = dict(OmegaConf.merge(read_mapping(path.parent / base), content))
    return from_config(Spec, {**content, "name": path.stem}, path)


def from_config(schema: type[T], content: Any, where: Path | str) -> T:
    """Return `content` as an instance of the dataclass `schema`, checked by OmegaConf and by the dataclass.

    Raises:
        ValueError: in one line that begins with `where` and names the key, when it does not fit the schema.
    """
    check(isinstance(content, Mapping), str(where), "a mapping", content)
    _check_values(content, where)
    try:
        instance = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), content))
    except (OmegaConfBaseException, ValueError) as error:
        key = f"{error.full_key}: " if isinstance(error, OmegaConfBaseException) and error.full_key else ""
        raise ValueError(f"{where}: {shortened(key + str(error).splitlines()[0], MAX_MESSAGE)}") from None
    assert isinstance(instance, schema)
    return instance


def check(correct: bool, what: str, expected: str, got: object) -> None:
    """Raise ValueError unless something is correct."""
    if not correct:
        raise ValueError(f"{what}: expected {expected}, got {shortened(str(got))}")


def check_unique(what: str, names: Iterable[str]) -> None:
    """Raise ValueError for a name that occurs twice."""
    for name, count in Counter(names).items():
        check(count == 1, what, "each once", f"'{name}' {count} times")


def check_image_size(size: list[int]) -> None:
    """Raise ValueError unless there are a height and a width."""
    check(len(size) == 2, "image_size", "[height, width]", size)


def _expand(columns: Iterable[Column]) -> list[Column]:
    expanded = []
    for column in columns:
        if column.count is None:
            expanded.append(column)
        check((column.count or 1) <= MAX_COUNT, "count", f"at most {MAX_COUNT}", column.count)
        for i in range(1, (column.count or 0) + 1):
            label, metric = (text.replace("{}", str(i)) for text in (column.label, column.metric))
            expanded.append(Column(label, metric, column.protocol, column.digits))
    return expanded


def _check_values(content: Any, where: Path | str) -> None:
    """Raise ValueError for an interpolation, which stands for other values and for variables of the environment."""
    if isinstance(content, dict | list):
        for value in content.values() if isinstance(content, dict) else content:
            _check_values(value, where)
    check(not isinstance(content, str) or "${" not in content, str(where), WRITTEN_OUT, content)


def _check_size(text: str, path: Path) -> None:
    """Raise ValueError for YAML whose few bytes may stand for any number of values, or that is nested deeply."""
    depth = 0
    for event in yaml.parse(text):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        assert event.start_mark is not None
        where = f"{path}:{event.start_mark.line + 1}"
        check(not isinstance(event, yaml.AliasEvent), where, WRITTEN_OUT, "an alias")
        if isinstance(event, yaml.ScalarEvent):
            _check_values(event.value, where)
        check(depth <= MAX_DEPTH, where, f"at most {MAX_DEPTH} levels of lists and mappings", "more")


def read_mapping(path: Path) -> DictConfig:
    """Read a YAML file that holds a mapping. Raises ValueError, in one line with the path, for another content."""
    try:
        text = read_text(path, MAX_BYTES)
        _check_size(text, path)
        content = OmegaConf.load(io.StringIO(text))
    except FileNotFoundError:
        raise ValueError(f"{path}: expected a spec, file not found; the project's are in experiments/") from None
    # Of a scalar, OmegaConf raises OSError.
    except (yaml.YAMLError, OmegaConfBaseException, OSError, RecursionError) as error:
        raise ValueError(
            f"{path}: expected YAML, got: {shortened(' '.join(str(error).split()), MAX_MESSAGE)}"
        ) from None
    check(isinstance(content, DictConfig), str(path), "a mapping", content)
    assert isinstance(content, DictConfig)
    return content
