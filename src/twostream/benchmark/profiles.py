"""Profile of a generator and of a training iteration: time and FLOPs by kind of operation."""

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from twostream.benchmark.resources import synchronize
from twostream.benchmark.variants import (
    BASELINE,
    OPTIMIZED,
    Iteration,
    build_generators,
    build_variants,
    count_generator_flops,
    count_iteration_flops,
    net_name,
    random_pair,
)
from twostream.tables.content import size_text

KINDS = CONVOLUTIONS, PRODUCTS, SOFTMAX, OTHER = "convolutions", "matrix products", "softmax", "other"
MATRIX_PRODUCTS = {"mm", "bmm", "addmm", "baddbmm", "_linear_pointwise"}


class Case(NamedTuple):
    """A call to profile, with the size and number of its images and its FLOPs per image."""

    name: str
    size: tuple[int, int]
    batch_size: int
    call: Callable[[], object]
    flops: FlopCounterMode


def measure_profile(cfg: DictConfig, device: torch.device) -> dict[str, Any]:
    """Profile generators and optimized training iterations at the settings of `cfg.inference` and `cfg.training`.

    Each case is profiled `cfg.profile.rounds` times, interleaved; the pass of median length is returned.
    """
    cases = list(build_cases(cfg, device))
    num_warm_ups, num_rounds = cfg.profile.warm_up, cfg.profile.rounds
    rounds = [[seconds_by_kind(case.call, device) for case in cases] for _ in range(num_warm_ups + num_rounds)]
    seconds_rows, rate_rows = [], []
    for case, *measured in zip(cases, *rounds[num_warm_ups:], strict=True):
        seconds = sorted(measured, key=lambda kinds: sum(kinds.values()))[len(measured) // 2]
        gflop = {kind: case.batch_size * count / 1e9 for kind, count in flops_by_kind(case.flops).items()}
        about = {"case": case.name, "size": size_text(case.size), "batch_size": case.batch_size}
        seconds_rows.append(about | {"all": sum(seconds.values())} | seconds)
        rates = {kind: gflop[kind] / seconds[kind] if seconds[kind] else 0.0 for kind in (CONVOLUTIONS, PRODUCTS)}
        rate_rows.append(about | {"all": sum(gflop.values()) / sum(seconds.values())} | rates)
    return {
        "text": f"The pass of median length of {num_rounds}.",
        "tables": [
            {"title": "Seconds by kind of operation", "rows": seconds_rows},
            {"title": "GFLOP/s by kind of operation", "rows": rate_rows},
        ],
    }


def build_cases(cfg: DictConfig, device: torch.device) -> Iterator[Case]:
    """Yield the generators but the 2s-ATN's baseline, at the first batch size of each setting, then the iterations."""
    generators = build_generators(cfg, device)
    del generators[f"{net_name('two_stream')} {BASELINE}"]
    for setting in cfg.inference.settings:
        size, batch_size = tuple(setting.size), int(setting.batch_sizes[device.type][0])
        inputs = random_pair(batch_size, size, device)[:3]
        flops = {net_name(net): count_generator_flops(cfg, node, size) for net, node in cfg.generators.items()}
        for name, generator in generators.items():
            yield Case(name, size, batch_size, partial(generator, *inputs), flops[name.rpartition(" ")[0]])
    variant = build_variants(cfg, device)[OPTIMIZED]
    for setting in cfg.training.settings:
        size, batch_size = tuple(setting.size), int(setting.batch_size[device.type])
        iteration = Iteration(cfg, variant, size, batch_size, device)
        yield Case(f"training {OPTIMIZED}", size, batch_size, iteration, count_iteration_flops(cfg, size))


def seconds_by_kind(call: Callable[[], object], device: torch.device) -> dict[str, float]:
    """Return the seconds of a call by kind of operation: time on the GPU, or on the CPU's calling thread."""
    on_gpu = device.type == "cuda"
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if on_gpu else [])
    synchronize(device)
    # torch 2.11 warns that it drops the events of earlier cycles without `acc_events`; there is only one cycle.
    with profile(activities=activities, acc_events=True) as profiler:
        call()
        synchronize(device)
    seconds = dict.fromkeys(KINDS, 0.0)
    for operation in profiler.key_averages():
        # Kernels are listed again on their own, in addition to the operation that launched them.
        if operation.device_type == DeviceType.CPU:
            total = operation.self_device_time_total if on_gpu else operation.self_cpu_time_total
            seconds[kind_of(operation.key)] += total / 1e6
    return seconds


def flops_by_kind(counter: FlopCounterMode) -> dict[str, int]:
    """Return the counted FLOPs by kind of operation."""
    counts = dict.fromkeys(KINDS, 0)
    for operation, count in counter.get_flop_counts()["Global"].items():
        counts[kind_of(str(operation))] += count
    return counts


def kind_of(operation: str) -> str:
    """Return the kind of an operation such as `aten::mm` or `aten.mm`; fused attention counts as matrix products."""
    name = re.split(r"::|\.", operation)[-1]
    # A compiled kernel is named after all operations fused in it; convolutions and products are not among them.
    if name.startswith("triton"):
        return OTHER
    if re.search(r"conv(?!ert)", name):
        return CONVOLUTIONS
    if name in MATRIX_PRODUCTS or "attention" in name:
        return PRODUCTS
    return SOFTMAX if "softmax" in name else OTHER
