import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from twostream.benchmark.inference import as_markdown, count_flop, measure_inference
from twostream.cli import CONF

CPU = torch.device("cpu")
FORMS = ["two_stream plain", "two_stream attention", "two_stream tuned", "patn plain", "patn tuned"]


@pytest.fixture
def tiny(benchmark_config):
    return benchmark_config(
        "inference.settings=[{size:[16,8],batch_sizes:{cpu:[1,3]}},{size:[32,16],batch_sizes:{cpu:[1]}}]",
        "inference.rounds=2",
    )


def test_all_forms_are_measured_at_every_size_and_batch_size(tiny):
    results = measure_inference(tiny, CPU)
    assert (results["rounds"], results["tuned"]) == (2, ["attention", "bfloat16"])
    assert [(row["size"], row["batch_size"]) for row in results["speeds"]] == [
        ([16, 8], 1),
        ([16, 8], 3),
        ([32, 16], 1),
    ]
    for row in results["speeds"]:
        assert list(row["images_per_second"]) == FORMS
        assert all(0 < low <= median <= high for median, low, high in row["images_per_second"].values())
    assert [row["size"] for row in results["gflop"]] == [[16, 8], [32, 16]]
    # Convolutions have four times as much to do on four times as many positions, attention more than that.
    small, large = results["gflop"]
    assert large["patn"] == pytest.approx(4 * small["patn"])
    assert 4 * small["two_stream"] < large["two_stream"] < 16 * small["two_stream"]
    nets = {name: instantiate(node) for name, node in tiny.generators.items()}
    assert results["parameters"] == {name: sum(p.numel() for p in net.parameters()) for name, net in nets.items()}


def row_of(size, batch_size, *speeds):
    by_form = {form: (speed, speed - 0.5, speed + 0.5) for form, speed in zip(FORMS, speeds, strict=True)}
    return {"size": size, "batch_size": batch_size, "images_per_second": by_form}


def test_the_table_sets_the_forms_at_batch_1_and_at_their_best_beside_one_another():
    results = {
        "rounds": 3,
        "parameters": {"two_stream": 43_281_292, "patn": 41_358_019},
        "tuned": ["attention", "bfloat16"],
        "gflop": [
            {"size": [128, 64], "two_stream": 40.0, "patn": 30.0},
            {"size": [256, 176], "two_stream": 200.0, "patn": 180.0},
        ],
        "speeds": [
            row_of([128, 64], 1, 10, 12, 20, 8, 16),
            row_of([128, 64], 2, 9, 15, 24, 10, 18),
            row_of([256, 176], 1, 2, 3, 4, 2.5, 5),
        ],
    }
    lines = as_markdown(results).splitlines()
    assert lines[0] == "Parameters: 2s-ATN 43.28 M, PATN 41.36 M (paper: 43.28 M, 41.36 M)."
    assert lines[4:6] == ["| 128x64 | 40.0 | 30.0 | 0.75 |", "| 256x176 | 200.0 | 180.0 | 0.90 |"]
    assert "tuned: attention, bfloat16." in lines[7]
    assert lines[-3:] == [
        "| 128x64 | 1 | 10 [9.5, 10.5] (1) | 12 [11.5, 12.5] (1) | 20 [19.5, 20.5] (1) | 8 [7.5, 8.5] (1) "
        "| 16 [15.5, 16.5] (1) | 1.25 | 1.50 | 1.25 | 2.50 | 0.75 | 1.22 |",
        "| 128x64 | best | 10 [9.5, 10.5] (1) | 15 [14.5, 15.5] (2) | 24 [23.5, 24.5] (2) | 10 [9.5, 10.5] (2) "
        "| 18 [17.5, 18.5] (2) | 1.00 | 1.50 | 1.33 | 2.40 | 0.75 | 1.22 |",
        "| 256x176 | 1 | 2 [1.5, 2.5] (1) | 3 [2.5, 3.5] (1) | 4 [3.5, 4.5] (1) | 2.5 [2, 3] (1) "
        "| 5 [4.5, 5.5] (1) | 0.80 | 1.20 | 0.80 | 1.60 | 0.90 | 1.22 |",
    ]
    assert len({line.count("|") for line in lines[-5:]}) == 1


def test_a_measured_table_has_a_row_for_each_size_and_one_for_the_best_batch(tiny):
    lines = as_markdown(measure_inference(tiny, CPU)).splitlines()
    assert [line.split(" | ")[:2] for line in lines[-3:]] == [["| 16x8", "1"], ["| 16x8", "best"], ["| 32x16", "1"]]


@pytest.mark.parametrize(
    ("size", "ours", "theirs"), [((128, 64), 47.8, 45.0), ((256, 176), 281, 248), ((256, 256), 424, 360)]
)
def test_arithmetic_at_the_papers_width(size, ours, theirs):
    """Counted by hand from the layouts, to three digits."""
    with initialize_config_dir(version_base="1.3", config_dir=CONF):
        cfg = compose("benchmark")
    counts = [count_flop(cfg, cfg.generators[name], size) / 1e9 for name in ("two_stream", "patn")]
    assert counts == pytest.approx([ours, theirs], rel=5e-3)


def test_batch_1_comes_first_at_every_size():
    with initialize_config_dir(version_base="1.3", config_dir=CONF):
        settings = compose("benchmark").inference.settings
    assert {tuple(setting.size) for setting in settings} == {(128, 64), (256, 176), (256, 256)}
    assert {setting.batch_sizes[kind][0] for setting in settings for kind in ("cpu", "cuda")} == {1}
