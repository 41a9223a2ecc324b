"""`twostream-status`: the state of the runs of a sweep."""

import time
from pathlib import Path

from omegaconf import DictConfig

from twostream.cli.errors import command
from twostream.sweep_status import collect_status, render_status


@command("status")
def main(cfg: DictConfig) -> None:
    """Print one line per run of the folder `cfg.runs`, and one for all of them."""
    runs = collect_status(Path(cfg.runs), list(cfg.ablations), list(cfg.seeds), time.time())
    if not cfg.unless_done or any(run.state != "done" for run in runs.values()):
        print(render_status(runs))
