"""Stopping before a broken run overwrites a good one."""

import math
from typing import Any

import torch
from jaxtyping import Float
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from twostream.data.datamodule import PairDataModule

NUM_LISTED = 4
# Devices that nothing waits for.
LOOKS_EACH_TIME = ("cpu",)


class Guard(Callback):
    """Stops a run with a ValueError when a loss is not finite; no checkpoint is written from then on.

    On a GPU the losses are looked at every `every_n_iterations` and before each checkpoint, so that the device is
    seldom waited for; on a CPU each time.
    """

    def __init__(self, every_n_iterations: int) -> None:
        self.every_n_iterations = every_n_iterations
        self._names: list[str] = []
        self._unseen: list[tuple[int, Float[Tensor, losses]]] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any) -> None:
        """Keep the losses of the iteration until they are looked at."""
        self._names = list(outputs)
        self._unseen.append((trainer.global_step, torch.stack([outputs[name] for name in self._names])))
        if pl_module.device.type in LOOKS_EACH_TIME or len(self._unseen) >= self.every_n_iterations:
            self._look(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Look before anything is written."""
        self._look(trainer)

    def _look(self, trainer: Trainer) -> None:
        unseen, self._unseen = self._unseen, []
        if not unseen:
            return
        for (iteration, _), losses in zip(unseen, torch.stack([losses for _, losses in unseen]).tolist(), strict=True):
            for name, loss in zip(self._names, losses, strict=True):
                if not math.isfinite(loss):
                    raise ValueError(self._explain(trainer, iteration, name, loss))

    def _explain(self, trainer: Trainer, iteration: int, name: str, loss: float) -> str:
        data: PairDataModule = trainer.datamodule  # type: ignore[attr-defined]
        pairs = [f"{source} -> {target}" for source, target in data.pairs_of_iteration(iteration - 1)]
        more = f" and {len(pairs) - NUM_LISTED} more" if len(pairs) > NUM_LISTED else ""
        return (
            f"iteration {iteration}, {phase_of(name)} phase: {name} is {loss}; the batch is "
            f"{', '.join(pairs[:NUM_LISTED])}{more}. The last checkpoint is from before; a lower "
            "schedule.learning_rate or trainer.precision=32-true may help"
        )


def phase_of(name: str) -> str:
    """Return the phase that a logged loss belongs to."""
    for suffix in ("_discriminator", "_accuracy"):
        if name.endswith(suffix):
            return name.removeprefix("train/").removesuffix(suffix) + " discriminator's"
    return "generator's"
