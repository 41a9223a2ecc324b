"""`twostream-table`: the paper's tables from the runs that are there."""

import logging
from pathlib import Path

import hydra
from omegaconf import DictConfig

from twostream.cli import CONF, split_runs_folder
from twostream.cli.errors import exit_on_error
from twostream.tables.render import write_tables

log = logging.getLogger(__name__)


@hydra.main(version_base="1.3", config_path=CONF, config_name="table")
def main(cfg: DictConfig) -> None:
    """Write the tables as Markdown, CSV and LaTeX and print them in short form."""
    with exit_on_error(log):
        specs = [Path(spec) for spec in cfg.specs]
        print(write_tables(specs, *split_runs_folder(Path(cfg.runs)), list(cfg.seeds), Path(cfg.out)))
