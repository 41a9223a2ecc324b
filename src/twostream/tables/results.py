"""Read the results of one run, metrics.json and bootstrap.json, into plain dataclasses."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from twostream.tables.fields import expect_format, field, image_size, no_repeats, numbers, optional

Metric = tuple[str, str]
"""A metric and the protocol that it is computed under."""


@dataclass(frozen=True)
class Value:
    """One number of one run over `n` test pairs.

    Attributes:
        metric: what was computed.
        protocol: how.
        value: the number.
        n: of test pairs.
        interval: (low, high), 95 % over test identities; None where it can't be had.
        splits_std: standard deviation over the splits of an Inception score; None for any other metric.
        details: the metric's settings as written.

    """

    metric: str
    protocol: str
    value: float
    n: int
    interval: tuple[float, float] | None
    splits_std: float | None
    details: Mapping[str, object]


@dataclass(frozen=True)
class Bootstrap:
    """A run's metrics on resampled test identities.

    Replicate i of two runs is of the same identities where seed, number of identities and test pairs are equal.
    """

    seed: int
    identities: int
    pairs_hash: str
    replicates: Mapping[Metric, tuple[float, ...]]


@dataclass(frozen=True)
class Run:
    """One run: `image_size` is (height, width) in pixels, `missing` says why a metric has no value."""

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
    identities: int
    pairs_hash: str
    values: tuple[Value, ...]
    missing: Mapping[Metric, str]
    bootstrap: Bootstrap | None


def read_run(path: Path) -> Run:
    """Read one metrics.json (format 2) and, if there is one, the bootstrap.json (format 1) beside it.

    Raises:
        ValueError: naming the file and the key, when it is not JSON, a key is missing or of a wrong type, or
            a metric stands twice under one protocol.
    """
    content, where = read_json(path), str(path)
    expect_format(content, 2, where, _remedy(path))
    source, inside = field(content, "run", dict, where), f"{where}: run"
    test = field(content, "test", dict, where)
    values = tuple(
        _value(item, f"{where}: values[{i}]") for i, item in enumerate(field(content, "values", list, where))
    )
    names = [f"{value.metric}, {value.protocol}" for value in values]
    no_repeats(names, f"{where}: key 'values'")
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
        identities=field(test, "identities", int, f"{where}: test"),
        pairs_hash=field(test, "pairs_hash", str, f"{where}: test"),
        values=values,
        missing=_missing(field(content, "missing", list, where), names, f"{where}: missing"),
        bootstrap=_bootstrap(path.with_name("bootstrap.json")),
    )


def read_json(path: Path) -> object:
    """Read a JSON file. Raises `ValueError`, naming it, where it is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON, got: {error}") from error


def _value(source: object, where: str) -> Value:
    if not isinstance(source, Mapping):
        raise ValueError(f"{where}: expected a mapping, got {source!r}")
    interval = numbers(source, "interval", where) if source.get("interval") is not None else None
    if interval is not None and len(interval) != 2:
        raise ValueError(f"{where}: key 'interval': expected [low, high] or null, got {list(interval)}")
    known = {"metric", "protocol", "value", "n", "interval", "splits_std"}
    return Value(
        metric=field(source, "metric", str, where),
        protocol=field(source, "protocol", str, where),
        value=field(source, "value", float, where),
        n=field(source, "n", int, where),
        interval=(interval[0], interval[1]) if interval else None,
        splits_std=optional(source, "splits_std", float, None, where),
        details={key: item for key, item in source.items() if key not in known},
    )


def _missing(items: list[object], computed: list[str], where: str) -> dict[Metric, str]:
    """Return the reason of each metric without a value; none of them may be `computed`."""
    reasons = {}
    names = list(computed)
    for i, item in enumerate(items):
        inside = f"{where}[{i}]"
        metric = field(item, "metric", str, inside), field(item, "protocol", str, inside)
        names.append(", ".join(metric))
        reasons[metric] = " ".join(field(item, "reason", str, inside).split())
    no_repeats(names, where)
    return reasons


def _bootstrap(path: Path) -> Bootstrap | None:
    if not path.exists():
        return None
    content, where = read_json(path), str(path)
    expect_format(content, 1, where, _remedy(path))
    replicates = {}
    names = []
    for i, item in enumerate(field(content, "replicates", list, where)):
        inside = f"{where}: replicates[{i}]"
        metric = field(item, "metric", str, inside), field(item, "protocol", str, inside)
        names.append(", ".join(metric))
        replicates[metric] = numbers(item, "values", inside)
    no_repeats(names, f"{where}: key 'replicates'")
    return Bootstrap(
        seed=field(content, "seed", int, where),
        identities=field(content, "identities", int, where),
        pairs_hash=field(content, "pairs_hash", str, where),
        replicates=replicates,
    )


def _remedy(path: Path) -> str:
    return f"evaluate the run again: twostream-evaluate run={path.parent}"
