import json
from collections.abc import Callable
from pathlib import Path

import pytest

from twostream.tables.collect import collect
from twostream.tables.spec import load_spec

AddRun = Callable[..., Path]
SPECS = sorted((Path(__file__).parents[2] / "experiments").glob("table*.yaml"))
VARIANTS = {"full", "no_at_module", "target_add", "source_add", "both_add"}
VARIANTS |= {"blocks_5", "blocks_7", "blocks_11", "blocks_13"}
LABELS = ["SSIM", "IS", "Mask-SSIM", "Mask-IS"]
PAPER = {
    "table3_at_module": {
        "2s-ATN (Full)": [0.320, 3.504, 0.813, 3.845],
        "w/o AT-module": [0.313, 3.252, 0.812, 3.793],
    },
    "table4_fusion": {
        "T:cat, S:cat": [0.320, 3.504, 0.813, 3.845],
        "T:add, S:cat": [0.320, 3.335, 0.813, 3.815],
        "T:cat, S:add": [0.309, 3.460, 0.809, 3.843],
        "T:add, S:add": [0.234, 3.894, 0.768, 3.675],
    },
    "table5_blocks": {
        "5": [0.317, 3.354, 0.813, 3.783],
        "7": [0.319, 3.490, 0.812, 3.799],
        "9": [0.320, 3.504, 0.813, 3.845],
        "11": [0.314, 3.462, 0.810, 3.844],
        "13": [0.316, 3.323, 0.813, 3.852],
    },
}


def test_every_table_has_a_spec():
    assert [path.stem for path in SPECS] == list(PAPER)


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_spec_holds_the_papers_numbers(path: Path):
    spec = load_spec(path)
    assert {row.variant for row in spec.rows} <= VARIANTS
    assert {row.label: [row.paper[label] for label in LABELS] for row in spec.rows} == PAPER[path.stem]
    assert [column.label for column in spec.columns] == LABELS
    assert spec.question.endswith("?")
    assert (spec.paper_data, spec.paper_label, spec.image_size) == ("market1501", "Market-1501", (128, 64))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("title:", "tilte:", r"table9_test\.yaml: key 'tilte': expected one of columns, number, paper"),
        ("digits: 3", "digit: 3", r"columns\[0\]: key 'digit': expected one of digits, label"),
        ("digits: 3", "digits: 3.5", r"columns\[0\]: key 'digits': expected int, got 3\.5"),
        ("digits: 3", "digits: -1", r"columns\[0\]: key 'digits': expected 0 or more, got -1"),
        ("SSIM: 0.313", "SIM: 0.313", r"rows\[1\]: paper: key 'SIM': expected one of PCKh, SSIM"),
        ("SSIM: 0.313", "SSIM: high", r"rows\[1\]: paper: key 'SSIM': expected float, got 'high'"),
        ("number: 9", "", r"expected the key 'number', got title, question"),
        ("number: 9", "number: true", r"key 'number': expected int, got True"),
        ("[128, 64]", "[128]", r"paper: key 'image_size': expected \[height, width\], got \[128\]"),
        ("label: PCKh", "label: SSIM", r"rows\[0\]: paper: key 'PCKh': expected one of SSIM, SSIM"),
        ("variant: no_at_module", "variant: full", r"key 'rows': expected each once, got 'full' 2 times"),
        ("rows:", "rows: [", r"table9_test\.yaml: expected YAML, got: "),
    ],
)
def test_wrong_spec_is_refused(spec_path: Path, old: str, new: str, message: str):
    spec_path.write_text(spec_path.read_text().replace(old, new, 1))
    with pytest.raises(ValueError, match=message):
        load_spec(spec_path)


def test_spec_that_is_no_mapping_is_refused(spec_path: Path):
    spec_path.write_text("- 1\n")
    with pytest.raises(ValueError, match="expected a mapping with the key 'columns', got \\[1\\]"):
        load_spec(spec_path)


def test_values_come_by_seed(spec_path: Path, runs: Path, add_run: AddRun):
    add_run("full", {"ssim": 0.31, "pckh": 1}, seed=0)
    add_run("full", {"ssim": 0.33}, seed=2)
    results = collect(load_spec(spec_path), runs, "synthetic", "smoke", [0, 2])
    full, ssim, pckh = results.spec.rows[0], *results.spec.columns
    assert {seed: value.value for seed, value in results.values(full, ssim).items()} == {0: 0.31, 2: 0.33}
    assert {seed: value.n for seed, value in results.values(full, pckh).items()} == {0: 64}
    assert results.values(results.spec.rows[1], ssim) == {}
    assert results.missing == {("no_at_module", 0): "not run", ("no_at_module", 2): "not run"}


FAILED = "failed: RuntimeError: bad thing (log: synthetic/smoke/full/seed0/train.log)"


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (None, "cut off: no metrics.json"),
        ({"state": "done"}, "cut off: no metrics.json"),
        ({"state": "running"}, "still running, or killed"),
        ({"state": "failed", "error": "RuntimeError:\n bad thing", "log": "train.log"}, FAILED),
    ],
)
def test_missing_run_has_its_reason(spec_path: Path, runs: Path, status: dict[str, str] | None, reason: str):
    folder = runs / "synthetic/smoke/full/seed0"
    folder.mkdir(parents=True)
    if status:
        (folder / "status.json").write_text(json.dumps(status))
    results = collect(load_spec(spec_path), runs, "synthetic", "smoke", [0])
    assert results.missing["full", 0] == reason


def test_failed_run_hides_the_numbers_of_an_earlier_one(spec_path: Path, runs: Path, add_run: AddRun):
    status = add_run("full", {"ssim": 0.31}).with_name("status.json")
    status.write_text('{"state": "failed", "error": "RuntimeError: bad thing", "log": "train.log"}')
    results = collect(load_spec(spec_path), runs, "synthetic", "smoke", [0])
    assert results.runs == {}
    assert results.missing["full", 0] == FAILED


def test_broken_status_is_the_reason(spec_path: Path, runs: Path):
    status = runs / "synthetic/smoke/full/seed0/status.json"
    status.parent.mkdir(parents=True)
    status.write_text('{"state": "fai')
    results = collect(load_spec(spec_path), runs, "synthetic", "smoke", [0])
    assert results.missing["full", 0].startswith(f"{status}: expected JSON, got: ")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("}", "", r"seed0/metrics\.json: expected JSON, got: "),
        ('"format": 1', '"format": 2', r"seed0/metrics\.json: key 'format': expected 1, got 2"),
        ('"iterations": 100', '"iterations": "100"', r"run: key 'iterations': expected int, got '100'"),
        ('"value": 0.31', '"value": null', r"values\[0\]: key 'value': expected float, got None"),
        ('"pckh"', '"ssim"', r"key 'values': expected each once, got 'ssim, patn' 2 times"),
        ('"seed": 0', '"seed": 1', r"as its folder, got \('synthetic', 'smoke', 'full', 1\)"),
        (
            '"variant": "full"',
            '"variant": "both_add"',
            r"seed0/metrics\.json: run: expected .* got .*both_add",
        ),
    ],
)
def test_wrong_metrics_file_is_refused(spec_path: Path, runs: Path, add_run: AddRun, old: str, new: str, message: str):
    path = add_run("full", {"ssim": 0.31, "pckh": 0.9})
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ValueError, match=message):
        collect(load_spec(spec_path), runs, "synthetic", "smoke", [0])


@pytest.mark.parametrize(("seeds", "message"), [([], "at least one"), ([0, 0], "each once, got '0'")])
def test_wrong_seeds_are_refused(spec_path: Path, runs: Path, seeds: list[int], message: str):
    with pytest.raises(ValueError, match=f"seeds: expected {message}"):
        collect(load_spec(spec_path), runs, "synthetic", "smoke", seeds)
