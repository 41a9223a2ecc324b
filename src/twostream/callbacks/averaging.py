"""Averaged weights of the generator."""

from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn
from typing_extensions import override

from twostream.callbacks import module_of

KEY = "averaged_generator"  # in a checkpoint


class ExponentialAverage(Callback):
    """Keeps an exponential moving average of the generator's weights in float32, without influence on training.

    After iteration k the decay is min(decay, (1 + k) / (10 + k)), so that the initial weights are soon forgotten. The
    average is saved in the checkpoint and evaluated in addition to the weights themselves.

    Raises ValueError for a decay outside [0, 1).
    """

    def __init__(self, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"averaging.decay: expected at least 0 and under 1, got {decay}")
        self.decay = decay
        self.average: dict[str, Tensor] | None = None

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        initial = module_of(trainer).generator.state_dict() if self.average is None else self.average
        self.average = {name: tensor.to(pl_module.device, copy=True) for name, tensor in initial.items()}

    @override
    @torch.no_grad()
    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        assert self.average is not None
        module = module_of(trainer)
        decay = min(self.decay, (1 + module.iteration) / (10 + module.iteration))
        weights = module.generator.state_dict()
        averaged = [name for name, average in self.average.items() if average.is_floating_point()]
        update = get_ema_multi_avg_fn(decay)
        update([self.average[name] for name in averaged], [weights[name] for name in averaged], None)
        for name in self.average.keys() - averaged:  # counts, such as those of batch normalisation
            self.average[name].copy_(weights[name])

    @override
    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint[KEY] = self.average

    @override
    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self.average = checkpoint[KEY]
