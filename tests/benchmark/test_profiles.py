import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from twostream.benchmark.profiles import KINDS, flops_by_kind, kind_of, measure_profile, seconds_by_kind
from twostream.benchmark.variants import count_generator_flops, count_iteration_flops

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("kind", "operations"),
    [
        ("convolutions", ["aten::mkldnn_convolution", "aten::_convolution", "aten.convolution_backward"]),
        ("convolutions", ["aten::cudnn_convolution_transpose", "aten::slow_conv2d_forward"]),
        ("matrix products", ["aten::mm", "aten.bmm", "aten::addmm", "mkldnn::_linear_pointwise"]),
        ("matrix products", ["aten::_flash_attention_forward", "aten::_efficient_attention_backward"]),
        ("softmax", ["aten::_softmax", "aten::_softmax_backward_data"]),
        ("other", ["aten::copy_", "aten::native_group_norm", "_ByRows", "Memcpy HtoD"]),
        ("other", ["aten::upsample_bilinear2d", "aten::_convert_weight_to_int4pack"]),
        ("other", ["triton_poi_fused_convolution_relu_0"]),
    ],
)
def test_the_kind_of_an_operation_follows_from_its_name(kind, operations):
    assert [kind_of(operation) for operation in operations] == [kind] * len(operations)


def test_the_time_of_a_call_belongs_to_its_operation():
    image, weight, matrix = torch.rand(1, 16, 64, 64), torch.rand(16, 16, 3, 3), torch.rand(256, 256)
    calls = {
        "convolutions": lambda: torch.nn.functional.conv2d(image, weight),
        "matrix products": lambda: matrix @ matrix,
        "softmax": lambda: matrix.softmax(dim=1),
        "other": lambda: matrix.exp(),
    }
    for kind, call in calls.items():
        call()
        seconds = seconds_by_kind(call, CPU)
        assert list(seconds) == list(calls)
        assert {name for name, value in seconds.items() if value} - {"other"} == {kind} - {"other"}
        assert 0 < sum(seconds.values()) < 1


def test_flops_are_counted_by_kind():
    with FlopCounterMode(display=False) as counter:
        torch.nn.functional.conv2d(torch.rand(1, 2, 5, 5), torch.rand(3, 2, 3, 3))
        torch.rand(4, 5) @ torch.rand(5, 6)
    expected = {"convolutions": 2 * 9 * 2 * 3 * 9, "matrix products": 2 * 4 * 5 * 6}
    assert flops_by_kind(counter) == expected | {"softmax": 0, "other": 0}


@pytest.mark.slow
def test_generators_and_iterations_are_profiled(benchmark_config):
    cfg = benchmark_config(
        "inference.settings=[{size:[16,8],batch_sizes:{cpu:[1,2]}},{size:[32,16],batch_sizes:{cpu:[2]}}]",
        "training.settings=[{name:small,rounds:1,size:[16,8],batch_size:{cpu:3}}]",
        "profile={warm_up:0,rounds:1}",
    )
    seconds, rates = (table["rows"] for table in measure_profile(cfg, CPU)["tables"])
    names = ["2s-ATN attention", "2s-ATN optimized", "PATN baseline", "PATN optimized"]
    assert [(row["case"], row["size"], row["batch_size"]) for row in seconds] == [
        *((name, "16x8", 1) for name in names),
        *((name, "32x16", 2) for name in names),
        ("training optimized", "16x8", 3),
    ]
    for row, rate in zip(seconds, rates, strict=True):
        has_attention = "PATN" not in row["case"]
        assert row["convolutions"] > 0 < row["other"]
        assert [row[kind] > 0 for kind in ("matrix products", "softmax")] == [has_attention, has_attention]
        assert (rate["matrix products"] > 0) == has_attention
        assert row["all"] == pytest.approx(sum(row[kind] for kind in KINDS))
    ours, theirs = (cfg.generators[name] for name in ("two_stream", "patn"))
    counters = count_generator_flops(cfg, ours, (16, 8)), count_generator_flops(cfg, theirs, (16, 8))
    counts = [counter.get_total_flops() for counter in (*counters, count_iteration_flops(cfg, (16, 8)))]
    totals = [rates[index]["all"] * seconds[index]["all"] for index in (0, 3, 8)]
    assert totals == pytest.approx([counts[0] / 1e9, counts[1] / 1e9, 3 * counts[2] / 1e9])
