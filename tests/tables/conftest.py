import json
from collections.abc import Callable
from pathlib import Path

import pytest

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
def add_run(runs: Path) -> Callable[..., Path]:
    """Write a metrics.json, with `changes` to its run fields, and return its path."""

    def add(variant: str, values: dict[str, float], seed: int = 0, **changes: object) -> Path:
        data = str(changes.get("data", "synthetic"))
        run = {
            "data": data,
            "label": "generated people" if data == "synthetic" else "Market-1501",
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
        path = runs / data / "smoke" / variant / f"seed{seed}" / "metrics.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        entries = [{"metric": name, "protocol": "patn", "value": value, "n": 64} for name, value in values.items()]
        path.write_text(json.dumps({"format": 1, "run": run | changes, "values": entries}))
        return path

    return add
