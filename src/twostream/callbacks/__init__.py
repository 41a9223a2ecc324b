"""Lightning callbacks of a training run; all count in iterations (`TwoStreamModule.iteration`)."""

from typing import cast

from pytorch_lightning import Trainer

from twostream.data.datamodule import PairDataModule
from twostream.module import TwoStreamModule


def module_of(trainer: Trainer) -> TwoStreamModule:
    """Return the module in training."""
    return cast(TwoStreamModule, trainer.lightning_module)


def data_of(trainer: Trainer) -> PairDataModule:
    """Return the data of the training."""
    return trainer.datamodule  # type: ignore[attr-defined]
