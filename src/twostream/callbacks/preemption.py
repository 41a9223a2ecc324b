"""Leaving in good order when the machine is wanted for something else."""

import signal
import threading
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from twostream.callbacks.checkpoints import Checkpoints
from twostream.runs import TrainingInterrupted

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Preemption(Callback):
    """On SIGTERM or SIGUSR1 writes a checkpoint after the iteration and leaves with `TrainingInterrupted`.

    Several processes ask one another every `every_n_iterations`, so that all stop at the same iteration.
    """

    def __init__(self, every_n_iterations: int) -> None:
        self.every_n_iterations = every_n_iterations
        self.received: str | None = None
        self._before: dict[signal.Signals, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen. Lightning's own handlers would break off in the middle of an iteration."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._receive) for number in SIGNALS}

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Save and leave where a signal has come. Raises TrainingInterrupted."""
        if not self._is_agreed(trainer):
            return
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Checkpoints):
                callback.save(trainer)
        raise TrainingInterrupted(
            f"{self.received or 'a signal to another process'} at iteration {trainer.global_step}"
        )

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Listen no longer."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _receive(self, number: int, _: Any) -> None:
        self.received = signal.Signals(number).name

    def _is_agreed(self, trainer: Trainer) -> bool:
        if trainer.world_size == 1:
            return self.received is not None
        if trainer.global_step % self.every_n_iterations:
            return False
        received = torch.tensor(float(self.received is not None), device=trainer.strategy.root_device)
        return bool(trainer.strategy.reduce(received, reduce_op="max"))
