"""`twostream-train`: train one run, or a sweep of them with `-m`, and evaluate what is trained."""

import logging
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from twostream.cli import CONF
from twostream.cli.errors import reported
from twostream.cli.jobs import end_with_parent, quote_numbered_options, register_resolvers, run_in_own_process
from twostream.runs import check_same_config, plain

log = logging.getLogger(__name__)


@hydra.main(version_base="1.3", config_path=CONF, config_name="train")
def run(cfg: DictConfig) -> None:
    """Do the run that the config describes, or what it still lacks."""
    run_dir = Path(HydraConfig.get().runtime.output_dir)
    if HydraConfig.get().mode is not RunMode.MULTIRUN:
        with reported(log):
            # Imported here: the process that only starts the jobs of a sweep needs none of it.
            from twostream.cli.one_run import do_run

            do_run(cfg, run_dir)
    elif (run_dir / "metrics.json").is_file():
        check_same_config(run_dir, plain(cfg))
        log.info("%s is finished", run_dir)
    else:
        run_in_own_process(HydraConfig.get().overrides.task, run_dir)


def main() -> None:
    """Run the command."""
    end_with_parent()
    register_resolvers()
    sys.argv[1:] = quote_numbered_options(sys.argv[1:])
    run()


if __name__ == "__main__":
    main()
