"""`twostream-train`: train and evaluate one run, or a sweep of runs with `-m`."""

import logging
import sys
import warnings
from pathlib import Path
from typing import IO

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from typing_extensions import override

from twostream.cli import CONF
from twostream.cli.errors import exit_on_error, exit_on_signal
from twostream.cli.jobs import check_overrides, quote_numbered_options, require_packages
from twostream.cli.options import check_options
from twostream.cli.processes import end_with_parent, run_job, stop_jobs, tell_sweep
from twostream.files import open_log, write_json
from twostream.registry import model_config
from twostream.runs import CONFIG, check_same_config, clear_outputs, run_lock, track_status

log = logging.getLogger(__name__)

# PyTorch takes seconds to import and is not needed to start the jobs of a sweep, so the functions import it.


@hydra.main(version_base="1.3", config_path=CONF, config_name="train")
def run(cfg: DictConfig) -> float | None:
    """Train and evaluate the run that the config describes; with `-m`, in a process per run.

    For a search to maximize, each run of a sweep returns the SSIM of its last validation, None if it had none.
    """
    run_dir = Path(HydraConfig.get().runtime.output_dir)
    if HydraConfig.get().mode is RunMode.MULTIRUN:
        return run_job(cfg, HydraConfig.get().overrides.task, run_dir)
    with exit_on_error(log):
        tell_sweep()
        log_to(run_dir / f"{HydraConfig.get().job.name}.log")
        check_options("train", cfg)
        train_and_evaluate(cfg, run_dir)
    return None


class LogFile(logging.StreamHandler[IO[str]]):
    """Writes what is logged to a file; what a full disk has no room for is on the terminal alone."""

    @override
    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def log_to(path: Path) -> None:
    """Append what is logged to a file too, in the format of the terminal. Raises OSError if it is a link."""
    handler = LogFile(open_log(path, "a"))
    handler.setFormatter(logging.getLogger().handlers[0].formatter)
    logging.getLogger().addHandler(handler)


def train_and_evaluate(cfg: DictConfig, run_dir: Path) -> None:
    """Train, then evaluate; what is complete in the run's folder is skipped.

    All ranks train; rank 0 alone locks the folder and evaluates. Raises ValueError for an invalid config or one that
    differs from the folder's.
    """
    from twostream.build import build_scoring, evaluation_device
    from twostream.evaluation.run_evaluation import evaluate_run, is_trained

    if not is_rank_zero():
        check_same_config(run_dir, model_config(cfg))
        if not is_trained(run_dir):
            train(cfg, run_dir)
        return
    with run_lock(run_dir):
        check_same_config(run_dir, model_config(cfg))
        with track_status(run_dir):
            scoring = build_scoring(cfg)  # what is wrong there is said before the training, not after it
            if not is_trained(run_dir):
                train(cfg, run_dir)
            if cfg.evaluate and not (run_dir / "metrics.json").is_file():
                evaluate_run(run_dir, scoring, evaluation_device(cfg.trainer))
    log.info("%s is finished", run_dir)


def train(cfg: DictConfig, run_dir: Path) -> None:
    """Train the run from its last checkpoint, or from the start. Raises Interrupted on a stop signal."""
    import pytorch_lightning as pl
    import torch
    from pytorch_lightning.utilities.exceptions import MisconfigurationException

    # Lightning's warnings are shown, its hints are not; its import sets the level.
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    from twostream.build import build_datamodule, build_module, build_trainer, check
    from twostream.loggers.curve_csv import keep_rows_until
    from twostream.resume import find_checkpoint
    from twostream.strategies import name_lost_rank

    check(cfg)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    data = build_datamodule(cfg)
    module = build_module(cfg)
    trainer = build_trainer(cfg)
    checkpoint = find_checkpoint(run_dir, str(cfg.resume), module, trainer)
    if is_rank_zero():
        if checkpoint is None:
            clear_outputs(run_dir)
        else:
            log.info("%s resumes from iteration %d of %s", run_dir, checkpoint.iteration, checkpoint.path.name)
            keep_rows_until(run_dir / "logs" / "metrics.csv", checkpoint.iteration)
            (run_dir / "metrics.json").unlink(missing_ok=True)  # of weights that are trained again
        write_json(run_dir / CONFIG, model_config(cfg))
    path = None if checkpoint is None else checkpoint.path
    try:
        trainer.fit(module, datamodule=data, ckpt_path=path, weights_only=True)
    except Exception as error:
        name_lost_rank(trainer.strategy, error)
        if isinstance(error, MisconfigurationException):
            text = " ".join(str(error).split())
            raise ValueError(f"trainer: expected settings of a GAN's training: {text}") from error
        raise
    # Rank 0 continues alone. torchmetrics would wait for the other ranks, which after an error may not respond.
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def is_rank_zero() -> bool:
    """Return whether this is rank 0, as numbered by torchrun, SLURM or Lightning."""
    from pytorch_lightning.utilities import rank_zero_only

    return getattr(rank_zero_only, "rank", 0) == 0


@exit_on_signal("train", before=stop_jobs)
def main() -> None:
    """Run the command."""
    warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)
    end_with_parent()
    with exit_on_error(log):
        require_packages(sys.argv[1:])
        check_overrides(sys.argv[1:])
        sys.argv[1:] = quote_numbered_options(sys.argv[1:])
        run()


if __name__ == "__main__":
    main()
