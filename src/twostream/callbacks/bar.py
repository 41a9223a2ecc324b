"""The progress bar."""

import sys
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import TQDMProgressBar
from pytorch_lightning.callbacks.progress.tqdm_progress import Tqdm


class IterationBar(TQDMProgressBar):
    """Lightning's bar, which here runs over the iterations of the whole run."""

    def __init__(self) -> None:
        # Into a file every refresh is a line.
        super().__init__(refresh_rate=10 if sys.stdout.isatty() else 200)

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        """Name the bar by what it counts."""
        super().on_train_epoch_start(trainer, *_)
        self.train_progress_bar.set_description("Iterations")

    def init_validation_tqdm(self) -> Tqdm:
        """Show no second bar for the short validations."""
        return Tqdm(disable=True)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Leave out the loggers' version, which a run folder does not have."""
        metrics = super().get_metrics(trainer, pl_module)
        return {name.removeprefix("train/"): value for name, value in metrics.items() if name != "v_num"}
