from collections.abc import Callable
from pathlib import Path

import pytest

from twostream.tables.collect import Results, collect
from twostream.tables.notes import notes
from twostream.tables.render import markdown
from twostream.tables.spec import load_spec

AddRun = Callable[..., Path]


def _collect(spec_path: Path, runs: Path, seeds: tuple[int, ...] = (0,), data: str = "synthetic") -> Results:
    return collect(load_spec(spec_path), runs, data, "smoke", seeds)


def test_metric_of_some_runs_only_is_named(spec_path: Path, runs: Path, add_run: AddRun):
    add_run("full", {"ssim": 0.31, "pckh": 0.9})
    add_run("no_at_module", {"ssim": 0.3})
    assert "- Not computed: PCKh (only w/o, seed 0)\n" in markdown(_collect(spec_path, runs))


def test_runs_that_differ_are_noted(spec_path: Path, runs: Path, add_run: AddRun):
    add_run("full", {"ssim": 0.31})
    add_run("no_at_module", {"ssim": 0.3}, data_hash="d2", iterations=200, image_size=[128, 64], dirty=True)
    text = markdown(_collect(spec_path, runs))
    assert "- Not like for like, data_hash: d1 in A_1 (Full), seed 0; d2 in w/o, seed 0.\n" in text
    assert "- Not like for like, iterations: 100 in A_1 (Full), seed 0; 200 in w/o, seed 0.\n" in text
    assert "- Not like for like, image size: 64x32 in A_1 (Full), seed 0; 128x64 in w/o, seed 0.\n" in text
    assert "; commit abc1234 or abc1234 with uncommitted changes.\n" in text
    assert "like for like, batch size" not in text


def test_runs_notes_and_settings_stand_once(spec_path: Path, runs: Path, add_run: AddRun):
    path = add_run("full", {"ssim": 0.31})
    path.write_text(path.read_text().replace('"n": 64', '"n": 64, "codec": "png"'))
    add_run("no_at_module", {"ssim": 0.3}, notes=["random features", "stopped early"])
    text = markdown(_collect(spec_path, runs))
    assert text.count("random features") == 1
    assert "- stopped early (only w/o, seed 0)\n" in text
    assert "- SSIM: codec png (only A_1 (Full), seed 0)\n" in text


@pytest.mark.parametrize(("size", "compared"), [([128, 64], True), ([64, 32], False)])
def test_papers_own_data_needs_its_image_size(
    spec_path: Path, runs: Path, add_run: AddRun, size: list[int], compared: bool
):
    add_run("full", {"ssim": 0.31}, data="market1501", image_size=size)
    text = markdown(_collect(spec_path, runs, data="market1501"))
    assert "Data: Market-1501; scale smoke;" in text
    warning = "- The paper's numbers are from Market-1501 at 128x64 and can't be compared with 64x32.\n"
    assert (warning not in text) == compared


def _lines(spec_path: Path, runs: Path, start: str, seeds: tuple[int, ...] = (0,)) -> list[str]:
    return [line for line in notes(_collect(spec_path, runs, seeds)) if line.startswith(start)]


def test_missing_metrics_stand_together_by_reason(compared_path: Path, runs: Path, add_run: AddRun):
    missing = {"ssim": "no weights", "pckh": "no detector", "lpips/standard": "no weights"}
    add_run("full", {}, missing=missing)
    add_run("no_at_module", {}, missing=missing)
    add_run("both_add", {"ssim": 0.3})
    where = "(only A_1 (Full), seed 0 and w/o, seed 0)"
    assert _lines(compared_path, runs, "Not computed") == [
        f"Not computed: SSIM, LPIPS: no weights {where}",
        f"Not computed: PCKh: no detector {where}",
        "Not computed: PCKh (only cat, seed 0)",
    ]


def test_hidden_column_without_a_reason_is_not_missed(compared_path: Path, runs: Path, add_run: AddRun):
    for variant in ("full", "no_at_module", "both_add"):
        add_run(variant, {"ssim": 0.3, "pckh": 0.9})
    assert _lines(compared_path, runs, "Not computed") == []


def test_columns_of_equal_settings_share_a_line(compared_path: Path, runs: Path, add_run: AddRun):
    settings = {"window": "gaussian", "net_hash": "0123456789abcdef" * 4, "splits_std": 0.5}
    for variant in ("full", "no_at_module"):
        values = {"ssim": {"value": 0.3} | settings, "fid_test/standard": {"value": 3} | settings}
        add_run(variant, values | {"pckh": {"value": 0.9, "detector": variant}})
    add_run("both_add", {"ssim": {"value": 0.2} | settings})
    assert _lines(compared_path, runs, "SSIM") == ["SSIM, FID: window gaussian, net_hash 0123456789ab"]
    assert _lines(compared_path, runs, "PCKh") == [
        "PCKh: detector full (only A_1 (Full), seed 0)",
        "PCKh: detector no_at_module (only w/o, seed 0)",
    ]


@pytest.mark.parametrize(("seeds", "shown"), [((0,), True), ((0, 1), False)])
def test_intervals_of_single_runs_are_explained(
    spec_path: Path, runs: Path, add_run: AddRun, seeds: tuple[int, ...], shown: bool
):
    for seed in seeds:
        add_run("full", {"ssim": {"value": 0.3, "interval": [0.2, 0.4]}}, seed=seed)
    lines = ["Intervals: 95 %, bootstrap over 12 test identities."] if shown else []
    assert _lines(spec_path, runs, "Intervals", seeds) == lines


def test_other_test_pairs_are_noted(spec_path: Path, runs: Path, add_run: AddRun):
    add_run("full", {"ssim": 0.31})
    path = add_run("no_at_module", {"ssim": 0.31})
    path.write_text(path.read_text().replace('"p1"', '"p2"'))
    assert _lines(spec_path, runs, "Not like") == [
        "Not like for like, pairs_hash: p1 in A_1 (Full), seed 0; p2 in w/o, seed 0."
    ]


def test_two_methods_name_their_cells(compared_path: Path, runs: Path, add_run: AddRun):
    for seed in (0, 1):
        add_run("full", {"ssim": 0.3, "pckh": 0.9}, seed, replicates={"ssim": [0.3, 0.31], "pckh": [0.9, 0.8]})
        add_run("both_add", {"ssim": 0.2 + 0.01 * seed, "pckh": 0.8}, seed)
    add_run("no_at_module", {"ssim": 0.2, "pckh": 0.8}, 1, replicates={"ssim": [0.2, 0.22], "pckh": [0.7, 0.8]})
    alone = "seed 1 alone: says nothing about training again with another seed"
    assert _lines(compared_path, runs, "Differences", (0, 1)) == [
        f"Differences: paired bootstrap over 12 test identities, {alone}. Here: w/o: SSIM, PCKh.",
        "Differences: paired t-test over seeds 0, 1. Here: cat: SSIM, PCKh.",
    ]


def test_mark_is_explained_where_it_stands(compared_path: Path, runs: Path, add_run: AddRun):
    add_run("full", {"ssim": 0.3}, replicates={"ssim": [0.3, 0.31]})
    add_run("both_add", {"ssim": 0.1}, replicates={"ssim": [0.1, 0.111]})
    assert len(_lines(compared_path, runs, "p: two-sided")) == 1
    assert _lines(compared_path, runs, "≈") == []


def test_table_without_a_comparison_explains_none(spec_path: Path, runs: Path, add_run: AddRun):
    for variant in ("full", "no_at_module"):
        add_run(variant, {"ssim": 0.3, "pckh": 0.9}, replicates={"ssim": [0.3, 0.31]}, notes=[])
    assert [line[:19] for line in notes(_collect(spec_path, runs))] == ["The paper's numbers"]
