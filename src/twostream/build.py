"""From a composed config to the objects of a run."""

from typing import Any

import pytorch_lightning as pl
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from twostream.data.datamodule import PairDataModule
from twostream.module import TwoStreamModule
from twostream.registry import check_description, model_config
from twostream.runs import cause_of

PRECISIONS = ("32-true", "bf16-mixed")


def build_datamodule(cfg: DictConfig) -> PairDataModule:
    """Build the data module of `cfg.data`; nothing is read yet."""
    return _build_part("data", cfg.data)


def build_module(cfg: DictConfig) -> TwoStreamModule:
    """Build networks, losses and schedule; checkpoints hold names of options and plain values."""
    if "generator" in cfg.discriminators:
        raise ValueError("discriminators.generator: expected another name, this is the generator's")
    module = TwoStreamModule(
        generator=_build_part("generator", cfg.generator),
        discriminators={name: _build_part(f"discriminators.{name}", one) for name, one in cfg.discriminators.items()},
        objective=_build_part("loss", cfg.loss),
        schedule=_build_part("schedule", cfg.schedule),
        performance=_build_part("performance", cfg.performance),
    )
    module.save_hyperparameters(model_config(cfg))
    return module


def build_trainer(cfg: DictConfig) -> pl.Trainer:
    """Build the trainer with its loggers and callbacks.

    Raises ValueError, beginning with the key, for settings that a constructor refuses, a GPU on a machine without one,
    for example.
    """
    callbacks = {f"callbacks.{name}": node for name, node in cfg.callbacks.items()} | {"averaging": cfg.averaging}
    return _build_part(
        "trainer",
        cfg.trainer,
        logger=[_build_part(f"logger.{name}", node) for name, node in cfg.logger.items()],
        callbacks=[_build_part(key, node) for key, node in callbacks.items() if node],
        deterministic=cfg.deterministic,
        benchmark=not cfg.deterministic,
    )


def build_scoring(cfg: DictConfig) -> Any:
    """Build the settings of `cfg.scoring`; no network is built yet."""
    return _build_part("scoring", cfg.scoring)


def _build_part(key: str, node: DictConfig, **arguments: Any) -> Any:
    """Instantiate the node of a key. Raises ValueError, beginning with the key, for what a constructor refuses."""
    try:
        return instantiate(node, **arguments)
    except InstantiationException as error:
        cause = cause_of(error)
        text = " ".join(str(cause).split())
        if isinstance(cause, MisconfigurationException | TypeError):
            raise ValueError(f"{key}: expected settings that this machine can run: {text}") from error
        if type(cause) is not ValueError:
            raise
        is_of_argument = text.partition(":")[0] in node
        prefix = "" if text.startswith(key) else f"{key}." if is_of_argument else f"{key}: "
        raise ValueError(f"{prefix}{text}") from error


def choose_device(name: str) -> torch.device:
    """Return a device by name; `auto` is the GPU if there is one, and `gpu` is Lightning's name of it.

    Raises ValueError for another name, and for a GPU that is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device("cuda" if name == "gpu" else name)
    except RuntimeError:
        raise ValueError(f"device: expected auto, cpu, cuda or cuda:1, got {name!r}") from None
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        raise ValueError(f"device: expected cpu or one of {count} GPUs, got {name!r}")
    return device


def evaluation_device(trainer: DictConfig) -> torch.device:
    """Return the device of rank 0 of a trainer's config, on which it evaluates: the first GPU where it lists them."""
    device = choose_device(trainer.accelerator)
    if device.type == "cuda" and OmegaConf.is_list(trainer.devices):
        return choose_device(f"cuda:{trainer.devices[0]}")
    return device


def check(cfg: DictConfig) -> None:
    """Raise ValueError for settings that cannot work, and for a model that could not be built from a checkpoint."""
    check_description(model_config(cfg), "config")
    if cfg.trainer.precision not in PRECISIONS:
        # In float16 one gradient scaler would serve three optimizers, and an overflow in one update affect the others.
        raise ValueError(f"trainer.precision: expected {' or '.join(PRECISIONS)}, got {cfg.trainer.precision!r}")
    interval = cfg.trainer.val_check_interval
    if interval is not None and not (type(interval) in (int, float) and interval > 0):
        raise ValueError(f"trainer.val_check_interval: expected a number above 0, or null, got {interval!r}")
    if len(cfg.data.image_size) != 2:
        raise ValueError(f"data.image_size: expected [height, width], got {cfg.data.image_size}")
    height, width = cfg.data.image_size
    if min(height, width) < 4 or height % 4 or width % 4:
        raise ValueError(f"data.image_size: expected height and width divisible by 4, got {height}x{width}")
