"""`twostream-table`: the paper's tables from the runs that are there."""

from pathlib import Path

from omegaconf import DictConfig

from twostream.cli import find_spec
from twostream.tables.render import write_tables
from twostream.tables.results import Results, collect_all
from twostream.tables.spec import check


def main(cfg: DictConfig) -> None:
    """Write the tables as Markdown, CSV and LaTeX and print them in short form."""
    print(write_tables(read_tables(cfg), Path(cfg.out)))


def read_tables(cfg: DictConfig) -> list[Results]:
    """Read the results of the tables in a config. Raises ValueError for a wrong spec or file, and a wrong seed."""
    folder = Path(cfg.runs)
    check(len(folder.parts) > 1, "runs", "a folder such as runs/synthetic/smoke", folder)
    specs = [find_spec(path) for path in cfg.specs]
    return collect_all(specs, folder, list(cfg.seeds), cfg.get("split", "test"))
