"""Stores what a refactoring must leave as it is: `python tests/store_proof.py curves` or `... smoke RUNS`."""

import json
import sys
import tempfile
from pathlib import Path

import test_loss_curves
import test_smoke_run
from tiny_run import tiny_people


def store_curves() -> None:
    """Train all cases and store their losses."""
    with tempfile.TemporaryDirectory() as folder:
        parent = Path(folder, "people")
        tiny_people().prepare(parent)
        cases = {**test_loss_curves.CASES, **test_loss_curves.COMPILED}
        curves = {c: test_loss_curves.train_compiled(c, str(parent), f"{folder}/{c}") for c in cases}
    test_loss_curves.STORED.write_text(json.dumps(curves, indent=0) + "\n")


def store_smoke(runs: Path) -> None:
    """Store the values of finished smoke runs, those in `runs`/<variant>/seed0."""
    stored = {name: test_smoke_run.values_of(runs / name / "seed0") for name in test_smoke_run.VARIANTS}
    test_smoke_run.STORED.write_text(json.dumps(stored, indent=0) + "\n")


if __name__ == "__main__":
    store_curves() if sys.argv[1] == "curves" else store_smoke(Path(sys.argv[2]))
