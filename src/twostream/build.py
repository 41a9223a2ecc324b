"""From a composed config to the objects of a run: the only place that instantiates."""

from typing import Any

import pytorch_lightning as pl
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import nn

from twostream.data.datamodule import PairDataModule
from twostream.module import TwoStreamModule
from twostream.runs import model_config


def build_datamodule(cfg: DictConfig) -> PairDataModule:
    """Build the data module of `cfg.data`; nothing is read yet."""
    return instantiate(cfg.data)


def build_generator(cfg: DictConfig) -> nn.Module:
    """Build the generator of `cfg.generator`, with fresh weights."""
    return instantiate(cfg.generator)


def build_module(cfg: DictConfig) -> TwoStreamModule:
    """Build networks, losses and schedule; the checkpoint's hyper-parameters are the plain config."""
    module = TwoStreamModule(
        generator=build_generator(cfg),
        discriminators={name: instantiate(node) for name, node in cfg.discriminators.items()},
        objective=instantiate(cfg.loss),
        schedule=instantiate(cfg.schedule),
        performance=instantiate(cfg.performance),
    )
    module.save_hyperparameters(model_config(cfg))
    return module


def build_trainer(cfg: DictConfig) -> pl.Trainer:
    """Build the trainer with loggers and callbacks, for as many iterations as the schedule has."""
    callbacks = {**cfg.callbacks, "averaging": cfg.averaging}
    return instantiate(
        cfg.trainer,
        max_steps=instantiate(cfg.schedule).iterations,
        logger=[instantiate(node) for node in cfg.logger.values()],
        callbacks=[instantiate(node) for node in callbacks.values() if node],
        deterministic=cfg.deterministic,
        benchmark=not cfg.deterministic,
    )


def build_scoring(cfg: DictConfig) -> Any:
    """Build the settings of `cfg.scoring`; no network is built yet."""
    return instantiate(cfg.scoring)


PRECISIONS = ("32-true", "bf16-mixed")


def check(cfg: DictConfig) -> None:
    """Raise ValueError where parts of the config can't go together."""
    if cfg.trainer.precision not in PRECISIONS:
        # In float16 one scaler for three optimizers scales each phase's gradients by what another one overflowed.
        raise ValueError(f"trainer.precision: expected {' or '.join(PRECISIONS)}, got {cfg.trainer.precision!r}")
    height, width = cfg.data.image_size
    if min(height, width) < 4 or height % 4 or width % 4:
        raise ValueError(f"data.image_size: expected height and width divisible by 4, got {height}x{width}")
