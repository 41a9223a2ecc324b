"""One run from its config to `metrics.json`; what is there already is not done again."""

import logging
import warnings
from contextlib import ExitStack
from pathlib import Path

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from pytorch_lightning.utilities import rank_zero_only

from twostream.build import build_datamodule, build_module, build_scoring, build_trainer, check
from twostream.curves import keep_rows_until
from twostream.evaluation.generation import choose_device
from twostream.evaluation.run_evaluation import evaluate_run, is_trained
from twostream.files import write_json
from twostream.resume import find_checkpoint
from twostream.runs import CONFIG, check_same_config, clear_outputs, model_config, run_lock, track_status

log = logging.getLogger(__name__)
# Warnings of Lightning come through, its hints and advertisements do not.
logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)


def do_run(cfg: DictConfig, run_dir: Path) -> None:
    """Train, then evaluate. A run that was cut off goes on; one that is trained is only evaluated.

    All processes of a run train; the first one alone holds the folder and evaluates. Raises ValueError for a config
    that can't work or that differs from the one in the folder.
    """
    is_first = is_first_process()
    with ExitStack() as stack:
        if is_first:
            stack.enter_context(run_lock(run_dir))
        check_same_config(run_dir, model_config(cfg))
        if is_first:
            stack.enter_context(track_status(run_dir))
        if not is_trained(run_dir):
            train(cfg, run_dir)
        if is_first and cfg.evaluate and not (run_dir / "metrics.json").is_file():
            evaluate_run(run_dir, build_scoring(cfg), choose_device(cfg.trainer.accelerator))
    if is_first:
        log.info("%s is finished", run_dir)


def is_first_process() -> bool:
    """Whether this is the first of a run's processes, as torchrun, SLURM or Lightning number them."""
    return getattr(rank_zero_only, "rank", 0) == 0


def train(cfg: DictConfig, run_dir: Path) -> None:
    """Train the run to its end, from the beginning or a checkpoint. Raises TrainingInterrupted on request."""
    check(cfg)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    data = build_datamodule(cfg)
    module = build_module(cfg)
    trainer = build_trainer(cfg)
    checkpoint = find_checkpoint(run_dir, cfg.resume, module)
    if is_first_process():
        if checkpoint is None:
            clear_outputs(run_dir)
        else:
            log.info("%s goes on from iteration %d of %s", run_dir, checkpoint.iteration, checkpoint.path.name)
            keep_rows_until(run_dir / "logs" / "metrics.csv", checkpoint.iteration)
        write_json(run_dir / CONFIG, model_config(cfg))
    path = None if checkpoint is None else checkpoint.path
    trainer.fit(module, datamodule=data, ckpt_path=path, weights_only=True)
    # What follows is the work of one process, and torchmetrics would wait for the others. After an error they may not
    # answer any more.
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
