"""`twostream-status`: the state of the runs of a sweep."""

import logging
import time
from pathlib import Path

import hydra
from omegaconf import DictConfig

from twostream.cli import CONF
from twostream.cli.errors import exit_on_error
from twostream.sweep_status import collect_status, render_status

log = logging.getLogger(__name__)


@hydra.main(version_base="1.3", config_path=CONF, config_name="status")
def main(cfg: DictConfig) -> None:
    """Print one line per run of the folder `cfg.runs`, and one for all of them."""
    with exit_on_error(log):
        runs = collect_status(Path(cfg.runs), list(cfg.ablations), list(cfg.seeds), time.time())
        if not cfg.unless_done or any(run.state != "done" for run in runs.values()):
            print(render_status(runs))
