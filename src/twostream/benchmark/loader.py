"""The loader beside the training that it feeds."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from twostream.benchmark.forms import tuned_form
from twostream.benchmark.timing import Timing, in_turns
from twostream.benchmark.training import Iteration
from twostream.data.datamodule import PairDataModule
from twostream.types import PosePair

TRAINING = "training"
CPU_BATCH = 2
"""Pairs in a training iteration on a CPU, where the preset's batch takes minutes."""


class LoaderCase(NamedTuple):
    """One way to serve the training pairs."""

    cache: str
    num_workers: int
    augmentation: str


def measure_loader(cfg: DictConfig, device: torch.device) -> dict[str, Any]:
    """Time the loaders of `cfg.loader.cases` and a tuned training iteration in turns; return pairs/s as plain values.

    A loader's pairs are counted when they are ready for the networks: on the device, with heatmaps.
    """
    settings = cfg.loader
    cases = [LoaderCase(**case) for case in settings.cases]
    batch_size = int(cfg.data.batch_size)
    training_size = CPU_BATCH if device.type == "cpu" else batch_size
    calls: dict[str, Callable[[], object]] = {}
    for case in cases:
        batches = ready_batches(build_data(cfg, case), device)
        calls[str(case)] = partial(_take, batches, int(settings.num_batches))
    size = tuple(cfg.data.image_size)
    calls[TRAINING] = Iteration(cfg, tuned_form(cfg, device), size, training_size, device)
    timings = in_turns(calls, settings.rounds, device)
    training = _rates(timings[TRAINING], training_size)
    rows = [case._asdict() | _rates(timings[str(case)], settings.num_batches * batch_size) for case in cases]
    for row in rows:
        row["times_training"] = row["pairs_per_second"] / training["pairs_per_second"]
    about = {"rounds": settings.rounds, "data": cfg.data.name, "label": cfg.data.label, "size": list(size)}
    return about | {"batch_size": batch_size, "loaders": rows, TRAINING: {"batch_size": training_size} | training}


def build_data(cfg: DictConfig, case: LoaderCase) -> PairDataModule:
    """Build the data module of `cfg.data` for a case, read and checked."""
    data: PairDataModule = instantiate(
        cfg.data,
        cache=case.cache,
        num_workers=case.num_workers,
        augmentation=cfg.augmentations[case.augmentation],
    )
    data.prepare_data()
    data.setup("fit")
    return data


def ready_batches(data: PairDataModule, device: torch.device) -> Iterator[PosePair]:
    """Yield training batches without end, as the networks get them."""
    data.move_to(device)
    for batch in data.training_loader(num_batches=10**9):
        yield data.on_after_batch_transfer(batch.to(device), 0)


def as_markdown(results: Mapping[str, Any]) -> str:
    """Write the rates as a Markdown table."""
    training, size = results[TRAINING], "x".join(map(str, results["size"]))
    lines = [
        f"{results['label']} at {size}: batches of {results['batch_size']}, ready for the networks. Training, tuned: "
        f"batches of {training['batch_size']}, {_shown(training)} pairs/s.",
        "",
        "| cache | workers | augmentation | pairs/s | times training |",
        "| --- | ---: | --- | ---: | ---: |",
    ]
    for row in results["loaders"]:
        names = f"{row['cache']} | {row['num_workers']} | {row['augmentation']}"
        lines.append(f"| {names} | {_shown(row)} | {row['times_training']:,.0f} |")
    return "\n".join(lines)


def _take(batches: Iterator[PosePair], count: int) -> None:
    for _ in range(count):
        next(batches)


def _rates(timing: Timing, count: int) -> dict[str, float]:
    median, low, high = timing.rate(count)
    return {"pairs_per_second": median, "lower_quartile": low, "upper_quartile": high}


def _shown(row: Mapping[str, Any]) -> str:
    return "{pairs_per_second:,.4g} [{lower_quartile:,.4g}, {upper_quartile:,.4g}]".format(**row)
