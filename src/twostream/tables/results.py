"""The runs of a table: `metrics.json` and `bootstrap.json` of each, or the reason why a run has no result."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from twostream.files import quoted, read_json, read_object
from twostream.runs import results_folder
from twostream.tables.spec import Column, Row, Spec, check, check_image_size, check_unique, from_config, load_spec

RunKey = tuple[str, int]  # variant and seed


@dataclass
class Value:
    """One number of one run."""

    metric: str
    protocol: str
    value: float
    n: int  # test pairs
    interval: list[float] | None = None  # [low, high], 95 % over test identities
    splits_std: float | None = None  # over the splits of an Inception score
    details: dict[str, Any] = field(default_factory=dict)  # the other keys: settings of the metric

    def __post_init__(self) -> None:
        check(len(self.interval or (0, 0)) == 2, "interval", "[low, high] or null", self.interval)


@dataclass
class NotComputed:
    """A metric without a value, and the reason."""

    metric: str
    protocol: str
    reason: str


@dataclass
class Bootstrap:
    """A run's metrics on resampled test identities, from its `bootstrap.json`.

    Replicate i of two runs is of the same identities where seed, number of identities and test pairs are equal.
    """

    seed: int
    identities: int
    pairs_hash: str
    replicates: Any = None  # metric and protocol -> array of values


@dataclass
class Run:
    """The result of one run: what a table needs of its `metrics.json`, and its `bootstrap.json` if there is one."""

    data: str
    label: str
    scale: str
    variant: str
    seed: int
    iterations: int
    batch_size: int
    image_size: list[int]  # (height, width) in pixels
    commit: str
    dirty: bool
    data_hash: str
    notes: list[str]
    identities: int
    pairs_hash: str
    values: list[Value]
    missing: list[NotComputed]
    bootstrap: Bootstrap | None = None

    def __post_init__(self) -> None:
        check_image_size(self.image_size)
        names = [f"{value.metric}, {value.protocol}" for value in self.values]
        check_unique("values", names)
        check_unique("missing", names + [f"{metric.metric}, {metric.protocol}" for metric in self.missing])

    @property
    def name(self) -> str:
        """The run's folder below its scale."""
        return f"{self.variant}/seed{self.seed}"

    def value(self, column: Column) -> Value | None:
        """Return the column's value."""
        return next((value for value in self.values if (value.metric, value.protocol) == column.key), None)

    def reason(self, column: Column) -> str | None:
        """Return in one line why the column has no value, where the run says so."""
        reasons = (metric.reason for metric in self.missing if (metric.metric, metric.protocol) == column.key)
        return next((" ".join(reason.split()) for reason in reasons), None)


@dataclass(frozen=True)
class Results:
    """The runs of one table; `missing` has the reason for each run without a result."""

    spec: Spec
    folder: Path  # of one dataset's runs at one scale, `.../<data>/<scale>`
    seeds: tuple[int, ...]
    runs: Mapping[RunKey, Run]
    missing: Mapping[RunKey, str]

    @property
    def data(self) -> str:
        """Name of the dataset."""
        return self.folder.absolute().parent.name

    @property
    def scale(self) -> str:
        """Name of the scale."""
        return self.folder.absolute().name

    def values(self, row: Row, column: Column) -> dict[int, Value]:
        """Return the values of a row and column by seed, without the seeds that have none."""
        runs = {seed: self.runs.get((row.variant, seed)) for seed in self.seeds}
        return {seed: value for seed, run in runs.items() if run and (value := run.value(column))}

    def more_columns(self) -> list[Column]:
        """Return those of the spec's `more_columns` that a run has a value for."""
        return [column for column in self.spec.more_columns if any(run.value(column) for run in self.runs.values())]

    def shown_columns(self) -> list[Column]:
        """Return all columns that the table shows."""
        return self.spec.columns + self.more_columns()


def collect_all(specs: Sequence[Path], folder: Path, seeds: Sequence[int], split: str = "test") -> list[Results]:
    """Read the results of the specs that are for the dataset of a folder of runs, as `collect` does."""
    data = folder.absolute().parent.name
    return [collect(spec, folder, seeds, split) for spec in map(load_spec, specs) if spec.is_for(data)]


def collect(spec: Spec, folder: Path, seeds: Sequence[int], split: str = "test") -> Results:
    """Read the results of `<folder>/<variant>/seed<k>/` on a split, for every row of the table.

    `warp@2` is the variant `warp` evaluated with two source images of each person.

    Raises:
        ValueError: in one line that names the file, when a metrics.json or bootstrap.json is wrong, or is of another
            run than its folder; or when `seeds` is empty or has one twice.
    """
    check(len(seeds) > 0, "seeds", "at least one", "none")
    check_unique("seeds", map(str, seeds))
    found: dict[RunKey, Run] = {}
    missing: dict[RunKey, str] = {}
    table = Results(spec, folder, tuple(seeds), found, missing)
    for variant, seed in itertools.product((row.variant for row in spec.rows), seeds):
        trained, _, num_sources = variant.partition("@")
        run_dir = folder / trained / f"seed{seed}"
        results = results_folder(run_dir, split, int(num_sources or 1))
        if reason := _reason_missing(run_dir, results):
            missing[variant, seed] = reason
            continue
        run = found[variant, seed] = read_run(results)
        got, expected = (run.data, run.scale, run.variant, run.seed), (table.data, table.scale, variant, seed)
        check(got == expected, f"{results / 'metrics.json'}: run", f"{expected} as its folder", got)
    return table


def read_run(folder: Path) -> Run:
    """Read the `metrics.json` (format 2) and, if there is one, the `bootstrap.json` (format 1) of a run.

    Raises:
        ValueError: in one line that names the file and the key, when it is not JSON, a key is missing or of a wrong
            type, or a metric occurs twice under one protocol.
    """
    path = folder / "metrics.json"
    content = _read_format(path, 2)
    if isinstance(content.get("values"), list):
        content["values"] = [_with_details(entry) for entry in content["values"]]
    parts = [content, content.get("run"), content.get("test")]
    merged = {key: item for part in parts if isinstance(part, Mapping) for key, item in part.items()}
    run = from_config(Run, _known(Run, merged) | {"bootstrap": None}, path)
    if (folder / "bootstrap.json").exists():
        run.bootstrap = _read_bootstrap(folder / "bootstrap.json")
    return run


def _read_bootstrap(path: Path) -> Bootstrap:
    content = _read_format(path, 1)
    bootstrap = from_config(Bootstrap, _known(Bootstrap, content) | {"replicates": None}, path)
    # Not checked by OmegaConf, which takes a second for 10,000 numbers.
    try:
        entries = [(entry["metric"], entry["protocol"], entry["values"]) for entry in content["replicates"]]
        bootstrap.replicates = {(name, protocol): np.array(values, float) for name, protocol, values in entries}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: replicates: expected metric, protocol and numeric values, got {quoted(error)}"
        ) from None
    check_unique(f"{path}: replicates", (f"{name}, {protocol}" for name, protocol, _ in entries))
    return bootstrap


def _read_format(path: Path, number: int) -> dict[str, Any]:
    content = read_json(path)
    got = content.get("format") if isinstance(content, dict) else None
    remedy = f"evaluate the run again: twostream-evaluate run={path.parent}"
    if got != number:
        raise ValueError(f"{path}: format: expected {number}, got {quoted(got)}; {remedy}")
    return content


def _known(schema: type, content: Mapping[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(schema)}
    return {key: item for key, item in content.items() if key in names}


def _with_details(entry: Any) -> Any:
    """Return the entry of a value with the keys that a `Value` lacks in its `details`."""
    if not isinstance(entry, Mapping):
        return entry
    known = _known(Value, entry)
    return known | {"details": {key: item for key, item in entry.items() if key not in known}}


def _reason_missing(folder: Path, results: Path) -> str | None:
    """Return why a run's folder holds no results, or None if it does.

    The state comes first: next to a failed or unfinished run, metrics.json is of an earlier one.
    """
    if not folder.is_dir():
        return "not run"
    try:
        content = read_object(folder / "run.json") or {}
    except ValueError as error:
        return str(error)
    state = content.get("state")
    reason = " ".join(str(content.get("reason")).split())
    if state == "failed":
        return f"failed: {reason} (log: {'/'.join(folder.parts[-4:])}/train.log)"
    if state == "running":
        return "still running, or killed"
    if (results / "metrics.json").exists():
        return None
    if state == "done" and results != folder:
        option = results.name.replace("sources_", "num_sources=") if "sources_" in results.name else "split=val"
        return f"not evaluated: twostream-evaluate run={folder} {option}"
    return f"stopped: {reason}" if state == "stopped" else "interrupted: no metrics.json"
