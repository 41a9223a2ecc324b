"""What the loggers know of a run."""

import json
from pathlib import Path

from pytorch_lightning import Callback, LightningModule, Trainer


class PublishRecord(Callback):
    """Adds `record.json`, which is written before, to the settings that the loggers keep of a run, under `record`."""

    def __init__(self, run_dir: str | Path) -> None:
        self.path = Path(run_dir) / "record.json"

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hand the record to the loggers."""
        if trainer.is_global_zero:
            record = json.loads(self.path.read_text(encoding="utf-8"))
            for logger in trainer.loggers:
                logger.log_hyperparams({"record": record})
