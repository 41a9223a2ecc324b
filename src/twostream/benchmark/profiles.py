"""Where the time goes: what a generator and a training iteration spend on each kind of operation."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from twostream.benchmark.forms import NETS, PLAIN, TUNED, shown, tuned_form
from twostream.benchmark.inference import OURS, build_nets, count_generating, draw_inputs, generation
from twostream.benchmark.timing import wait_for
from twostream.benchmark.training import Iteration, count_iteration

KINDS = CONVOLUTIONS, PRODUCTS, SOFTMAX, REST = "convolutions", "products", "softmax", "rest"
MATRIX_PRODUCTS = {"mm", "bmm", "addmm", "baddbmm", "_linear_pointwise"}


class Case(NamedTuple):
    """Something to profile, the size and number of its pictures, and its operations by kind."""

    name: str
    size: tuple[int, int]
    batch_size: int
    call: Callable[[], object]
    flop: dict[str, int]


def measure_profile(cfg: DictConfig, device: torch.device) -> dict[str, Any]:
    """Profile the generators without D and tuned, and tuned training iterations; return plain values.

    The sizes are those of `cfg.inference` and `cfg.training`, the batches the first of them. Of each case the pass of
    the median length is returned, so that its parts are those of one pass.
    """
    cases = [*cases_of_inference(cfg, device), *cases_of_training(cfg, device)]
    passes: list[list[dict[str, float]]] = [[] for _ in cases]
    for number in range(cfg.profile.warm_up + cfg.profile.rounds):
        for case, found in zip(cases, passes, strict=True):
            seconds = seconds_by_kind(case.call, device)
            if number >= cfg.profile.warm_up:
                found.append(seconds)
    rows = []
    for case, found in zip(cases, passes, strict=True):
        seconds = sorted(found, key=lambda kinds: sum(kinds.values()))[len(found) // 2]
        gflop = {kind: case.batch_size * flop / 1e9 for kind, flop in case.flop.items()}
        about = {"name": case.name, "size": list(case.size), "batch_size": case.batch_size}
        rows.append(about | {"seconds": seconds, "gflop": gflop})
    return {"passes": cfg.profile.rounds, "tuned": list(cfg.tuned[device.type]), "cases": rows}


def cases_of_inference(cfg: DictConfig, device: torch.device) -> list[Case]:
    """Return the generators at the sizes of `cfg.inference`; of plain ones those that build no D."""
    nets = {name: net for name, net in build_nets(cfg, device).items() if name != f"{OURS} {PLAIN}"}
    cases = []
    for setting in cfg.inference.settings:
        size, batch_size = tuple(setting.size), int(setting.batch_sizes[device.type][0])
        inputs = draw_inputs(batch_size, size, device)
        flop = {name: flop_by_kind(count_generating(cfg, node, size)) for name, node in cfg.generators.items()}
        cases += [
            Case(shown(name), size, batch_size, generation(net, inputs), flop[name.split()[0]])
            for name, net in nets.items()
        ]
    return cases


def cases_of_training(cfg: DictConfig, device: torch.device) -> list[Case]:
    """Return a tuned iteration at each of `cfg.training.settings`."""
    cases = []
    for setting in cfg.training.settings:
        size, batch_size = tuple(setting.size), int(setting.batch_size[device.type])
        iteration = Iteration(cfg, tuned_form(cfg, device), size, batch_size, device)
        flop = flop_by_kind(count_iteration(cfg, size))
        cases.append(Case(f"training {NETS[OURS]} {TUNED}", size, batch_size, iteration, flop))
    return cases


def seconds_by_kind(call: Callable[[], object], device: torch.device) -> dict[str, float]:
    """Return the seconds that the operations of a call take by kind: on a GPU its own, on a CPU the caller's."""
    on_gpu = device.type == "cuda"
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if on_gpu else [])
    wait_for(device)
    # torch 2.11 warns of events that it would drop otherwise; there are none.
    with profile(activities=activities, acc_events=True) as profiler:
        call()
        wait_for(device)
    seconds = dict.fromkeys(KINDS, 0.0)
    for operation in profiler.key_averages():
        # A kernel comes again by itself, beside the operation that started it.
        if operation.device_type == DeviceType.CPU:
            taken = operation.self_device_time_total if on_gpu else operation.self_cpu_time_total
            seconds[kind_of(operation.key)] += taken / 1e6
    return seconds


def flop_by_kind(counter: FlopCounterMode) -> dict[str, int]:
    """Return the operations that were counted, by kind."""
    counts = dict.fromkeys(KINDS, 0)
    for operation, count in counter.get_flop_counts()["Global"].items():
        counts[kind_of(str(operation))] += count
    return counts


def kind_of(operation: str) -> str:
    """Return the kind of an operation, such as `aten::mm` or `aten.mm`; fused attention counts as products."""
    name = re.split(r"::|\.", operation)[-1]
    # A compiler's own kernels are named after all that they do; convolutions and products it leaves to libraries.
    if name.startswith("triton"):
        return REST
    if re.search(r"conv(?!ert)", name):
        return CONVOLUTIONS
    if name in MATRIX_PRODUCTS or "attention" in name:
        return PRODUCTS
    return SOFTMAX if "softmax" in name else REST


def as_markdown(results: Mapping[str, Any]) -> str:
    """Write what each case spends on each kind of operation."""
    lines = [
        f"ms by kind of operation, in brackets GFLOP/s; of {results['passes']} passes the one of the median length. "
        f"Without D: float32. Tuned: {', '.join(results['tuned'])}.",
        "",
        f"| size | batch | | all | {' | '.join(KINDS)} |",
        "| --- | ---: | --- |" + " ---: |" * (1 + len(KINDS)),
    ]
    for case in results["cases"]:
        seconds, gflop = case["seconds"], case["gflop"]
        cells = [_cell(sum(seconds.values()), sum(gflop.values()))]
        cells += [_cell(seconds[kind], gflop[kind]) for kind in KINDS]
        size = "x".join(map(str, case["size"]))
        lines.append(f"| {size} | {case['batch_size']} | {case['name']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(seconds: float, gflop: float) -> str:
    return f"{1000 * seconds:,.0f}" + (f" ({gflop / seconds:,.0f})" if gflop and seconds else "")
