"""Gather the runs of a table.

A wrong file raises `ValueError`; a run without a result is no error but is kept with its reason.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from twostream.tables.fields import field, no_repeats
from twostream.tables.results import Run, Value, read_json, read_run
from twostream.tables.spec import Column, Row, Spec


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

    def more_columns(self) -> tuple[Column, ...]:
        """Return those of the spec's `more_columns` that a run has a value for."""
        there = {(value.metric, value.protocol) for run in self.runs.values() for value in run.values}
        return tuple(column for column in self.spec.more_columns if (column.metric, column.protocol) in there)

    def shown_columns(self) -> tuple[Column, ...]:
        """Return all columns that the table shows."""
        return self.spec.columns + self.more_columns()


def collect(spec: Spec, runs: Path, data: str, scale: str, seeds: Sequence[int]) -> Results:
    """Read `runs/<data>/<scale>/<variant>/seed<k>/` of every row of the table.

    Raises:
        ValueError: naming the file, when a metrics.json or bootstrap.json is wrong or of another run than its
            folder says; or when `seeds` is empty or repeats one.
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
    status = folder / "run.json"
    if status.exists():
        try:
            content = read_json(status)
            state = field(content, "state", str, str(status))
            if state == "failed":
                log = "/".join((*folder.parts[-4:], "train.log"))
                error = " ".join(field(content, "reason", str, str(status)).split())
                return f"failed: {error} (log: {log})"
        except ValueError as error:
            return str(error)
        if state == "running":
            return "still running, or killed"
    return None if (folder / "metrics.json").exists() else "cut off: no metrics.json"
