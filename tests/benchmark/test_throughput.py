import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from torch.utils.flop_counter import FlopCounterMode

from tiny_run import compose_config
from twostream.benchmark import throughput
from twostream.benchmark.output import to_markdown
from twostream.benchmark.throughput import (
    SCALING_LINES,
    exponent,
    measure_inference,
    measure_loader,
    measure_networks,
    measure_scaling,
    measure_training,
    training_batches,
)
from twostream.benchmark.variants import count_generator_flops, count_iteration_flops, random_pair
from twostream.nets.appearance_transfer import AppearanceTransfer, DenseAppearanceTransfer
from twostream.nets.patn import PATNGenerator

CPU = torch.device("cpu")
SIZE = (32, 16)
VARIANTS = ["baseline", "attention", "bfloat16", "channels_last", "fused_adam", "one_pass", "frozen_discriminators"]


def generator_flops(cfg, generator, size):
    return count_generator_flops(cfg, generator, size).get_total_flops()


def iteration_flops(cfg, size):
    return count_iteration_flops(cfg, size).get_total_flops()


def are_quartiles(values):
    median, lower, upper = values
    return 0 < lower <= median <= upper


def test_inference_is_measured_at_every_size_and_batch_size(benchmark_config, about):
    settings = "[{size:[16,8],batch_sizes:{cpu:[1,3]}},{size:[32,16],batch_sizes:{cpu:[1]}}]"
    cfg = benchmark_config(f"inference.settings={settings}", "inference.rounds=2", "table2.size=[32,16]")
    results = measure_inference(cfg, CPU)
    flops, rates, table = (table["rows"] for table in results["tables"])
    assert [row["size"] for row in flops] == ["16x8", "32x16"]
    # Four times the positions are four times the work of convolutions, and more than that of attention.
    assert flops[1]["PATN"] == pytest.approx(4 * flops[0]["PATN"])
    assert 4 * flops[0]["2s-ATN"] < flops[1]["2s-ATN"] < 16 * flops[0]["2s-ATN"]
    assert [(row["size"], row["batch_size"]) for row in rates] == [
        *(("16x8", 1), ("16x8", 3), ("16x8", "best"), ("32x16", 1)),
    ]
    variants = ["2s-ATN baseline", "2s-ATN attention", "2s-ATN optimized", "PATN baseline", "PATN optimized"]
    for row in rates:
        assert list(row)[2:7] == variants
        assert all(are_quartiles(row[name]) for name in variants)
        ratio = row["2s-ATN optimized / PATN baseline"]
        assert ratio == row["2s-ATN optimized"][0] / row["PATN baseline"][0]
    first, second, best, _ = rates
    assert all(best[name] == max(first[name], second[name]) for name in variants)
    nets = (instantiate(cfg.generators[name]) for name in ("two_stream", "patn"))
    assert list(results["parameters"].values()) == [sum(p.numel() for p in net.parameters()) for net in nets]
    assert "median and quartiles of 2 rounds" in to_markdown(about | results)
    assert [(row["method"], row["parameters, M"], row["images_per_second"]) for row in table[3:5]] == [
        ("PATN (Zhu et al. 2019)", "41.36", "60.61"),
        ("2s-ATN", "43.28", "74.21"),
    ]
    measured = {row["method"]: row["images_per_second"] for row in table if row["source"] == "measured"}
    assert measured == {name: rates[-1][name] for name in variants if name != "2s-ATN attention"}


def test_a_generator_of_ones_own_has_the_name_of_its_option(benchmark_config):
    settings = "[{size:[16,8],batch_sizes:{cpu:[1]}}]"
    own = ["+generator@generators.own=patn", "generators.own.width=8", "+generators.own.num_blocks=2"]
    results = measure_inference(benchmark_config(f"inference.settings={settings}", "inference.rounds=1", *own), CPU)
    flops, rates = (table["rows"] for table in results["tables"])
    assert list(results["parameters"]) == ["2s-ATN", "PATN", "own"]
    assert flops[0]["own"] == flops[0]["PATN"]
    assert are_quartiles(rates[0]["own optimized"])


def test_batch_size_1_comes_first_at_every_size(cfg):
    settings = cfg.inference.settings
    assert {tuple(setting.size) for setting in settings} == {(128, 64), (256, 176), (256, 256)}
    assert {setting.batch_sizes[kind][0] for setting in settings for kind in ("cpu", "cuda")} == {1}


@pytest.mark.slow
def test_training_is_measured_in_all_variants_at_the_first_setting(benchmark_config, monkeypatch):
    monkeypatch.setitem(throughput.MATMUL_SIZE, "cpu", 64)
    settings = "{name:a,rounds:3,size:[32,16],batch_size:{cpu:2}},{name:b,rounds:2,size:[16,8],batch_size:{cpu:3}}"
    cfg = benchmark_config(f"training.settings=[{settings}]")
    results = measure_training(cfg, CPU)
    first, second = results["tables"]
    assert first["title"].startswith("a, 32x16, batch size 2, ")
    assert second["title"].endswith("; median and quartiles of 2 rounds")
    assert [row["variant"] for row in first["rows"]] == [*VARIANTS, "optimized"]
    assert [row["variant"] for row in second["rows"]] == ["baseline", "optimized"]
    matmul = results["matmul_gflop_per_second"]
    assert min(matmul.values()) > 0
    for table in (first, second):
        for row in table["rows"]:
            name, rate = row["variant"], row["pairs_per_second"]
            assert are_quartiles(rate)
            assert are_quartiles(row["speedup"])
            assert (row["speedup"] == (1, 1, 1)) == (name == "baseline")
            assert row["gflop_per_second"] == pytest.approx(rate[0] * table["gflop_per_pair"])
            peak = matmul["bf16-mixed" if name in ("bfloat16", "optimized") else "32-true"]
            assert row["fraction_of_matmul"] == pytest.approx(row["gflop_per_second"] / peak)


def test_rates_and_speedups_are_computed_round_by_round(benchmark_config, monkeypatch):
    # The third round was slow for both.
    seconds = {"baseline": np.array([2.0, 6.0, 8.0]), "optimized": np.array([1.0, 2.0, 8.0])}
    monkeypatch.setattr(throughput, "measure_iterations", lambda *_: (seconds, dict.fromkeys(seconds, 1)))
    monkeypatch.setattr(throughput, "measure_matmul", lambda _: {"32-true": 1.0, "bf16-mixed": 1.0})
    cfg = benchmark_config("measured.cpu=[]", "training.settings=[{name:a,rounds:3,size:[16,8],batch_size:{cpu:8}}]")
    (table,) = measure_training(cfg, CPU)["tables"]
    baseline, optimized = table["rows"]
    assert (baseline["speedup"], optimized["speedup"]) == ((1, 1, 1), (2, 1.5, 2.5))
    assert optimized["pairs_per_second"] == (4, 2.5, 6)


@pytest.fixture
def scaling_config(benchmark_config):
    return benchmark_config(
        "scaling.start={size:[16,8],num_blocks:2,width:4,batch_size:{cpu:1}}",
        "scaling.axes.blocks.points.cpu=[{num_blocks:1},{num_blocks:2}]",
        "scaling.axes.positions.points.cpu=[{size:[16,8]},{size:[32,16]}]",
        "scaling.axes.width.points.cpu=[{width:4},{width:8}]",
    )


def test_networks_are_measured_in_turns_at_every_setting(benchmark_config):
    blocks = [f"networks.generators.{net}.num_blocks=1" for net in ("two_stream", "patn", "warp")]
    setting = "networks.settings=[{name: tiny, rounds: 2, size: [16, 8], width: 8, batch_size: {cpu: 1}}]"
    results = measure_networks(benchmark_config(*blocks, setting), CPU)
    assert results["text"].startswith("Training iterations, with discriminators, interleaved")
    (table,) = results["tables"]
    assert table["title"] == "tiny, 16x8, width 8, batch size 1; median and quartiles of 2 rounds"
    rows = {row["network"]: row for row in table["rows"]}
    assert list(rows) == ["2s-ATN", "PATN", "Warp"]
    assert rows["2s-ATN"]["time / 2s-ATN"] == (1, 1, 1)
    for row in rows.values():
        assert are_quartiles(row["pairs_per_second"])
        assert are_quartiles(row["time / 2s-ATN"])
        assert row["peak_bytes"] > 0


@pytest.mark.slow
def test_scaling_is_measured_at_every_point_and_at_the_start_once(scaling_config):
    results = measure_scaling(scaling_config, CPU)
    axes = {"blocks": [1, 2], "positions": [8, 32], "width": [4, 8]}
    for (name, values), table in zip(axes.items(), results["tables"], strict=True):
        assert [row[name] for row in table["rows"]] == values
        for line in SCALING_LINES:
            assert all(are_quartiles(row[f"{line}, seconds"]) for row in table["rows"])
            first, second = (row[f"{line}, peak_bytes"] for row in table["rows"])
            assert 0 < first < second
    blocks, positions, width = (table["rows"] for table in results["tables"])
    assert blocks[1]["PATN, seconds"] == positions[0]["PATN, seconds"] == width[0]["PATN, seconds"]


def test_a_line_of_scaling_has_its_generator_and_attention(scaling_config, monkeypatch):
    nets = []
    monkeypatch.setattr(throughput.Iteration, "peak_bytes", lambda self: nets.append(self.module.generator) or 1)
    throughput.measure_point(scaling_config, scaling_config.scaling.start, CPU)
    assert isinstance(nets[2], PATNGenerator)
    at_modules = dict(zip(SCALING_LINES, (type(net.blocks[0].at_module) for net in nets[:2]), strict=False))
    assert at_modules == {"2s-ATN": AppearanceTransfer, "2s-ATN materialised": DenseAppearanceTransfer}


def test_the_exponent_is_that_of_the_medians_from_the_first_to_the_last_row():
    times = {5: (2.0, 1.0, 3.0), 7: (99.0, 99.0, 99.0), 20: (32.0, 30.0, 40.0)}
    rows = [{"blocks": value, "2s-ATN, seconds": seconds} for value, seconds in times.items()]
    assert exponent(rows, "blocks", "2s-ATN") == pytest.approx(2)


@pytest.mark.slow
def test_every_loader_is_compared_with_training(benchmark_config):
    results = measure_loader(benchmark_config("loader.rounds=2", "loader.num_batches=2"), CPU)
    (table,) = results["tables"]
    assert table["title"] == "synthetic people at 32x16, batch size 2, until ready for the networks"
    assert [row["cache"] for row in table["rows"]] == ["ram", "device", "none", "none", "ram", "ram"]
    assert results["training"]["batch_size"] == 2
    for row in table["rows"]:
        assert are_quartiles(row["pairs_per_second"])
        ratio = row["pairs_per_second"][0] / results["training"]["pairs_per_second"][0]
        assert row["ratio_to_training"] == pytest.approx(ratio)


def test_training_batches_are_those_of_the_data_module(benchmark_config):
    cfg = benchmark_config()
    data = instantiate(cfg.data)
    data.prepare_data()
    data.setup("fit")
    for batch, expected in zip(data.training_loader(num_batches=3), training_batches(cfg, CPU, "device"), strict=False):
        pair = data.on_after_batch_transfer(batch, 0)
        assert all(torch.equal(one, other) for one, other in zip(pair, expected, strict=True))


@pytest.mark.parametrize(
    ("size", "ours", "theirs"), [((128, 64), 47.8, 45.0), ((256, 176), 281, 247.7), ((256, 256), 424, 360.3)]
)
def test_flops_at_the_papers_width(cfg, size, ours, theirs):
    """Counted by hand from the layers: the 2s-ATN's to three digits, PATN's to a tenth."""
    two_stream, patn = (generator_flops(cfg, cfg.generators[name], size) / 1e9 for name in ("two_stream", "patn"))
    assert two_stream == pytest.approx(ours, rel=5e-3)
    assert patn == pytest.approx(theirs, abs=0.05)


def convolution(kernel, num_in, num_out, positions=SIZE[0] * SIZE[1]):
    """FLOPs counted by hand, of multiplications and additions."""
    return 2 * kernel**2 * num_in * num_out * positions


WIDTH, BLOCKS, POSITIONS = 8, 2, SIZE[0] * SIZE[1] // 16
FIRST_LAYERS = convolution(7, 3 + 36, WIDTH)
# Of both images, and the gradient of the generated one.
PERCEPTUAL = 3 * (convolution(3, 3, 64) + convolution(3, 64, 64))


def small_config(*overrides):
    small = [f"generator.width={WIDTH}", f"generator.num_blocks={BLOCKS}"]
    return compose_config("benchmark", *small, *overrides)


@pytest.mark.parametrize("generator", ["patn", "two_stream"])
def test_training_a_generator_takes_three_passes_without_the_gradients_of_its_inputs(generator):
    cfg = small_config(f"generator={generator}", "discriminators=none")
    forward = generator_flops(cfg, cfg.generator, SIZE)
    assert iteration_flops(cfg, SIZE) == 3 * forward - FIRST_LAYERS + PERCEPTUAL


def test_a_discriminator_has_no_gradients_of_its_weights_in_the_generators_phase():
    small = [f"discriminators.appearance.width={WIDTH}", "discriminators.appearance.num_blocks=1"]
    cfg = small_config("generator=patn", "discriminators=appearance", *small)
    without = small_config("generator=patn", "discriminators=none")
    w, first = WIDTH, convolution(7, 6, WIDTH)
    once = first + convolution(3, w, 2 * w, 4 * POSITIONS) + convolution(3, 2 * w, 4 * w, POSITIONS)
    once += 2 * convolution(3, 4 * w, 4 * w, POSITIONS)
    # In its own phase, those of two images.
    own_phase = 2 * (3 * once - first)
    assert iteration_flops(cfg, SIZE) - iteration_flops(without, SIZE) == 2 * once + own_phase


def test_attention_counts_as_its_convolutions_and_its_two_products():
    with_at, without_at = small_config(), small_config("generator/at_module=off")
    c, n = 4 * WIDTH, POSITIONS
    convolutions = 2 * convolution(1, c, c // 8, n) + 2 * convolution(1, c, c // 2, n)
    products = 2 * n * n * (c // 8 + c // 2)
    with torch.device("meta"):
        net = instantiate(without_at.generator)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(*random_pair(1, SIZE, torch.device("meta"))[:3])
    difference = generator_flops(with_at, with_at.generator, SIZE) - counter.get_total_flops()
    assert difference == BLOCKS * (convolutions + products)
