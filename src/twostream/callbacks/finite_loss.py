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
        self._names: list[str] = []
        self._unchecked: list[tuple[int, Float[Tensor, losses]]] = []

    @override
    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any) -> None:
        self._names = list(outputs)
        self._unchecked.append((module_of(trainer).iteration, torch.stack(list(outputs.values()))))
        if pl_module.device.type == "cpu" or len(self._unchecked) >= self.every_n_iterations:
            self._check(trainer)

    @override
    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._check(trainer)

    def _check(self, trainer: Trainer) -> None:
        unchecked, self._unchecked = self._unchecked, []
        if not unchecked:
            return
        iterations, losses = zip(*unchecked, strict=True)
        for iteration, values in zip(iterations, torch.stack(losses).tolist(), strict=True):
            for name, value in zip(self._names, values, strict=True):
                if not math.isfinite(value):
                    pairs = [f"{s} -> {t}" for s, t in data_of(trainer).pairs_of_iteration(iteration - 1)]
                    raise ValueError(
                        f"iteration {iteration}: {name} is {value}; the batch is {', '.join(first_lines(pairs, 4))}. "
                        "The last checkpoint is from before; try a lower schedule.learning_rate or "
                        "trainer.precision=32-true"
                    )
