import pytest
import torch

from twostream.benchmark import growth
from twostream.benchmark.growth import LINES, as_markdown, iteration_at, measure_growth, power
from twostream.nets.appearance_transfer import AppearanceTransfer, DenseAppearanceTransfer
from twostream.nets.patn import PATNGenerator

CPU = torch.device("cpu")


@pytest.fixture
def tiny(benchmark_config):
    return benchmark_config(
        "growth.start={size:[16,8],num_blocks:2,width:4,batch_size:{cpu:1}}",
        "growth.axes.blocks.points.cpu=[{num_blocks:1},{num_blocks:2}]",
        "growth.axes.positions.points.cpu=[{size:[16,8]},{size:[32,16]}]",
        "growth.axes.width.points.cpu=[{width:4},{width:8}]",
    )


@pytest.mark.slow
def test_every_line_is_measured_at_every_point_and_the_start_once(tiny, monkeypatch):
    built = []

    def build(cfg, point, *others):
        built.append((tuple(point.size), point.num_blocks, point.width))
        return iteration_at(cfg, point, *others)

    monkeypatch.setattr(growth, "iteration_at", build)
    results = measure_growth(tiny, CPU)
    points = [((16, 8), 1, 4), ((16, 8), 2, 4), ((32, 16), 2, 4), ((16, 8), 2, 8)]
    assert built == [point for point in points for _ in LINES]
    assert {axis["name"]: axis["values"] for axis in results["axes"]} == {
        "blocks": [1, 2],
        "positions": [8, 32],
        "width": [4, 8],
    }
    for axis in results["axes"]:
        assert list(axis["lines"]) == list(LINES)
        for line in axis["lines"].values():
            assert all(0 < low <= median <= high for median, low, high in line["seconds"])
            assert line["peak_bytes"][1] > line["peak_bytes"][0] > 0
    blocks, positions, width = results["axes"]
    assert blocks["lines"]["PATN"]["seconds"][1] == positions["lines"]["PATN"]["seconds"][0]
    assert positions["lines"]["PATN"]["peak_bytes"][0] == width["lines"]["PATN"]["peak_bytes"][0]


def test_a_line_is_what_it_is_named_after(tiny):
    nets = {name: iteration_at(tiny, tiny.growth.start, *line, CPU).module.generator for name, line in LINES.items()}
    assert type(nets["2s-ATN"].blocks[0].at_module) is AppearanceTransfer
    assert type(nets["2s-ATN, D built"].blocks[0].at_module) is DenseAppearanceTransfer
    assert isinstance(nets["PATN"], PATNGenerator)
    assert [len(net.blocks) for net in nets.values()] == [2, 2, 2]


def test_a_power_is_that_of_the_medians_from_end_to_end():
    line = {"seconds": [(2.0, 1.0, 3.0), (99.0, 99.0, 99.0), (32.0, 30.0, 40.0)]}
    assert power([5, 7, 20], line) == pytest.approx(2)


def test_a_table_has_the_milliseconds_and_gibibytes_of_each_line():
    line = {"seconds": [(0.5, 0.4, 0.6), (2.0, 1.0, 3.0)], "peak_bytes": [2**29, 2**31]}
    start = {"size": [128, 64], "num_blocks": 9, "width": 64}
    axis = {"name": "blocks", "unit": "blocks", "values": [2, 8], "lines": {"2s-ATN": line}}
    lines = as_markdown({"tuned": ["attention"], "start": start, "axes": [axis]}).splitlines()
    assert lines[2:] == [
        "| blocks | 2s-ATN, ms | GiB |",
        "| ---: | ---: | ---: |",
        "| 2 | 500 [400, 600] | 0.50 |",
        "| 8 | 2,000 [1,000, 3,000] | 2.00 |",
        "",
        "The time grows with this power of blocks, from end to end: 2s-ATN 1.00.",
    ]
