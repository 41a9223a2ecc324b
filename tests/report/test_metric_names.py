from tiny_run import EXPERIMENTS
from twostream.report.metric_names import LOWER, METRICS, NEITHER, metric_of, score_headings, score_name
from twostream.tables.spec import load_spec

SPECS = {
    path.stem: load_spec(path)
    for path in sorted(EXPERIMENTS.glob("*.yaml"))
    if not path.stem.startswith(("_", "figure"))
}


def test_every_metric_of_a_table_has_a_better_direction():
    columns = [column for spec in SPECS.values() for column in spec.all_columns()]
    assert [column.metric for column in columns if metric_of(column.metric) is None] == []
    assert metric_of("brightness") is None
    lower = {name for name, metric in METRICS.items() if metric.better == LOWER}
    assert lower == {"lpips", "mask_lpips", "fid_train", "fid_all_train", "fid_test", "frechet_train", "frechet_test"}
    assert metric_of("correspondence_block_3").text.endswith("close to the true one; higher is better")
    assert metric_of("correspondence_chance").better == NEITHER


def test_scores_have_the_headings_of_the_tables():
    headings = score_headings(SPECS[name] for name in ("table1_deepfashion", "table_field_deepfashion"))
    assert headings["ssim/patn"] == "SSIM"
    assert headings["mask_ssim/standard"] == "Mask-SSIM (standard)"
    # In the second table SSIM is of another protocol.
    assert "ssim/gfla" not in headings
    assert score_name("ssim/gfla") == "SSIM (gfla)"
    assert score_name("brightness/patn") == "brightness/patn"
