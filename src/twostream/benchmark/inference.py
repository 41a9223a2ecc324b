"""Table 2: parameters, arithmetic and speed of the 2s-ATN beside PATN, both in the same forms."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from twostream.benchmark.timing import in_turns

OURS, BASELINE = "two_stream", "patn"
PLAIN, TUNED = "plain", "tuned"
PAPERS_RATIO = 74.21 / 60.61
"""Table 2: frames a second of the 2s-ATN to PATN's."""


def measure_inference(cfg: DictConfig, device: torch.device) -> dict[str, Any]:
    """Measure the generators of `cfg.generators` at `cfg.sizes`; return plain values.

    Every generator runs in two forms: `plain`, eager float32 with D written out (its AT-modules are `cfg.dense`), and
    `tuned`, with all that makes it faster here. All forms of all generators at one size and batch size are timed in
    turns.
    """
    nets = {
        f"{name} {form}": build(node, cfg.dense, form, device)
        for name, node in cfg.generators.items()
        for form in (PLAIN, TUNED)
    }
    rows = []
    for size in (tuple(size) for size in cfg.sizes):
        for batch_size in cfg.batch_sizes[device.type]:
            inputs = draw_inputs(batch_size, size, device)
            timings = in_turns({name: generation(net, inputs) for name, net in nets.items()}, cfg.rounds, device)
            speeds = {name: timing.rate(batch_size) for name, timing in timings.items()}
            rows.append({"size": list(size), "batch_size": batch_size, "images_per_second": speeds})
    return {
        "parameters": {name: sum(p.numel() for p in nets[f"{name} {PLAIN}"].parameters()) for name in cfg.generators},
        "gflop": [
            {"size": list(size)}
            | {name: count_flop(node, cfg.dense, tuple(size)) / 1e9 for name, node in cfg.generators.items()}
            for size in cfg.sizes
        ],
        "speeds": rows,
    }


class Tuned(nn.Module):
    """A net in bfloat16 mixed precision with everything channels last, on a GPU compiled."""

    def __init__(self, net: nn.Module, device: torch.device) -> None:
        super().__init__()
        self.net = net.to(memory_format=torch.channels_last)
        if device.type == "cuda":
            self.net.compile()

    def forward(self, *inputs: Tensor) -> Tensor:
        """Do as the net does."""
        inputs = tuple(tensor.to(memory_format=torch.channels_last) for tensor in inputs)
        with torch.autocast(inputs[0].device.type, torch.bfloat16):
            return self.net(*inputs)


def build(node: DictConfig, dense: DictConfig, form: str, device: torch.device) -> nn.Module:
    """Build a generator in one of the two forms."""
    if form == TUNED:
        return Tuned(instantiate(node).to(device), device).eval()
    given = {"at_module": dense} if "at_module" in node else {}
    return instantiate(node, **given).to(device).eval()


def generation(net: nn.Module, inputs: tuple[Tensor, ...]) -> Callable[[], object]:
    """Return a call that generates a batch."""
    return torch.inference_mode()(partial(net, *inputs))


def draw_inputs(batch_size: int, size: tuple[int, int], device: torch.device) -> tuple[Tensor, ...]:
    """Return a source image and heatmaps of both poses, drawn evenly."""
    image = torch.rand(batch_size, 3, *size, device=device) * 2 - 1
    return image, *(torch.rand(batch_size, 18, *size, device=device) for _ in range(2))


def count_flop(node: DictConfig, dense: DictConfig, size: tuple[int, int]) -> int:
    """Count a generator's operations for one picture, operator by operator: a multiplication and an addition are 2."""
    meta = torch.device("meta")
    with meta:
        net, inputs = build(node, dense, PLAIN, meta), draw_inputs(1, size, meta)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(*inputs)
    return counter.get_total_flops()


def as_markdown(results: Mapping[str, Any]) -> str:
    """Write Table 2 in Markdown, with the ratios that it is about."""
    parameters = results["parameters"]
    lines = [
        f"Parameters: 2s-ATN {parameters[OURS] / 1e6:.2f} M, PATN {parameters[BASELINE] / 1e6:.2f} M "
        "(paper: 43.28 M, 41.36 M).",
        "",
        "| size | GFLOP, 2s-ATN | GFLOP, PATN | PATN's to ours |",
        "| --- | ---: | ---: | ---: |",
    ]
    ratios = {}
    for row in results["gflop"]:
        ratios[tuple(row["size"])] = row[BASELINE] / row[OURS]
        size = "x".join(map(str, row["size"]))
        lines.append(f"| {size} | {row[OURS]:.1f} | {row[BASELINE]:.1f} | {row[BASELINE] / row[OURS]:.2f} |")
    lines += [
        "",
        "Images/s: median [quartiles]. Plain: eager float32, D written out. Tuned: bfloat16 mixed precision, channels "
        "last, fused attention, on a GPU compiled.",
        "",
        "| size | batch | 2s-ATN plain | PATN plain | ratio | 2s-ATN tuned | PATN tuned | ratio "
        "| 2s-ATN tuned to PATN plain | by GFLOP | paper |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in results["speeds"]:
        speeds = row["images_per_second"]
        cells = ["x".join(map(str, row["size"])), str(row["batch_size"])]
        for form in (PLAIN, TUNED):
            ours, theirs = speeds[f"{OURS} {form}"], speeds[f"{BASELINE} {form}"]
            cells += [_shown(ours), _shown(theirs), f"{ours[0] / theirs[0]:.2f}"]
        cells.append(f"{speeds[f'{OURS} {TUNED}'][0] / speeds[f'{BASELINE} {PLAIN}'][0]:.2f}")
        cells += [f"{ratios[tuple(row['size'])]:.2f}", f"{PAPERS_RATIO:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _shown(speed: tuple[float, float, float]) -> str:
    return "{:.3g} [{:.3g}, {:.3g}]".format(*speed)
