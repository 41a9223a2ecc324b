"""Table 2: parameters, arithmetic and speed of the 2s-ATN beside PATN, both in the same forms."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from twostream.benchmark.forms import ATTENTION, PLAIN, TUNED, Generating, form_with, tuned_form, with_at_module
from twostream.benchmark.timing import in_turns

OURS, BASELINE = "two_stream", "patn"
OF_TRAINING = ("fused_adam", "one_pass", "frozen_discriminators")
"""Levers that a generator by itself has nothing of."""
PAPERS_RATIO = 74.21 / 60.61
"""Table 2: frames a second of the 2s-ATN to PATN's."""


def measure_inference(cfg: DictConfig, device: torch.device) -> dict[str, Any]:
    """Measure the generators of `cfg.generators` at `cfg.inference.settings`; return plain values.

    All forms of all generators at one size and batch size are timed in turns.
    """
    nets = build_nets(cfg, device)
    rounds, gflop, rows = cfg.inference.rounds, [], []
    for setting in cfg.inference.settings:
        size = tuple(setting.size)
        counts = {name: count_flop(cfg, node, size) / 1e9 for name, node in cfg.generators.items()}
        gflop.append({"size": list(size)} | counts)
        for batch_size in setting.batch_sizes[device.type]:
            inputs = draw_inputs(batch_size, size, device)
            timings = in_turns({name: generation(net, inputs) for name, net in nets.items()}, rounds, device)
            speeds = {name: timing.rate(batch_size) for name, timing in timings.items()}
            rows.append({"size": list(size), "batch_size": batch_size, "images_per_second": speeds})
    about = {
        "rounds": rounds,
        "parameters": {name: sum(p.numel() for p in nets[f"{name} {PLAIN}"].parameters()) for name in cfg.generators},
        "tuned": [name for name in cfg.tuned[device.type] if name not in OF_TRAINING],
    }
    return about | {"gflop": gflop, "speeds": rows}


def build_nets(cfg: DictConfig, device: torch.device) -> dict[str, Generating]:
    """Build every generator in the plain and in the tuned form, and one with AT-modules also plain but for D."""
    forms = {PLAIN: form_with(cfg, []), ATTENTION: form_with(cfg, [ATTENTION]), TUNED: tuned_form(cfg, device)}
    return {
        f"{name} {form_name}": Generating(node, form, device)
        for name, node in cfg.generators.items()
        for form_name, form in forms.items()
        if form_name != ATTENTION or "at_module" in node
    }


def generation(net: nn.Module, inputs: tuple[Tensor, ...]) -> Callable[[], object]:
    """Return a call that generates a batch."""
    return torch.inference_mode()(partial(net, *inputs))


def draw_inputs(batch_size: int, size: tuple[int, int], device: torch.device) -> tuple[Tensor, ...]:
    """Return a source image and heatmaps of both poses, drawn evenly."""
    image = torch.rand(batch_size, 3, *size, device=device) * 2 - 1
    return image, *(torch.rand(batch_size, 18, *size, device=device) for _ in range(2))


def count_flop(cfg: DictConfig, generator: DictConfig, size: tuple[int, int]) -> int:
    """Count a generator's operations for one picture: a multiplication and an addition are 2."""
    return count_generating(cfg, generator, size).get_total_flops()


def count_generating(cfg: DictConfig, generator: DictConfig, size: tuple[int, int]) -> FlopCounterMode:
    """Count a generator's operations for one picture, operator by operator."""
    meta = torch.device("meta")
    with meta:
        net: nn.Module = instantiate(with_at_module(generator, form_with(cfg, [])))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(*draw_inputs(1, size, meta))
    return counter


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
    by_gflop = {}
    for row in results["gflop"]:
        size = "x".join(map(str, row["size"]))
        by_gflop[size] = f"{row[BASELINE] / row[OURS]:.2f}"
        lines.append(f"| {size} | {row[OURS]:.1f} | {row[BASELINE]:.1f} | {by_gflop[size]} |")
    lines += [
        "",
        f"Images/s: median [quartiles], (batch). Plain: eager float32, D written out; without D: the same but for Eq. "
        f"4 and 5, which never build it; tuned: {', '.join(results['tuned'])}. The weights are rounded to bfloat16 "
        "once, not at every picture. Ratios are the 2s-ATN's images/s to PATN's.",
        "",
        "| size | batch | 2s-ATN plain | without D | tuned | PATN plain | tuned "
        "| plain to plain | without D to plain | tuned to tuned | tuned to plain | by GFLOP | paper |",
        "| --- | --- |" + " ---: |" * 11,
    ]
    for size, ratio in by_gflop.items():
        rows = [row for row in results["speeds"] if "x".join(map(str, row["size"])) == size]
        kinds = {f"{rows[0]['batch_size']}": rows[:1]} | ({"best": rows} if len(rows) > 1 else {})
        for kind, chosen in kinds.items():
            lines.append(f"| {size} | {kind} | {' | '.join(_cells(chosen))} | {ratio} | {PAPERS_RATIO:.2f} |")
    return "\n".join(lines)


def _cells(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what the rows of a size say, each form at its best batch size."""
    best = {
        name: max((row["images_per_second"][name], row["batch_size"]) for row in rows)
        for name in rows[0]["images_per_second"]
    }
    plain, without_d, tuned = (best[f"{OURS} {form}"] for form in (PLAIN, ATTENTION, TUNED))
    their_plain, their_tuned = (best[f"{BASELINE} {form}"] for form in (PLAIN, TUNED))
    shown = (
        "{:.3g} [{:.3g}, {:.3g}] ({})".format(*speed, batch)
        for speed, batch in (plain, without_d, tuned, their_plain, their_tuned)
    )
    pairs = ((plain, their_plain), (without_d, their_plain), (tuned, their_tuned), (tuned, their_plain))
    return [*shown, *(f"{ours[0][0] / theirs[0][0]:.2f}" for ours, theirs in pairs)]
