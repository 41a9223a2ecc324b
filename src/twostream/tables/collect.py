"""Read the results of a table's runs into plain dataclasses.

A wrong file raises `ValueError`; a run without a result is no error but is kept with its reason.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from twostream.tables.fields import field, image_size, no_repeats
from twostream.tables.spec import Column, Row, Spec


@dataclass(frozen=True)
class Value:
    """One number of one run over `n` test pairs; `details` holds the metric's settings as written."""

    metric: str
    protocol: str
    value: float
    n: int
    details: Mapping[str, object]


@dataclass(frozen=True)
class Run:
    """The content of one metrics.json; `image_size` is (height, width) in pixels."""

    data: str
    label: str
    scale: str
    variant: str
    seed: int
    iterations: int
    batch_size: int
    image_size: tuple[int, int]
    commit: str
    dirty: bool
    data_hash: str
    notes: tuple[str, ...]
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Results:
    """The runs of one table by (variant, seed); `missing` gives the reason for each run without a result."""

    spec: Spec
    data: str
    scale: str
    seeds: tuple[int, ...]
    runs: Mapping[tuple[str, int], Run]
    missing: Mapping[tuple[str, int], str]

    def values(self, row: Row, column: Column) -> dict[int, Value]:
        """Return the cell's values by seed, without the seeds that have none."""
        return {
            seed: value
            for seed in self.seeds
            if (run := self.runs.get((row.variant, seed)))
            for value in run.values
            if (value.metric, value.protocol) == (column.metric, column.protocol)
        }


def read_run(path: Path) -> Run:
    """Read one metrics.json (format 1).

    Raises:
        ValueError: naming the file and the key, when it is not JSON, a key is missing or of a wrong type, or
            a metric stands twice under one protocol.
    """
    content, where = _read_json(path), str(path)
    if (version := field(content, "format", int, where)) != 1:
        raise ValueError(f"{where}: key 'format': expected 1, got {version}")
    source, inside = field(content, "run", dict, where), f"{where}: run"
    values = tuple(
        _value(item, f"{where}: values[{i}]") for i, item in enumerate(field(content, "values", list, where))
    )
    no_repeats([f"{value.metric}, {value.protocol}" for value in values], f"{where}: key 'values'")
    return Run(
        data=field(source, "data", str, inside),
        label=field(source, "label", str, inside),
        scale=field(source, "scale", str, inside),
        variant=field(source, "variant", str, inside),
        seed=field(source, "seed", int, inside),
        iterations=field(source, "iterations", int, inside),
        batch_size=field(source, "batch_size", int, inside),
        image_size=image_size(source, inside),
        commit=field(source, "commit", str, inside),
        dirty=field(source, "dirty", bool, inside),
        data_hash=field(source, "data_hash", str, inside),
        notes=tuple(str(note) for note in field(source, "notes", list, inside)),
        values=values,
    )


def collect(spec: Spec, runs: Path, data: str, scale: str, seeds: Sequence[int]) -> Results:
    """Read `runs/<data>/<scale>/<variant>/seed<k>/` of every row of the table.

    Raises:
        ValueError: naming the file, when a metrics.json is wrong or of another run than its folder says; or
            when `seeds` is empty or repeats one.
    """
    if not seeds:
        raise ValueError("seeds: expected at least one, got none")
    no_repeats([str(seed) for seed in seeds], "seeds")
    found: dict[tuple[str, int], Run] = {}
    missing: dict[tuple[str, int], str] = {}
    for row in spec.rows:
        for seed in seeds:
            folder = runs / data / scale / row.variant / f"seed{seed}"
            reason = _reason_missing(folder)
            if reason:
                missing[row.variant, seed] = reason
                continue
            run = read_run(folder / "metrics.json")
            got = (run.data, run.scale, run.variant, run.seed)
            expected = (data, scale, row.variant, seed)
            if got != expected:
                raise ValueError(f"{folder / 'metrics.json'}: run: expected {expected} as its folder, got {got}")
            found[row.variant, seed] = run
    return Results(spec, data, scale, tuple(seeds), found, missing)


def _reason_missing(folder: Path) -> str | None:
    """Say in one line why the folder holds no result, or None when it does.

    The status is asked first: beside a failed or unfinished run, metrics.json is of an earlier one.
    """
    if not folder.is_dir():
        return "not run"
    status = folder / "status.json"
    if status.exists():
        try:
            content = _read_json(status)
            state = field(content, "state", str, str(status))
            if state == "failed":
                log = "/".join((*folder.parts[-4:], field(content, "log", str, str(status))))
                error = " ".join(field(content, "error", str, str(status)).split())
                return f"failed: {error} (log: {log})"
        except ValueError as error:
            return str(error)
        if state == "running":
            return "still running, or killed"
    return None if (folder / "metrics.json").exists() else "cut off: no metrics.json"


def _value(source: object, where: str) -> Value:
    known = {"metric", "protocol", "value", "n"}
    if not isinstance(source, Mapping):
        raise ValueError(f"{where}: expected a mapping, got {source!r}")
    return Value(
        metric=field(source, "metric", str, where),
        protocol=field(source, "protocol", str, where),
        value=field(source, "value", float, where),
        n=field(source, "n", int, where),
        details={key: item for key, item in source.items() if key not in known},
    )


def _read_json(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON, got: {error}") from error
