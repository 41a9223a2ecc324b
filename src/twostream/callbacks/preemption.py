"""Checkpoint and exit cleanly on SIGTERM and SIGUSR1."""

import signal
import threading
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from typing_extensions import override

from twostream.callbacks import module_of
from twostream.callbacks.checkpoints import Checkpoints
from twostream.runs import TrainingInterrupted

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Preemption(Callback):
    """On SIGTERM or SIGUSR1 saves a checkpoint after the current iteration and raises TrainingInterrupted.

    Several processes agree every `every_n_iterations`, so that all stop at the same iteration.
    """

    def __init__(self, every_n_iterations: int) -> None:
        self.every_n_iterations = every_n_iterations
        self.received: str | None = None
        self._handlers: dict[signal.Signals, Any] = {}

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # In place of Lightning's handlers, which interrupt in the middle of an iteration.
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._receive) for number in SIGNALS}

    @override
    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        iteration = module_of(trainer).iteration
        if not self._is_requested(trainer, iteration):
            return
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Checkpoints):
                callback.save(trainer)
        raise TrainingInterrupted(f"{self.received or 'a signal to another process'} at iteration {iteration}")

    @override
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def _receive(self, number: int, _: Any) -> None:
        self.received = signal.Signals(number).name

    def _is_requested(self, trainer: Trainer, iteration: int) -> bool:
        if trainer.world_size == 1:
            return self.received is not None
        if iteration % self.every_n_iterations:
            return False
        received = torch.tensor(float(self.received is not None), device=trainer.strategy.root_device)
        return bool(trainer.strategy.reduce(received, reduce_op="max"))
