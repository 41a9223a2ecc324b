"""Loggers whose packages are optional."""

from pathlib import Path

from pytorch_lightning.loggers import WandbLogger


def wandb_logger(run_dir: str | Path, project: str, group: str, name: str) -> WandbLogger:
    """Log to Weights & Biases, offline unless the user is logged in.

    Raises RuntimeError where the package is not installed.
    """
    try:
        import wandb
    except ImportError:
        raise RuntimeError("logger=wandb needs the package wandb: pip install 'twostream[wandb]'") from None
    offline = wandb.api.api_key is None
    return WandbLogger(name=name, save_dir=str(run_dir), project=project, group=group, offline=offline)
