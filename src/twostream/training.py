"""Train and evaluate one run; what is complete in its directory is skipped."""

import logging
from pathlib import Path

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from pytorch_lightning.utilities import rank_zero_only

from twostream.build import build_datamodule, build_module, build_scoring, build_trainer, check, choose_device
from twostream.evaluation.run_evaluation import evaluate_run, is_trained
from twostream.files import write_json
from twostream.loggers.curve_csv import keep_rows_until
from twostream.registry import model_config
from twostream.resume import find_checkpoint
from twostream.runs import CONFIG, check_same_config, clear_outputs, run_lock, track_status

log = logging.getLogger(__name__)


def train_and_evaluate(cfg: DictConfig, run_dir: Path) -> None:
    """Train, then evaluate.

    All ranks train; rank 0 alone locks the directory and evaluates. Raises ValueError for an invalid config or one that
    differs from the directory's.
    """
    if not is_rank_zero():
        check_same_config(run_dir, model_config(cfg))
        if not is_trained(run_dir):
            train(cfg, run_dir)
        return
    with run_lock(run_dir):
        check_same_config(run_dir, model_config(cfg))
        with track_status(run_dir):
            if not is_trained(run_dir):
                train(cfg, run_dir)
            if cfg.evaluate and not (run_dir / "metrics.json").is_file():
                evaluate_run(run_dir, build_scoring(cfg), choose_device(cfg.trainer.accelerator))
    log.info("%s is finished", run_dir)


def train(cfg: DictConfig, run_dir: Path) -> None:
    """Train the run from its last checkpoint, or from the start. Raises TrainingInterrupted on request."""
    # Lightning's warnings are shown, its hints are not; its import sets the level.
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    check(cfg)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    data = build_datamodule(cfg)
    module = build_module(cfg)
    trainer = build_trainer(cfg)
    checkpoint = find_checkpoint(run_dir, cfg.resume, module)
    if is_rank_zero():
        if checkpoint is None:
            clear_outputs(run_dir)
        else:
            log.info("%s resumes from iteration %d of %s", run_dir, checkpoint.iteration, checkpoint.path.name)
            keep_rows_until(run_dir / "logs" / "metrics.csv", checkpoint.iteration)
        write_json(run_dir / CONFIG, model_config(cfg))
    path = None if checkpoint is None else checkpoint.path
    trainer.fit(module, datamodule=data, ckpt_path=path, weights_only=True)
    # Rank 0 continues alone. torchmetrics would wait for the other ranks, which after an error may not respond.
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def is_rank_zero() -> bool:
    """Whether this is rank 0, as numbered by torchrun, SLURM or Lightning."""
    return getattr(rank_zero_only, "rank", 0) == 0
