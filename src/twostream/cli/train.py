"""`twostream-train`: train and evaluate one run, or a sweep of runs with `-m`."""

import logging
import sys
import warnings
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from twostream.cli import CONF
from twostream.cli.errors import exit_on_error
from twostream.cli.jobs import quote_numbered_options
from twostream.cli.processes import end_with_parent, run_job

log = logging.getLogger(__name__)


@hydra.main(version_base="1.3", config_path=CONF, config_name="train")
def run(cfg: DictConfig) -> float | None:
    """Train and evaluate the run that the config describes; with `-m`, in a process per run.

    For a search to maximize, each run of a sweep returns the SSIM of its last validation, None if it had none.
    """
    run_dir = Path(HydraConfig.get().runtime.output_dir)
    if HydraConfig.get().mode is RunMode.MULTIRUN:
        return run_job(cfg, HydraConfig.get().overrides.task, run_dir)
    with exit_on_error(log):
        # PyTorch takes seconds to import and is not needed to start the jobs of a sweep.
        from twostream.training import train_and_evaluate

        train_and_evaluate(cfg, run_dir)
    return None


def main() -> None:
    """Run the command."""
    warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)
    end_with_parent()
    sys.argv[1:] = quote_numbered_options(sys.argv[1:])
    run()


if __name__ == "__main__":
    main()
