"""Loggers whose packages are optional."""

import os
from pathlib import Path

from pytorch_lightning.loggers import WandbLogger


def wandb_logger(run_dir: str | Path, project: str, group: str, name: str) -> WandbLogger:
    """Log to Weights & Biases, offline unless the user is logged in.

    Raises ImportError where the package is not installed.
    """
    try:
        import wandb
    except ImportError:
        raise ImportError("logger=wandb needs the package wandb: pip install 'twostream[wandb]'") from None
    mode = os.environ.get("WANDB_MODE") or ("online" if wandb.login(prompt=False) else "offline")
    return WandbLogger(name=name, save_dir=str(run_dir), project=project, group=group, mode=mode)
