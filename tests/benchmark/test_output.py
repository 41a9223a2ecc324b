import numpy as np
import pytest
from PIL import Image

from twostream.benchmark.output import (
    describe,
    plot_curves,
    plot_inference,
    plot_scaling,
    plot_training,
    save_png,
    to_markdown,
)


def around(value):
    return value, 0.9 * value, 1.05 * value


NAMES = ["2s-ATN baseline", "PATN baseline"]
RATES = [
    {"size": size, "batch_size": batch_size, **dict(zip(NAMES, map(around, rates), strict=True)), "ratio": 1.0}
    for size, batch_size, rates in (("128x64", 1, (10, 8)), ("128x64", 2, (9, 9)), ("128x64", "best", (10, 9)))
]
TABLE_2 = [{"method": "2s-ATN", "source": "paper", "parameters, M": "43.28", "images_per_second": "74.21"}]
INFERENCE = {"rounds": 3, "tables": [{"rows": [{"size": "128x64"}]}, {"rows": RATES}, {"rows": TABLE_2}]}
VARIANTS = [
    {"variant": name, "speedup": around(speedup), "peak_bytes": int(gib * 2**30)}
    for name, speedup, gib in (("baseline", 1, 2.5), ("one_pass", 1.1, 2.75))
]
TRAINING = {"tables": [{"title": "Market-1501", "rows": VARIANTS}]}
POINTS = [{"blocks": n, "2s-ATN, seconds": around(n / 4), "2s-ATN, peak_bytes": n * 2**30} for n in (5, 9)]
SCALING = {"tables": [{"title": "blocks", "axis": "blocks (AT-blocks)", "rows": POINTS}]}
LOSSES = {"baseline": {"l1": [3, 2, 1]}, "one_pass": {"l1": [3, 2, 2]}, "baseline, seed 1": {"l1": [2, 1, 0]}}
CURVES = {"tables": [{"title": "L1 loss"}], "losses": LOSSES}
PLOTS = [(plot_inference, INFERENCE), (plot_training, TRAINING), (plot_scaling, SCALING), (plot_curves, CURVES)]


@pytest.mark.parametrize(("plot", "results"), PLOTS)
def test_a_plot_is_a_png(plot, results, about, tmp_path):
    save_png(plot, about | results, tmp_path / "new" / "plot.png")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["plot.png"]
    with Image.open(tmp_path / "new" / "plot.png") as image:
        assert image.format == "PNG"
        assert np.asarray(image.convert("L")).std() > 0


def test_plots_show_the_measured_numbers(about):
    (inference,) = plot_inference(about | INFERENCE).axes
    assert [bar.get_width() for bar in inference.patches] == [10, 8, 10, 9]
    assert [text.get_text() for text in inference.texts] == ["10", "8", "10", "9"]
    speedup, memory = plot_training(about | TRAINING).axes
    assert [[bar.get_width() for bar in panel.patches] for panel in (speedup, memory)] == [[1, 1.1], [2.5, 2.75]]
    seconds, memory = plot_scaling(about | SCALING).axes
    assert seconds.containers[0].lines[0].get_xydata().tolist() == [[5, 1.25], [9, 2.25]]
    assert memory.lines[0].get_xydata().tolist() == [[5, 5], [9, 9]]
    loss, difference = plot_curves(about | CURVES).axes
    assert [list(line.get_ydata()) for line in loss.lines] == [[3, 2, 1], [3, 2, 2], [2, 1, 0]]
    assert list(difference.lines[1].get_ydata()) == [0, 0, 1]


def test_results_become_a_text_and_tables(about):
    rows = [
        {"variant": "baseline", "pairs_per_second": (1234.5, 0.5, 2.0), "peak_bytes": 3 * 2**29, "count": 1000},
        {"variant": "one_pass", "pairs_per_second": (12.346, 1.0, 0.00321), "peak_bytes": 2**31, "count": 7},
    ]
    text = to_markdown(about | {"rounds": 3, "text": "Some text.", "tables": [{"title": "A table", "rows": rows}]})
    assert text.splitlines() == [
        "cpu; torch 2.15.0; commit abc; median and quartiles of 3 rounds",
        "",
        "Some text. Optimized: attention.",
        "",
        "A table:",
        "",
        "| variant | pairs/s | peak memory, GiB | count |",
        "| --- | ---: | ---: | ---: |",
        "| baseline | 1,234 [0.500, 2.00] | 1.50 | 1000 |",
        "| one pass | 12.3 [1.00, 0.00321] | 2.00 | 7 |",
    ]


def test_uncommitted_changes_are_reported(about):
    assert describe(about | {"dirty": True}) == "cpu; torch 2.15.0; commit abc with uncommitted changes"
