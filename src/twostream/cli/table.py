"""`twostream-table`: the paper's tables from the runs that are there."""

from pathlib import Path

from omegaconf import DictConfig

from twostream.cli import find_spec, split_runs_folder
from twostream.tables.render import write_tables


def main(cfg: DictConfig) -> None:
    """Write the tables as Markdown, CSV and LaTeX and print them in short form."""
    specs = [find_spec(spec) for spec in cfg.specs]
    print(write_tables(specs, *split_runs_folder(Path(cfg.runs)), list(cfg.seeds), Path(cfg.out), cfg.split))
