"""`twostream-status`: the state of the runs of a sweep."""

import sys
import time
from contextlib import suppress
from pathlib import Path

from omegaconf import DictConfig

from twostream.runs import RunState
from twostream.signals import Interrupted
from twostream.sweep_status import collect_status, live_view, render_status

ENDED = ("done", "failed", "stopped", "unreadable")
INTERVAL = 2.0  # seconds between two looks


def main(cfg: DictConfig) -> None:
    """Print one line per run of the folder `cfg.runs`, and one for all of them; or show them until all have ended."""
    if cfg.watch and sys.stdout.isatty():
        watch(cfg)
    else:
        runs = collect(cfg)
        if not cfg.unless_done or any(run.state != "done" for run in runs.values()):
            print(render_status(runs))
    if (report := Path(cfg.runs, "report.html")).is_file() and not cfg.unless_done:
        print(f"Report: {report}")


def collect(cfg: DictConfig) -> dict[str, RunState]:
    """Return the state of each run now."""
    return collect_status(Path(cfg.runs), list(cfg.ablations), list(cfg.seeds), time.time())


def watch(cfg: DictConfig) -> None:
    """Show the runs with bars, their last losses and samples, until all have ended or on Ctrl-C."""
    from rich.live import Live

    with Live(auto_refresh=False) as live, suppress(Interrupted):
        while True:
            runs = collect(cfg)
            live.update(live_view(runs, Path(cfg.runs)), refresh=True)
            if all(run.state in ENDED for run in runs.values()):
                return
            time.sleep(INTERVAL)
