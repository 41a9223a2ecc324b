"""`twostream-train`: train one run, or a sweep of them with `-m`, and evaluate what is trained."""

import logging
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from twostream.cli import CONF
from twostream.cli.errors import exit_on_error
from twostream.cli.jobs import quote_numbered_options
from twostream.cli.processes import end_with_parent, run_in_own_process
from twostream.runs import check_same_config, is_finished, model_config, read_progress

log = logging.getLogger(__name__)


@hydra.main(version_base="1.3", config_path=CONF, config_name="train")
def run(cfg: DictConfig) -> float | None:
    """Do the run that the config describes, or what it still lacks.

    As a job of a sweep it returns the SSIM of the last validation, None without one, for a search to maximize.
    """
    run_dir = Path(HydraConfig.get().runtime.output_dir)
    if HydraConfig.get().mode is not RunMode.MULTIRUN:
        with exit_on_error(log):
            # Imported here: the process that only starts the jobs of a sweep needs none of it.
            from twostream.cli.one_run import do_run

            do_run(cfg, run_dir)
        return None
    end_with_parent()
    if is_finished(run_dir, cfg.evaluate):
        check_same_config(run_dir, model_config(cfg))
        log.info("%s is finished", run_dir)
    else:
        run_in_own_process(HydraConfig.get().overrides.task, run_dir, cfg.trainer.devices)
    progress = read_progress(run_dir)
    return progress.val_ssim if progress else None


def main() -> None:
    """Run the command."""
    end_with_parent()
    sys.argv[1:] = quote_numbered_options(sys.argv[1:])
    run()


if __name__ == "__main__":
    main()
