"""One run from its config to `metrics.json`; what is there already is not done again."""

import logging
from pathlib import Path

import pytorch_lightning as pl
from omegaconf import DictConfig

from twostream.build import build_datamodule, build_module, build_trainer, check, plain
from twostream.evaluation.evaluate import choose_device, evaluate_run, is_trained
from twostream.runs import claim_config, claimed, clear_outputs, watched

log = logging.getLogger(__name__)


def do_run(cfg: DictConfig, run_dir: Path) -> None:
    """Train, then evaluate. A run that was cut off starts again; one that is trained is only evaluated.

    Raises ValueError for a config that can't work or that differs from the one in the folder.
    """
    check(cfg)
    with claimed(run_dir), watched(run_dir):
        if is_trained(run_dir):
            claim_config(run_dir, plain(cfg))
        else:
            train(cfg, run_dir)
        if cfg.evaluate and not (run_dir / "metrics.json").is_file():
            evaluate_run(run_dir, choose_device(cfg.trainer.accelerator))
    log.info("%s is finished", run_dir)


def train(cfg: DictConfig, run_dir: Path) -> None:
    """Train the run from its beginning to its end."""
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    data = build_datamodule(cfg)
    module = build_module(cfg)
    trainer = build_trainer(cfg)
    claim_config(run_dir, plain(cfg))
    clear_outputs(run_dir)
    trainer.fit(module, datamodule=data)
