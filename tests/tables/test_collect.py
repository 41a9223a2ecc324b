import json
from collections.abc import Callable
from pathlib import Path

import pytest

from twostream.tables.collect import collect
from twostream.tables.spec import load_spec

AddRun = Callable[..., Path]


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
        ({"state": "failed", "reason": "RuntimeError:\n bad thing"}, FAILED),
    ],
)
def test_missing_run_has_its_reason(spec_path: Path, runs: Path, status: dict[str, str] | None, reason: str):
    folder = runs / "synthetic/smoke/full/seed0"
    folder.mkdir(parents=True)
    if status:
        (folder / "run.json").write_text(json.dumps(status))
    results = collect(load_spec(spec_path), runs, "synthetic", "smoke", [0])
    assert results.missing["full", 0] == reason


def test_failed_run_hides_the_numbers_of_an_earlier_one(spec_path: Path, runs: Path, add_run: AddRun):
    status = add_run("full", {"ssim": 0.31}).with_name("run.json")
    status.write_text('{"state": "failed", "reason": "RuntimeError: bad thing"}')
    results = collect(load_spec(spec_path), runs, "synthetic", "smoke", [0])
    assert results.runs == {}
    assert results.missing["full", 0] == FAILED


def test_broken_status_is_the_reason(spec_path: Path, runs: Path):
    status = runs / "synthetic/smoke/full/seed0/run.json"
    status.parent.mkdir(parents=True)
    status.write_text('{"state": "fai')
    results = collect(load_spec(spec_path), runs, "synthetic", "smoke", [0])
    assert results.missing["full", 0].startswith(f"{status}: expected JSON, got: ")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("}", "", r"seed0/metrics\.json: expected JSON, got: "),
        ('"seed": 0', '"seed": 1', r"as its folder, got \('synthetic', 'smoke', 'full', 1\)"),
        ('"variant": "full"', '"variant": "both_add"', r"seed0/metrics\.json: run: expected .* got .*both_add"),
    ],
)
def test_wrong_metrics_file_is_refused(spec_path: Path, runs: Path, add_run: AddRun, old: str, new: str, message: str):
    path = add_run("full", {"ssim": 0.31, "pckh": 0.9})
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ValueError, match=message):
        collect(load_spec(spec_path), runs, "synthetic", "smoke", [0])


def test_more_columns_are_shown_where_a_run_has_a_value(compared_path: Path, runs: Path, add_run: AddRun):
    add_run("full", {"ssim": 0.31})
    add_run("no_at_module", {"fid_test/standard": 3})
    results = collect(load_spec(compared_path), runs, "synthetic", "smoke", [0])
    assert [column.label for column in results.more_columns()] == ["FID"]
    assert [column.label for column in results.shown_columns()] == ["SSIM", "PCKh", "FID"]


@pytest.mark.parametrize(("seeds", "message"), [([], "at least one"), ([0, 0], "each once, got '0'")])
def test_wrong_seeds_are_refused(spec_path: Path, runs: Path, seeds: list[int], message: str):
    with pytest.raises(ValueError, match=f"seeds: expected {message}"):
        collect(load_spec(spec_path), runs, "synthetic", "smoke", seeds)
