"""What the levers leave of training: loss curves from equal weights on equal batches."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig

from twostream.benchmark.forms import PLAIN, forms_of
from twostream.benchmark.loader import LoaderCase, build_data, ready_batches
from twostream.benchmark.training import Iteration
from twostream.types import PosePair

LOSS = "l1"
LAST = 10
"""Iterations at the end that are compared by their mean."""


def measure_curves(cfg: DictConfig, device: torch.device) -> dict[str, Any]:
    """Train every form of `cfg.measured` for a while, and the plain one from other seeds; return plain values."""
    settings, changed = cfg.curves, cfg.copy()
    changed.generator.width = settings.width[device.type]
    # It is drawn in the order of the memory, which is another one with the channels last.
    changed.generator.dropout = 0
    changed.schedule.learning_rate = settings.learning_rate
    changed.data.batch_size, changed.data.image_size = settings.batch_size[device.type], settings.size[device.type]
    batches = ready_batches(build_data(changed, LoaderCase("ram", 0, "none")), device)
    pairs = list(islice(batches, settings.iterations))
    forms = forms_of(cfg, device)
    losses = {name: train(changed, form, pairs, device) for name, form in forms.items()}
    for seed in range(cfg.seed + 1, cfg.seed + 1 + settings.other_seeds):
        changed.seed = seed
        losses[f"{PLAIN}, seed {seed}"] = train(changed, forms[PLAIN], pairs, device)
    size = "x".join(map(str, changed.data.image_size))
    return {
        "iterations": settings.iterations,
        "setting": f"{cfg.data.label}, {size}, width {changed.generator.width}, no dropout, "
        f"batches of {changed.data.batch_size}",
        "tuned": list(cfg.tuned[device.type]),
        "curves": {name: curves[LOSS] for name, curves in losses.items()},
        "losses": losses,
    }


def train(cfg: DictConfig, form: DictConfig, pairs: Sequence[PosePair], device: torch.device) -> dict[str, list[float]]:
    """Train new networks in a form, an iteration a batch; return the losses by name."""
    size = tuple(cfg.data.image_size)
    iteration = Iteration(cfg, form, size, 1, device)
    steps = [iteration(pair) for pair in pairs]
    values = torch.stack([torch.stack([value.detach().float() for value in step.values()]) for step in steps]).cpu()
    return {name: column.tolist() for name, column in zip(steps[0], values.unbind(dim=1), strict=True)}


def as_markdown(results: Mapping[str, Any]) -> str:
    """Write how each form's curve ends, and how far it is from the plain one."""
    curves = results["curves"]
    lines = [
        f"The L1 loss in {results['iterations']} iterations; {results['setting']}. Every form begins with the weights "
        f"of the plain one and sees the same batches; the last rows are the plain form from other seeds. Tuned: "
        f"{', '.join(results['tuned'])}.",
        "",
        f"| form | mean of the last {LAST} | to plain's | mean difference from plain's curve |",
        "| --- | ---: | ---: | ---: |",
    ]
    plain = np.array(curves[PLAIN])
    for name, values in curves.items():
        end, plain_end = np.mean(values[-LAST:]), plain[-LAST:].mean()
        difference = np.abs(np.array(values) - plain).mean()
        lines.append(f"| {name.replace('_', ' ')} | {end:.4f} | {end / plain_end - 1:+.2%} | {difference:.5f} |")
    return "\n".join(lines)
