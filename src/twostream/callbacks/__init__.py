"""Lightning callbacks of a training run; all count in iterations (`TwoStreamModule.iteration`)."""

from pytorch_lightning import Trainer

from twostream.data.datamodule import PairDataModule
from twostream.module import TwoStreamModule


def module_of(trainer: Trainer) -> TwoStreamModule:
    """Return the module that is trained."""
    module = trainer.lightning_module
    assert isinstance(module, TwoStreamModule)
    return module


def data_of(trainer: Trainer) -> PairDataModule:
    """Return the data module of the training."""
    data = trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(data, PairDataModule)
    return data
