"""Stop training on a loss that is not finite."""

import math
from typing import Any

import torch
from jaxtyping import Float
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from typing_extensions import override

from twostream.callbacks import data_of, module_of
from twostream.files import first_lines


class FiniteLoss(Callback):
    """Raises ValueError with loss, iteration and batch if a loss is NaN or infinite, before a checkpoint is written.

    On a GPU the losses are checked every `every_n_iterations` and before each checkpoint, because reading them waits
    for the device; on a CPU after each iteration.
    """

    def __init__(self, every_n_iterations: int) -> None:
        self.every_n_iterations = every_n_iterations
        self._unchecked: list[tuple[int, dict[str, Float[Tensor, ""]]]] = []

    @override
    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any) -> None:
        self._unchecked.append((module_of(trainer).iteration, outputs))
        if pl_module.device.type == "cpu" or len(self._unchecked) >= self.every_n_iterations:
            self._check(trainer)

    @override
    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._check(trainer)

    def _check(self, trainer: Trainer) -> None:
        unchecked = [(iteration, *loss) for iteration, losses in self._unchecked for loss in losses.items()]
        self._unchecked = []
        if not unchecked:
            return
        iterations, names, losses = zip(*unchecked, strict=True)
        # One transfer from the device for all.
        for iteration, name, value in zip(iterations, names, torch.stack(losses).tolist(), strict=True):
            if not math.isfinite(value):
                pairs = [f"{s} -> {t}" for s, t in data_of(trainer).pairs_of_iteration(iteration - 1)]
                raise ValueError(
                    f"iteration {iteration}: {name} is {value}; the batch is {', '.join(first_lines(pairs, 4))}. "
                    "The last checkpoint is from before; try a lower schedule.learning_rate or "
                    "trainer.precision=32-true"
                )
