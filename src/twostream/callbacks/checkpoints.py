"""Checkpoints, counted in iterations."""

from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from twostream.files import whole_file


class Checkpoints(Callback):
    """Writes `checkpoints/last.ckpt` every so many iterations and at the end, whole or not at all."""

    def __init__(self, run_dir: str | Path, every_n_iterations: int) -> None:
        self.path = Path(run_dir) / "checkpoints" / "last.ckpt"
        self.every_n_iterations = every_n_iterations

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Save when it is time."""
        if trainer.global_step % self.every_n_iterations == 0:
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the end of the run."""
        self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        with whole_file(self.path) as temporary:
            trainer.save_checkpoint(temporary)
