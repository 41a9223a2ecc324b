import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from twostream.tables.results import Results, collect
from twostream.tables.spec import load_spec

SPEC = """\
number: 9
title: A table & its title.
question: Does it help?
paper: {data: market1501, label: Market-1501, image_size: [128, 64]}
row_heading: Method
columns:
  - {label: SSIM, metric: ssim, protocol: patn, digits: 3}
  - {label: PCKh, metric: pckh, protocol: patn, digits: 2}
rows:
  - {label: A_1 (Full), variant: full, paper: {SSIM: 0.320, PCKh: 0.94}}
  - {label: w/o, variant: no_at_module, paper: {SSIM: 0.313}}
"""


@pytest.fixture
def spec_path(tmp_path: Path) -> Path:
    path = tmp_path / "table9_test.yaml"
    path.write_text(SPEC)
    return path


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def collected(spec_path: Path, runs: Path) -> Callable[..., Results]:
    """Collect the runs of the spec as it is when this is called."""

    def collect_runs(seeds: Sequence[int] = (0,), data: str = "synthetic") -> Results:
        return collect(load_spec(spec_path), runs, data, "smoke", seeds)

    return collect_runs


@pytest.fixture
def compared_path(spec_path: Path) -> Path:
    """A spec with a third row, further columns and a comparison with its first row."""
    more = """more_columns:
  - {label: LPIPS, metric: lpips, protocol: standard, digits: 3}
  - {label: FID, metric: fid_test, protocol: standard, digits: 1}
compare_with: full
rows:"""
    third = "  - {label: cat, variant: both_add}\n"
    spec_path.write_text(SPEC.replace("rows:", more) + third)
    return spec_path


@pytest.fixture
def add_run(runs: Path) -> Callable[..., Path]:
    """Write a metrics.json, with `changes` to its run fields, and return its path.

    A metric is named `ssim` (protocol patn) or `lpips/standard`; its value is a number or the entry's keys. With
    `replicates`, by such names, a bootstrap.json is written too.
    """

    def add(
        variant: str,
        values: dict[str, float | dict[str, object]],
        seed: int = 0,
        missing: dict[str, str] | None = None,
        replicates: dict[str, list[float]] | None = None,
        **changes: object,
    ) -> Path:
        data = str(changes.get("data", "synthetic"))
        run = {
            "data": data,
            "label": "synthetic people" if data == "synthetic" else "Market-1501",
            "scale": "smoke",
            "variant": variant,
            "seed": seed,
            "iterations": 100,
            "batch_size": 8,
            "image_size": [64, 32],
            "commit": "abc1234",
            "dirty": False,
            "data_hash": "d1",
            "notes": ["random features"],
        }
        test = {"identities": 12, "pairs_hash": "p1"}
        path = runs / data / "smoke" / variant / f"seed{seed}" / "metrics.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        entries = []
        for name, value in values.items():
            keys = value if isinstance(value, dict) else {"value": value}
            entries.append(metric(name) | {"n": 64, "interval": None} | keys)
        reasons = [metric(name) | {"reason": reason} for name, reason in (missing or {}).items()]
        content = {"format": 2, "run": run | changes, "test": test, "values": entries, "missing": reasons}
        path.write_text(json.dumps(content))
        if replicates is not None:
            lists = [metric(name) | {"values": numbers} for name, numbers in replicates.items()]
            bootstrap = {"format": 1, "seed": 0, **test, "replicates": lists}
            path.with_name("bootstrap.json").write_text(json.dumps(bootstrap))
        return path

    def metric(name: str) -> dict[str, object]:
        name, _, protocol = name.partition("/")
        return {"metric": name, "protocol": protocol or "patn"}

    return add
