"""One run from its config to `metrics.json`; what is there already is not done again."""

import logging
import warnings
from pathlib import Path

import pytorch_lightning as pl
from omegaconf import DictConfig

from twostream.build import build_datamodule, build_module, build_scoring, build_trainer, check
from twostream.evaluation.evaluate import choose_device, evaluate_run, is_trained
from twostream.files import write_json
from twostream.runs import CONFIG, check_same_config, claimed, clear_outputs, plain, watched

log = logging.getLogger(__name__)
# Warnings of Lightning come through, its hints and advertisements do not.
logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)


def do_run(cfg: DictConfig, run_dir: Path) -> None:
    """Train, then evaluate. A run that was cut off starts again; one that is trained is only evaluated.

    Raises ValueError for a config that can't work or that differs from the one in the folder.
    """
    with claimed(run_dir):
        check_same_config(run_dir, plain(cfg))
        with watched(run_dir):
            if not is_trained(run_dir):
                train(cfg, run_dir)
            if cfg.evaluate and not (run_dir / "metrics.json").is_file():
                evaluate_run(run_dir, build_scoring(cfg), choose_device(cfg.trainer.accelerator))
    log.info("%s is finished", run_dir)


def train(cfg: DictConfig, run_dir: Path) -> None:
    """Train the run from its beginning to its end."""
    check(cfg)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    data = build_datamodule(cfg)
    module = build_module(cfg)
    trainer = build_trainer(cfg)
    clear_outputs(run_dir)
    write_json(run_dir / CONFIG, plain(cfg))
    trainer.fit(module, datamodule=data)
