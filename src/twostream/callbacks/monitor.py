"""How training goes beside the losses: learning rates, speed, memory, sigma, logits of the correspondence."""

import time
from typing import Any

import torch
from jaxtyping import Float
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from twostream.module import TwoStreamModule
from twostream.nets.appearance_transfer import AppearanceTransfer
from twostream.nets.generator import TwoStreamGenerator
from twostream.types import PosePair


class Monitor(Callback):
    """Logs how training goes, whenever the trainer logs, and has all curves counted in iterations that are done.

    - `lr/<net>`: the learning rate of the iteration,
    - `throughput/iterations_per_second`: since the last time, without validations,
    - `memory/allocated_gib`, `memory/peak_gib`: of the GPU's memory, where there is one,
    - `sigma/block_<k>`: sigma of each AT-block (Eq. 6).

    And in each validation, of its first batch on every process:

    - `logits/block_<k>_min`, `logits/block_<k>_max`: the range of each AT-block's logits (Eq. 4), which the paper does
      not scale, from queries and keys in the precision of training.

    The device is not waited for. In the list of callbacks it stands last, so that what others do after a validation is
    not taken for training.
    """

    def __init__(self) -> None:
        self.since: tuple[float, int] = (0.0, 0)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._start_clock(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Log the learning rates before the schedule moves them on."""
        if is_logged(trainer, trainer.global_step + 1):
            assert isinstance(pl_module, TwoStreamModule)
            for name, optimizer in zip(pl_module.nets, trainer.optimizers, strict=True):
                pl_module.log(f"lr/{name}", optimizer.param_groups[0]["lr"])

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Log the rest."""
        iteration = trainer.global_step
        if not is_logged(trainer, iteration):
            return
        assert isinstance(pl_module, TwoStreamModule)
        # By this name Lightning takes it for the place of all that is logged with it; by itself it counts from 0.
        pl_module.log("step", float(iteration))
        began, first = self.since
        if iteration > first:
            pl_module.log("throughput/iterations_per_second", (iteration - first) / (time.perf_counter() - began))
        self._start_clock(trainer)
        pl_module.log_dict(gpu_memory(pl_module.device))
        pl_module.log_dict(sigmas(pl_module.generator))

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: PosePair, batch_idx: int, *_: Any
    ) -> None:
        """Log the range of the logits."""
        if batch_idx > 0:
            return
        assert isinstance(pl_module, TwoStreamModule)
        with trainer.precision_plugin.forward_context():
            ranges = logit_ranges(pl_module.generator, batch)
        for name, (smallest, greatest) in ranges.items():
            pl_module.log(f"{name}_min", smallest, reduce_fx="min", sync_dist=True)
            pl_module.log(f"{name}_max", greatest, reduce_fx="max", sync_dist=True)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the validation's values their iteration."""
        pl_module.log("step", float(trainer.global_step), sync_dist=True)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock anew."""
        self._start_clock(trainer)

    def _start_clock(self, trainer: Trainer) -> None:
        self.since = time.perf_counter(), trainer.global_step


def is_logged(trainer: Trainer, iteration: int) -> bool:
    """Whether the trainer logs an iteration, counted from 1."""
    every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
    return every > 0 and (iteration % every == 0 or trainer.should_stop)


def gpu_memory(device: torch.device) -> dict[str, float]:
    """Return the GPU's memory in GiB that tensors take now and took at most; nothing for a CPU."""
    if device.type != "cuda":
        return {}
    used = {
        "allocated": torch.cuda.memory_allocated(device),
        "peak": torch.cuda.max_memory_allocated(device),
    }
    return {f"memory/{name}_gib": num_bytes / 2**30 for name, num_bytes in used.items()}


def sigmas(generator: nn.Module) -> dict[str, Tensor]:
    """Return sigma of each AT-block (Eq. 6) by name, on its device; nothing for a generator without AT-modules."""
    if not isinstance(generator, TwoStreamGenerator):
        return {}
    at_modules = [block.at_module for block in generator.blocks]
    return {
        f"sigma/block_{k}": at_module.sigma.detach()
        for k, at_module in enumerate(at_modules, start=1)
        if isinstance(at_module, AppearanceTransfer)
    }


def logit_ranges(generator: nn.Module, pair: PosePair) -> dict[str, Float[Tensor, "2"]]:
    """Return the range of each AT-block's logits (Eq. 4) by name; nothing for a generator without AT-modules."""
    if not (isinstance(generator, TwoStreamGenerator) and generator.has_at_modules):
        return {}
    ranges = generator.logit_ranges(pair.source_image, pair.source_heatmaps, pair.target_heatmaps)
    return {f"logits/block_{k}": found for k, found in enumerate(ranges, start=1)}
