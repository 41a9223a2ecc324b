"""Log learning rates, throughput, memory, sigma and the range of the attention logits."""

import time
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from typing_extensions import override

from twostream.callbacks import module_of
from twostream.nets.inspection import at_modules, correspondences, logit_ranges
from twostream.types import PosePair


class Monitor(Callback):
    """Logs how training behaves whenever the trainer logs, and sets the x-axis of all curves to iterations done.

    - `lr/<net>`: learning rate of the iteration,
    - `throughput/iterations_per_second`: since the last logging, validations excluded,
    - `memory/allocated_gib`, `memory/peak_gib`: memory of the GPU, if there is one,
    - `sigma/block_<k>`: sigma of each AT-block (Eq. 6).

    In each validation, over the first batch of every process:

    - `logits/block_<k>_min`, `logits/block_<k>_max`: range of each AT-block's logits (Eq. 4), which the paper does not
      scale, in the precision of training.

    Never waits for the GPU. To be the last in the list of callbacks, so that the work of others after a validation is
    not timed as training.
    """

    def __init__(self) -> None:
        self.since: tuple[float, int] = (0.0, 0)

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start_clock(trainer)

    @override
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        module = module_of(trainer)
        # The schedulers change the learning rates during the iteration.
        if is_logged(trainer, module.iteration + 1):
            for name, optimizer in zip(module.nets, trainer.optimizers, strict=True):
                pl_module.log(f"lr/{name}", optimizer.param_groups[0]["lr"])

    @override
    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        module = module_of(trainer)
        if not is_logged(trainer, module.iteration):
            return
        # Lightning uses the value of this name as the x-axis for all that is logged with it.
        pl_module.log("step", float(module.iteration))
        start, first = self.since
        if module.iteration > first:
            throughput = (module.iteration - first) / (time.perf_counter() - start)
            pl_module.log("throughput/iterations_per_second", throughput)
        self._start_clock(trainer)
        pl_module.log_dict(gpu_memory(pl_module.device))
        for k, block in enumerate(at_modules(module.generator), start=1):
            pl_module.log(f"sigma/block_{k}", block.sigma.detach().mean())

    @override
    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: PosePair, batch_idx: int, *_: Any
    ) -> None:
        generator = module_of(trainer).generator
        if batch_idx > 0 or not correspondences(generator):
            return
        with trainer.precision_plugin.forward_context():
            ranges = logit_ranges(generator, (batch.source_image, batch.source_heatmaps, batch.target_heatmaps))
        for name, (smallest, largest) in ranges.items():
            pl_module.log(f"logits/{name}_min", smallest, reduce_fx="min", sync_dist=True)
            pl_module.log(f"logits/{name}_max", largest, reduce_fx="max", sync_dist=True)

    @override
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module.log("step", float(module_of(trainer).iteration), sync_dist=True)

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start_clock(trainer)

    def _start_clock(self, trainer: Trainer) -> None:
        self.since = time.perf_counter(), module_of(trainer).iteration


def is_logged(trainer: Trainer, iteration: int) -> bool:
    """Whether the trainer logs an iteration, the first being 1."""
    every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
    return every > 0 and (iteration % every == 0 or trainer.should_stop)


def gpu_memory(device: torch.device) -> dict[str, float]:
    """Return allocated and peak memory of a GPU in GiB; empty for a CPU."""
    if device.type != "cuda":
        return {}
    return {
        "memory/allocated_gib": torch.cuda.memory_allocated(device) / 2**30,
        "memory/peak_gib": torch.cuda.max_memory_allocated(device) / 2**30,
    }
