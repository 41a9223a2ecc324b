"""Effect of the optimizations on training: loss curves from equal weights on equal batches."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig

from twostream.benchmark.throughput import training_batches
from twostream.benchmark.variants import BASELINE, Iteration, build_variants
from twostream.tables.content import size_text
from twostream.types import PosePair

LAST_ITERATIONS = 10  # of a loss curve, compared by their mean


def measure_curves(cfg: DictConfig, device: torch.device) -> dict[str, Any]:
    """Train all variants for `cfg.curves.iterations`, and the baseline also from other seeds."""
    settings, changed = cfg.curves, cfg.copy()
    changed.generator.width = settings.width[device.type]
    # Dropout draws its mask in memory order, which differs with channels last.
    changed.generator.dropout = 0
    changed.schedule.learning_rate = settings.learning_rate
    changed.data.batch_size, changed.data.image_size = settings.batch_size[device.type], settings.size[device.type]
    pairs = list(islice(training_batches(changed, device), settings.iterations))
    variants = build_variants(cfg, device)
    losses = {name: train(changed, variant, pairs, device) for name, variant in variants.items()}
    for seed in range(cfg.seed + 1, cfg.seed + 1 + settings.other_seeds):
        changed.seed = seed
        losses[f"{BASELINE}, seed {seed}"] = train(changed, variants[BASELINE], pairs, device)
    title = (
        f"L1 loss of {settings.iterations} iterations on {cfg.data.label} at {size_text(changed.data.image_size)}, "
        f"width {changed.generator.width}, no dropout, batch size {changed.data.batch_size}"
    )
    text = "All variants start from the baseline's weights and see the same batches."
    return {"text": text, "tables": [{"title": title, "rows": compare_curves(losses)}], "losses": losses}


def train(
    cfg: DictConfig, variant: DictConfig, pairs: Sequence[PosePair], device: torch.device
) -> dict[str, list[float]]:
    """Train new networks on each batch once; return the losses of every iteration by name."""
    iteration = Iteration(cfg, variant, tuple(cfg.data.image_size), 1, device)
    logs = [{name: value.item() for name, value in iteration(pair).items()} for pair in pairs]
    return {name: [values[name] for values in logs] for name in logs[0]}


def compare_curves(losses: Mapping[str, Mapping[str, Sequence[float]]]) -> list[dict[str, Any]]:
    """Return the end of every variant's L1 loss curve and the distance of the curve from the baseline's."""
    curves = {name: np.array(values["l1"]) for name, values in losses.items()}
    rows = []
    for name, curve in curves.items():
        end, baseline_end = (values[-LAST_ITERATIONS:].mean() for values in (curve, curves[BASELINE]))
        row: dict[str, Any] = {"variant": name, f"mean_of_last_{LAST_ITERATIONS}": end}
        row |= {"relative_difference": end / baseline_end - 1}
        rows.append(row | {"mean_distance_from_baseline": np.abs(curve - curves[BASELINE]).mean()})
    return rows
