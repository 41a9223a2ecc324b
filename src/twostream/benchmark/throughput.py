"""Throughput of generators, training iterations and data loaders, all by interleaved timing."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import nn

from twostream.benchmark.output import format_value
from twostream.benchmark.resources import Rounds, quartiles, time_interleaved
from twostream.benchmark.variants import (
    ATTENTION,
    BASELINE,
    BFLOAT16,
    OPTIMIZED,
    Iteration,
    build_generators,
    build_variant,
    build_variants,
    count_generator_flops,
    count_iteration_flops,
    net_name,
    random_pair,
)
from twostream.data.datamodule import PairDataModule
from twostream.tables.content import size_text
from twostream.types import PosePair

MATMUL_ROUNDS = 3
MATMUL_SIZE = {"cpu": 2048, "cuda": 8192}
RATIOS = (
    ("2s-ATN baseline", "PATN baseline"),
    ("2s-ATN attention", "PATN baseline"),
    ("2s-ATN optimized", "PATN optimized"),
    ("2s-ATN optimized", "PATN baseline"),
)
# Name of a line -> the generator, and whether its attention matrix is materialised.
SCALING_LINES = {"2s-ATN": ("two_stream", False), "2s-ATN materialised": ("two_stream", True), "PATN": ("patn", False)}
CPU_BATCH_SIZE = 2  # of the training iteration that loaders are compared with


def measure_inference(cfg: DictConfig, device: torch.device) -> dict[str, Any]:
    """Measure parameters, FLOPs and images/s of `cfg.generators` at `cfg.inference.settings` (Table 2)."""
    generators = build_generators(cfg, device)
    flops: list[dict[str, Any]] = []
    throughput: list[dict[str, Any]] = []
    for setting in cfg.inference.settings:
        size = tuple(setting.size)
        counters = {net_name(net): count_generator_flops(cfg, node, size) for net, node in cfg.generators.items()}
        gflop = {name: counter.get_total_flops() / 1e9 for name, counter in counters.items()}
        flops.append({"size": size_text(size), **gflop, "PATN / 2s-ATN": gflop["PATN"] / gflop["2s-ATN"]})
        rows: list[dict[str, Any]] = []
        for batch_size in setting.batch_sizes[device.type]:
            inputs = random_pair(batch_size, size, device)[:3]
            calls = {name: partial(generator, *inputs) for name, generator in generators.items()}
            seconds = time_interleaved(calls, cfg.inference.rounds, device)
            rates = {name: quartiles(batch_size / values) for name, values in seconds.items()}
            rows.append({"size": size_text(size), "batch_size": batch_size} | rates)
        if len(rows) > 1:
            best = {name: max(row[name] for row in rows) for name in generators}
            rows.append({"size": size_text(size), "batch_size": "best"} | best)
        throughput += rows
    for row in throughput:
        row |= {f"{ours} / {theirs}": row[ours][0] / row[theirs][0] for ours, theirs in RATIOS}
    nets = {net_name(net): generators[f"{net_name(net)} {BASELINE}"].net for net in cfg.generators}
    parameters = {name: count_parameters(net) for name, net in nets.items()}
    counts = ", ".join(f"{name} {count / 1e6:.2f} M" for name, count in parameters.items())
    text = (
        f"Parameters: {counts}. Baseline: eager, {cfg.baseline.precision}, attention matrix materialised; "
        "attention: not materialised."
    )
    tables = [{"title": "GFLOP per image", "rows": flops}, {"title": "Images/s", "rows": throughput}]
    measured = [row for row in throughput if row["size"] == size_text(cfg.table2.size) and row["batch_size"] == 1]
    if measured:
        title = (
            f"Table 2 of the paper (cited, one GPU) and as measured here, {size_text(cfg.table2.size)}, batch size 1"
        )
        tables.append({"title": title, "rows": table2(cfg.table2.paper, parameters, measured[0])})
    return {
        "rounds": cfg.inference.rounds,
        "text": text,
        "parameters": parameters,
        "tables": tables,
    }


def table2(
    paper: Mapping[str, Sequence[float]], parameters: Mapping[str, int], measured: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return the paper's rows, method -> millions of parameters and images/s, and those of the measured variants."""
    rows = [
        {"method": method, "source": "paper", "parameters, M": f"{millions:.2f}", "images_per_second": f"{rate:.2f}"}
        for method, (millions, rate) in paper.items()
    ]
    for name, count in parameters.items():
        for variant in (f"{name} {BASELINE}", f"{name} {OPTIMIZED}"):
            millions = f"{count / 1e6:.2f}"
            rate = measured[variant]
            rows.append({"method": variant, "source": "measured", "parameters, M": millions, "images_per_second": rate})
    return rows


def measure_training(cfg: DictConfig, device: torch.device) -> dict[str, Any]:
    """Measure pairs/s and peak memory of training iterations at `cfg.training.settings`.

    All variants are measured at the first setting, the baseline and the optimized one at the others.
    """
    matmul = measure_matmul(device)
    variants = build_variants(cfg, device)
    tables = []
    for setting in cfg.training.settings:
        size, batch_size = tuple(setting.size), int(setting.batch_size[device.type])
        gflop = count_iteration_flops(cfg, size).get_total_flops() / 1e9
        iterations = {name: Iteration(cfg, variant, size, batch_size, device) for name, variant in variants.items()}
        seconds, peaks = measure_iterations(iterations, setting.rounds, device)
        rows = []
        for name, values in seconds.items():
            rate = quartiles(batch_size / values)
            row: dict[str, Any] = {"variant": name, "pairs_per_second": rate}
            row["speedup"] = quartiles(seconds[BASELINE] / values)
            row["gflop_per_second"] = rate[0] * gflop
            row["fraction_of_matmul"] = rate[0] * gflop / matmul[variants[name].precision]
            rows.append(row | {"peak_bytes": peaks[name]})
        title = f"{setting.name}, {size_text(size)}, batch size {batch_size}, {gflop:.1f} GFLOP per pair"
        title += f"; median and quartiles of {setting.rounds} rounds"
        tables.append({"title": title, "gflop_per_pair": gflop, "rows": rows})
        variants = {name: variants[name] for name in (BASELINE, OPTIMIZED)}
    products = ", ".join(f"{rate:,.0f} GFLOP/s in {name}" for name, rate in matmul.items())
    return {
        "text": f"Large matrix products: {products}. Baseline: {cfg.baseline.precision}, {cfg.generator.num_blocks} "
        f"blocks, width {cfg.generator.width}. Speedups are computed round by round.",
        "matmul_gflop_per_second": matmul,
        "tables": tables,
    }


def measure_networks(cfg: DictConfig, device: torch.device) -> dict[str, Any]:
    """Measure optimized training iterations of each of `cfg.networks.generators` at `cfg.networks.settings`."""
    variant = build_variants(cfg, device)[OPTIMIZED]
    reference = net_name("two_stream")
    tables = []
    for setting in cfg.networks.settings:
        size, batch_size = tuple(setting.size), int(setting.batch_size[device.type])
        iterations = {}
        for net, generator in cfg.networks.generators.items():
            changed = cfg.copy()
            changed.generator = generator.copy()
            changed.generator.width = setting.width
            iterations[net_name(net)] = Iteration(changed, variant, size, batch_size, device)
        seconds, peaks = measure_iterations(iterations, setting.rounds, device)
        rows = [
            {
                "network": name,
                "parameters, M": f"{count_parameters(iterations[name].module.generator) / 1e6:.2f}",
                "pairs_per_second": quartiles(batch_size / values),
                f"time / {reference}": quartiles(values / seconds[reference]),
                "peak_bytes": peaks[name],
            }
            for name, values in seconds.items()
        ]
        title = f"{setting.name}, {size_text(size)}, width {setting.width}, batch size {batch_size}"
        tables.append({"title": f"{title}; median and quartiles of {setting.rounds} rounds", "rows": rows})
    losses = "generator alone" if len(iterations[reference].module.nets) == 1 else "with discriminators"
    text = f"Training iterations, {losses}, interleaved; ratios are computed round by round."
    return {"text": text, "tables": tables}


def count_parameters(net: nn.Module) -> int:
    """Return the number of parameters of a network."""
    return sum(weight.numel() for weight in net.parameters())


def measure_iterations(
    iterations: Mapping[str, Iteration], rounds: int, device: torch.device
) -> tuple[dict[str, Rounds], dict[str, int]]:
    """Return the seconds of each round, and the peak memory in bytes, whose measurement is the warm-up."""
    peaks = {name: iteration.peak_bytes() for name, iteration in iterations.items()}
    return time_interleaved(iterations, rounds, device, warm_up=False), peaks


def measure_matmul(device: torch.device) -> dict[str, float]:
    """Return the GFLOP/s of large matrix products by precision; on a GPU float32 is TF32, as in its convolutions."""
    size = MATMUL_SIZE[device.type]
    dtypes = {"32-true": torch.float32, BFLOAT16: torch.bfloat16}
    matrices = {name: torch.rand(size, size, device=device).to(dtype) for name, dtype in dtypes.items()}
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if device.type == "cuda" else before)
    calls = {name: partial(torch.mm, matrix, matrix) for name, matrix in matrices.items()}
    seconds = time_interleaved(calls, MATMUL_ROUNDS, device)
    torch.set_float32_matmul_precision(before)
    return {name: quartiles(2 * size**3 / 1e9 / values)[0] for name, values in seconds.items()}


def measure_scaling(cfg: DictConfig, device: torch.device) -> dict[str, Any]:
    """Measure seconds and peak memory of optimized iterations along `cfg.scaling.axes` from `cfg.scaling.start`."""
    measured: dict[str, dict[str, Any]] = {}  # the start is a point of every axis and is measured once
    tables = []
    for name, axis in cfg.scaling.axes.items():
        rows: list[dict[str, Any]] = []
        for change in axis.points[device.type]:
            point = cfg.scaling.start.copy()
            point.merge_with(change)
            key = str(point)
            if key not in measured:
                measured[key] = measure_point(cfg, point, device)
            height, width = point.size
            value = height * width // 16 if "size" in change else next(iter(change.values()))
            rows.append({name: value} | measured[key])
        label = f"{name} ({axis.unit})"
        exponents = ", ".join(f"{line} {exponent(rows, name, line):.2f}" for line in SCALING_LINES)
        tables.append({"title": f"{label}; exponents: {exponents}", "axis": label, "rows": rows})
    start = cfg.scaling.start
    setting = f"{size_text(start.size)}, {start.num_blocks} blocks and width {start.width}"
    text = (
        f"Training iterations at {setting}, except along one axis. Materialised: optimized, but with the attention "
        "matrix materialised. Exponents: of the time as a power of the axis, from its first to its last point."
    )
    return {"rounds": cfg.scaling.rounds, "text": text, "tables": tables}


def measure_point(cfg: DictConfig, point: DictConfig, device: torch.device) -> dict[str, Any]:
    """Measure the iterations of `SCALING_LINES` at one `size`, `num_blocks`, `width` and `batch_size`."""
    iterations = {}
    for line, (net, materialised) in SCALING_LINES.items():
        changed = cfg.copy()
        changed.generator = cfg.generators[net]
        changed.generator.num_blocks, changed.generator.width = point.num_blocks, point.width
        chosen = [name for name in cfg.optimized[device.type] if name != ATTENTION or not materialised]
        batch_size = int(point.batch_size[device.type])
        iterations[line] = Iteration(changed, build_variant(cfg, chosen), tuple(point.size), batch_size, device)
    seconds, peaks = measure_iterations(iterations, cfg.scaling.rounds, device)
    times = {f"{line}, seconds": quartiles(values) for line, values in seconds.items()}
    return times | {f"{line}, peak_bytes": peak for line, peak in peaks.items()}


def exponent(rows: Sequence[Mapping[str, Any]], axis: str, line: str) -> float:
    """Return the power of an axis with which the median time of a line grows from the first to the last row."""
    first, last = rows[0], rows[-1]
    times = [row[f"{line}, seconds"][0] for row in (first, last)]
    return math.log(times[1] / times[0]) / math.log(last[axis] / first[axis])


def measure_loader(cfg: DictConfig, device: torch.device) -> dict[str, Any]:
    """Measure the pairs/s of the data loaders `cfg.loader.cases`, compared with optimized training iterations.

    A pair counts when it is ready for the networks: on the device, with heatmaps.
    """
    num_batches, batch_size, size = cfg.loader.num_batches, cfg.data.batch_size, tuple(cfg.data.image_size)
    training_size = CPU_BATCH_SIZE if device.type == "cpu" else batch_size
    variant = build_variants(cfg, device)[OPTIMIZED]
    calls: dict[str, Callable[[], object]] = {"training": Iteration(cfg, variant, size, training_size, device)}
    for index, case in enumerate(cfg.loader.cases):
        calls[str(index)] = partial(_consume, training_batches(cfg, device, **case), num_batches)
    seconds = time_interleaved(calls, cfg.loader.rounds, device)
    training = quartiles(training_size / seconds["training"])
    rows = []
    for index, case in enumerate(cfg.loader.cases):
        rate = quartiles(num_batches * batch_size / seconds[str(index)])
        rows.append({**case, "pairs_per_second": rate, "ratio_to_training": rate[0] / training[0]})
    title = f"{cfg.data.label} at {size_text(size)}, batch size {batch_size}, until ready for the networks"
    return {
        "rounds": cfg.loader.rounds,
        "text": f"Optimized training, batch size {training_size}: {format_value(training)} pairs/s.",
        "training": {"batch_size": training_size, "pairs_per_second": training},
        "tables": [{"title": title, "rows": rows}],
    }


def training_batches(
    cfg: DictConfig, device: torch.device, cache: str = "ram", num_workers: int = 0, augmentation: str = "none"
) -> Iterator[PosePair]:
    """Read `cfg.data` and yield training batches without end, as the networks receive them."""
    data: PairDataModule = instantiate(
        cfg.data, cache=cache, num_workers=num_workers, augmentation=cfg.augmentations[augmentation]
    )
    data.prepare_data()
    data.setup("fit")
    data.move_to(device)
    for batch in data.training_loader(num_batches=10**9):
        yield data.on_after_batch_transfer(batch.to(device), 0)


def _consume(batches: Iterator[PosePair], count: int) -> None:
    for _ in islice(batches, count):
        pass
