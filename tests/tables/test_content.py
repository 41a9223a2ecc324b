import pytest

from twostream.tables.content import heading, notes


def lines(results, start=""):
    return [line for line in notes(results) if line.startswith(start)]


def test_runs_that_differ_are_noted(collected, add_run):
    add_run("full", {"ssim": 0.31})
    path = add_run("no_at_module", {"ssim": 0.3}, data_hash="d2", iterations=200, image_size=[128, 64], dirty=True)
    path.write_text(path.read_text().replace('"p1"', '"p2"'))
    assert lines(collected(), "Runs differ") == [
        "Runs differ: image size 64x32 (only A_1 (Full))",
        "Runs differ: image size 128x64 (only w/o)",
        "Runs differ: iterations 100 (only A_1 (Full))",
        "Runs differ: iterations 200 (only w/o)",
        "Runs differ: hash of test pairs p1 (only A_1 (Full))",
        "Runs differ: hash of test pairs p2 (only w/o)",
        "Runs differ: hash of data d1 (only A_1 (Full))",
        "Runs differ: hash of data d2 (only w/o)",
        "Runs differ: commit abc1234 (only A_1 (Full))",
        "Runs differ: commit abc1234 with uncommitted changes (only w/o)",
    ]
    (about, _) = heading(collected())
    assert "; iterations 100 or 200; batch size 8; " in about


def test_notes_and_settings_of_runs_are_not_repeated(collected, add_run):
    add_run("full", {"ssim": {"value": 0.31, "codec": "png"}})
    add_run("no_at_module", {"ssim": 0.3}, notes=["random features", "stopped early"])
    assert lines(collected())[-3:] == [
        "SSIM: codec png (only A_1 (Full))",
        "random features",
        "stopped early (only w/o)",
    ]


@pytest.mark.parametrize(("size", "compared"), [([128, 64], True), ([64, 32], False)])
def test_the_papers_numbers_need_its_image_size(collected, add_run, size, compared):
    add_run("full", {"ssim": 0.31}, data="market1501", image_size=size)
    results = collected(data="market1501")
    assert heading(results)[0].startswith("Data: Market-1501; scale smoke;")
    warning = ["The paper's numbers are from Market-1501 at 128x64 and can't be compared with 64x32."]
    assert lines(results, "The paper") == ([] if compared else warning)


@pytest.mark.usefixtures("compared_path")
def test_metrics_with_one_reason_share_a_line(collected, add_run):
    missing = {"ssim": "no weights", "pckh": "no detector", "lpips/standard": "no\n weights"}
    add_run("full", {}, missing=missing)
    add_run("no_at_module", {}, missing=missing, seed=1)
    add_run("both_add", {"ssim": 0.3})
    where = "(only A_1 (Full), seed 0 and w/o, seed 1)"
    assert lines(collected((0, 1)), "Not computed") == [
        f"Not computed: SSIM, LPIPS: no weights {where}",
        f"Not computed: PCKh: no detector {where}",
        "Not computed: PCKh: its evaluation has no such value (only cat, seed 0)",
    ]


@pytest.mark.usefixtures("compared_path")
def test_columns_of_equal_settings_share_a_line(collected, add_run):
    settings = {"window": "gaussian", "net_hash": "0123456789abcdef" * 4, "splits_std": 0.5}
    for variant in ("full", "no_at_module"):
        values = {"ssim": {"value": 0.3} | settings, "fid_test/standard": {"value": 3} | settings}
        add_run(variant, values | {"pckh": {"value": 0.9, "detector": variant}})
    add_run("both_add", {"ssim": {"value": 0.2} | settings})
    assert lines(collected(), "SSIM") == ["SSIM, FID: window gaussian, net_hash 0123456789ab"]
    assert lines(collected(), "PCKh") == [
        "PCKh: detector full (only A_1 (Full))",
        "PCKh: detector no_at_module (only w/o)",
    ]


@pytest.mark.usefixtures("compared_path")
def test_columns_with_different_tests_are_named(collected, add_run):
    for seed in (0, 1):
        add_run("full", {"ssim": 0.3, "pckh": 0.9}, seed, replicates={"ssim": [0.3, 0.31], "pckh": [0.9, 0.8]})
        add_run("both_add", {"ssim": 0.2 + 0.01 * seed, "pckh": 0.8}, seed)
    add_run("no_at_module", {"ssim": 0.2, "pckh": 0.8}, 1, replicates={"ssim": [0.2, 0.22], "pckh": [0.7, 0.8]})
    one_seed = "paired bootstrap over 12 test identities of one seed, which does not cover the variation between "
    one_seed += "training seeds"
    assert lines(collected((0, 1)), "Differences") == [
        f"Differences in SSIM, PCKh: {one_seed} (only w/o, seed 1)",
        "Differences in SSIM, PCKh: paired t-test over seeds 0, 1 (only cat, seeds 0, 1)",
    ]


def test_table_without_a_comparison_has_no_notes_on_it(collected, add_run):
    for variant in ("full", "no_at_module"):
        add_run(variant, {"ssim": 0.3, "pckh": 0.9}, replicates={"ssim": [0.3, 0.31]}, notes=[])
    assert [line[:19] for line in lines(collected())] == ["The paper's numbers"]


@pytest.mark.usefixtures("compared_path")
def test_notes_explain_the_marks_that_the_table_shows(collected, add_run):
    def marks(seeds, of_page=False):
        texts = notes(collected(seeds), marks=not of_page)
        return [mark for mark in ("[1]", "±", "Intervals", "p: two-sided", "≈") if any(mark in text for text in texts)]

    add_run("full", {"ssim": 0.3}, replicates={"ssim": [0.3, 0.31]})
    add_run("no_at_module", {"ssim": 0.2}, replicates={"ssim": [0.2, 0.2101]})
    assert marks((0,)) == ["[1]", "p: two-sided"]
    add_run("both_add", {"ssim": {"value": 0.3, "interval": [0.2, 0.4]}}, replicates={"ssim": [0.3, 0.32]})
    assert marks((0,)) == ["Intervals", "p: two-sided", "≈"]
    assert marks((0, 1)) == ["[1]", "Intervals", "p: two-sided", "≈"]
    add_run("full", {"ssim": 0.31}, seed=1)
    assert marks((0, 1)) == ["[1]", "±", "Intervals", "p: two-sided", "≈"]
    assert marks((0, 1), of_page=True) == []


def test_the_heading_names_the_versions_of_each_protocol(collected, add_run):
    add_run("full", {"ssim": {"value": 0.3, "version": 2}})
    assert heading(collected())[1] == "Protocol patn (version 2): SSIM, PCKh."
    add_run("no_at_module", {"ssim": {"value": 0.3, "version": 1}})
    assert heading(collected())[1] == "Protocol patn (version 1 and 2): SSIM, PCKh."


def test_pckh_of_another_estimator_than_the_papers_is_not_comparable(collected, add_run):
    add_run("full", {"pckh": {"value": 0.5, "estimator": "RTMPose"}})
    warning = "PCKh is of the keypoints that RTMPose finds; published values, of OpenPose's, can't be compared."
    assert warning in notes(collected())
    add_run("full", {"ssim": 0.3})
    assert warning not in notes(collected())


@pytest.mark.parametrize("part", [" subset", ", validation"])
def test_a_part_of_the_papers_data_is_named_and_not_comparable(collected, add_run, part):
    add_run("full", {"ssim": 0.31}, data="market1501", image_size=[128, 64], label=f"Market-1501{part}")
    results = collected(data="market1501")
    assert heading(results)[0].startswith(f"Data: market1501 (Market-1501{part}, NOT Market-1501); ")
    warning = f"The paper's numbers are from Market-1501 at 128x64 and can't be compared with Market-1501{part}."
    assert warning in notes(results)
