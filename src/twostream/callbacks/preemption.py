"""Checkpoint and exit cleanly on a stop signal."""

import threading
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from typing_extensions import override

from twostream.callbacks import module_of
from twostream.callbacks.checkpoints import Checkpoints
from twostream.signals import Interrupted, on_stop


class Preemption(Callback):
    """On a stop signal saves a checkpoint after the current iteration and raises Interrupted.

    Several processes agree every `every_n_iterations`, so that all stop at the same iteration.
    """

    def __init__(self, every_n_iterations: int) -> None:
        self.every_n_iterations = every_n_iterations
        self.received = 0  # number of the signal

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # In place of the command's handlers and Lightning's, which interrupt in the middle of an iteration. Lightning
        # puts back the command's when `fit` ends.
        if threading.current_thread() is threading.main_thread():
            on_stop(self._receive)

    @override
    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        iteration = module_of(trainer).iteration
        number = self._agreed(trainer, iteration)
        if not number:
            return
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Checkpoints):
                callback.save(trainer)
        raise Interrupted(number, iteration)

    @override
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        # After the last iteration; its checkpoint is written.
        if self.received:
            raise Interrupted(self.received, module_of(trainer).iteration)

    def _receive(self, number: int, _: object) -> None:
        self.received = number

    def _agreed(self, trainer: Trainer, iteration: int) -> int:
        """Return the number of the signal on which to stop now, 0 for none."""
        if trainer.world_size == 1:
            return self.received
        if iteration % self.every_n_iterations:
            return 0
        received = torch.tensor(float(self.received), device=trainer.strategy.root_device)
        return int(trainer.strategy.reduce(received, reduce_op="max"))
