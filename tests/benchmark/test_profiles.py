import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from twostream.benchmark.inference import count_flop
from twostream.benchmark.profiles import as_markdown, flop_by_kind, kind_of, measure_profile, seconds_by_kind
from twostream.benchmark.training import count_flop as flop_of_training

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("kind", "operations"),
    [
        ("convolutions", ["aten::mkldnn_convolution", "aten::_convolution", "aten.convolution_backward"]),
        ("convolutions", ["aten::cudnn_convolution_transpose", "aten::slow_conv2d_forward"]),
        ("products", ["aten::mm", "aten.bmm", "aten::addmm", "mkldnn::_linear_pointwise"]),
        ("products", ["aten::_flash_attention_forward", "aten::_efficient_attention_backward"]),
        ("softmax", ["aten::_softmax", "aten::_softmax_backward_data"]),
        ("rest", ["aten::copy_", "aten::native_group_norm", "_ByRows", "Memcpy HtoD"]),
        ("rest", ["aten::upsample_bilinear2d", "aten::_convert_weight_to_int4pack"]),
        ("rest", ["triton_poi_fused_convolution_relu_0"]),
    ],
)
def test_an_operation_is_known_by_its_name(kind, operations):
    assert [kind_of(operation) for operation in operations] == [kind] * len(operations)


def test_the_time_of_a_call_falls_to_what_it_does():
    image, weight, matrix = torch.rand(1, 16, 64, 64), torch.rand(16, 16, 3, 3), torch.rand(256, 256)
    calls = {
        "convolutions": lambda: torch.nn.functional.conv2d(image, weight),
        "products": lambda: matrix @ matrix,
        "softmax": lambda: matrix.softmax(dim=1),
        "rest": lambda: matrix.exp(),
    }
    for kind, call in calls.items():
        call()
        seconds = seconds_by_kind(call, CPU)
        assert list(seconds) == list(calls)
        assert {name for name, value in seconds.items() if value} - {"rest"} == {kind} - {"rest"}
        assert 0 < sum(seconds.values()) < 1


def test_operations_are_counted_by_kind():
    with FlopCounterMode(display=False) as counter:
        torch.nn.functional.conv2d(torch.rand(1, 2, 5, 5), torch.rand(3, 2, 3, 3))
        torch.rand(4, 5) @ torch.rand(5, 6)
    expected = {"convolutions": 2 * 9 * 2 * 3 * 9, "products": 2 * 4 * 5 * 6}
    assert flop_by_kind(counter) == expected | {"softmax": 0, "rest": 0}


def test_generators_and_iterations_are_profiled(benchmark_config):
    cfg = benchmark_config(
        "inference.settings=[{size:[16,8],batch_sizes:{cpu:[1,2]}},{size:[32,16],batch_sizes:{cpu:[2]}}]",
        "training.settings=[{name:small,rounds:1,size:[16,8],batch_size:{cpu:3}}]",
        "profile={warm_up:0,rounds:1}",
    )
    results = measure_profile(cfg, CPU)
    names = ["2s-ATN without D", "2s-ATN tuned", "PATN plain", "PATN tuned"]
    cases = results["cases"]
    assert [(case["name"], case["size"], case["batch_size"]) for case in cases] == [
        *((name, [16, 8], 1) for name in names),
        *((name, [32, 16], 2) for name in names),
        ("training 2s-ATN tuned", [16, 8], 3),
    ]
    for case in cases:
        attends = "2s-ATN" in case["name"]
        assert case["seconds"]["convolutions"] > 0 < case["seconds"]["rest"]
        assert [case["seconds"][kind] > 0 for kind in ("products", "softmax")] == [attends, attends]
        assert (case["gflop"]["products"] > 0) == attends
        assert case["gflop"]["softmax"] == case["gflop"]["rest"] == 0
    totals = [sum(cases[place]["gflop"].values()) for place in (0, 3, 4, 8)]
    ours, theirs = (cfg.generators[name] for name in ("two_stream", "patn"))
    counts = [count_flop(cfg, ours, (16, 8)), count_flop(cfg, theirs, (16, 8)), 2 * count_flop(cfg, ours, (32, 16))]
    assert totals == pytest.approx([count / 1e9 for count in (*counts, 3 * flop_of_training(cfg, (16, 8)))])
    lines = as_markdown(results).splitlines()
    assert len(lines) == 4 + len(cases)
    assert len({line.count("|") for line in lines[2:]}) == 1


def test_a_row_of_the_table_has_milliseconds_and_gflop_a_second():
    case = {
        "name": "2s-ATN tuned",
        "size": [128, 64],
        "batch_size": 1,
        "seconds": {"convolutions": 0.05, "products": 0.03, "softmax": 0.015, "rest": 0.005},
        "gflop": {"convolutions": 45, "products": 6, "softmax": 0, "rest": 0},
    }
    lines = as_markdown({"passes": 3, "tuned": ["attention"], "cases": [case]}).splitlines()
    assert lines[0] == (
        "ms by kind of operation, in brackets GFLOP/s; of 3 passes the one of the median length. Without D: float32. "
        "Tuned: attention."
    )
    assert lines[2] == "| size | batch | | all | convolutions | products | softmax | rest |"
    assert lines[-1] == "| 128x64 | 1 | 2s-ATN tuned | 100 (510) | 50 (900) | 30 (200) | 15 | 5 |"
