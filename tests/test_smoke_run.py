"""A run at the scale `smoke`, trained, evaluated and put into a table by the commands, has the stored numbers.

`python tests/store_proof.py smoke runs/synthetic/smoke` stores those of finished runs anew.
"""

import csv
import json
from pathlib import Path

import pytest

from commands import call, train

STORED = Path(__file__).parent / "stored" / "smoke_runs.json"
VARIANTS = ("full", "no_at_module")
PACKAGE = Path(__file__).parents[1]


def values_of(run_dir: Path) -> dict[str, list[float]]:
    """Metric and protocol -> value, ends of its interval, number of pairs."""
    content = json.loads((run_dir / "metrics.json").read_text())
    return {
        f"{entry['metric']} {entry['protocol']}": [entry["value"], *entry["interval"], entry["n"]]
        for entry in content["values"]
    }


@pytest.mark.slow
def test_a_smoke_run_has_the_stored_values_and_so_have_its_tables(tmp_path):
    # The stored values are those of two threads.
    status, output = train(tmp_path, "-m", f"ablation={','.join(VARIANTS)}", OMP_NUM_THREADS="2")
    assert status == 0, output
    stored = json.loads(STORED.read_text())
    for variant in VARIANTS:
        values = values_of(tmp_path / "runs" / "synthetic" / "smoke" / variant / "seed0")
        assert values.keys() == stored[variant].keys()
        for name, before in stored[variant].items():
            assert values[name] == pytest.approx(before, rel=1e-4, abs=1e-6), (variant, name)
    spec = PACKAGE / "experiments" / "table3_at_module.yaml"
    done = call("table", tmp_path, "runs=runs/synthetic/smoke", f"specs=[{spec}]")
    assert done.returncode == 0, done.stderr
    with (tmp_path / "runs/synthetic/smoke/tables/table3_at_module.csv").open(newline="") as file:
        shown = [row for row in csv.DictReader(file) if row["value"]]
    assert len({row["column"] for row in shown}) >= 9
    for row in shown:
        before = stored[row["variant"]][f"{row['metric']} {row['protocol']}"]
        got = [float(row[key]) for key in ("value", "interval_low", "interval_high", "n")]
        assert got == pytest.approx(before, rel=1e-4, abs=1e-6)
    with (tmp_path / "runs/synthetic/smoke/tables/table3_at_module-differences.csv").open(newline="") as file:
        differences = [row for row in csv.DictReader(file) if row["difference"]]
    assert len(differences) >= 9
    for row in differences:
        ours, full = (stored[name][f"{row['metric']} {row['protocol']}"][0] for name in (row["variant"], "full"))
        assert float(row["difference"]) == pytest.approx(ours - full, abs=1e-4 * max(1, abs(full)))
