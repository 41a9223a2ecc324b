"""Averaged weights of the generator."""

from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from twostream.module import TwoStreamModule

KEY = "averaged_generator"
"""Of the averaged weights in a checkpoint."""


class ExponentialAverage(Callback):
    """Keeps an exponential moving average of the generator's weights, in float32, beside the weights that train.

    After iteration k the decay is min(decay, (1 + k) / (10 + k)), so that the first weights are soon forgotten. The
    average goes into the checkpoint and is evaluated beside the weights themselves; training is the same without it.

    Args:
        decay: share of the average that stays in an iteration, at least 0 and under 1.

    Raises ValueError for another decay.

    """

    def __init__(self, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"averaging.decay: expected at least 0 and under 1, got {decay}")
        self.decay = decay
        self.average: dict[str, Tensor] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start from the first weights, or bring the average of a checkpoint to the device."""
        assert isinstance(pl_module, TwoStreamModule)
        start = pl_module.generator.state_dict() if self.average is None else self.average
        self.average = {name: tensor.to(pl_module.device, copy=True) for name, tensor in start.items()}

    @torch.no_grad()
    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Move the average towards the weights."""
        assert isinstance(pl_module, TwoStreamModule)
        assert self.average is not None
        iteration = trainer.global_step
        decay = min(self.decay, (1 + iteration) / (10 + iteration))
        weights = pl_module.generator.state_dict()
        torch._foreach_lerp_(list(self.average.values()), [weights[name] for name in self.average], 1 - decay)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Put the average into the checkpoint."""
        checkpoint[KEY] = self.average

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take the average out of the checkpoint."""
        self.average = checkpoint[KEY]
