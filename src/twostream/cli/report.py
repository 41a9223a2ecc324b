"""`twostream-report`: the tables, figures, test pairs and curves of the existing runs in one HTML file."""

from pathlib import Path

from omegaconf import DictConfig

from twostream.cli import find_spec
from twostream.cli.table import read_tables
from twostream.extras import require
from twostream.report.figures import load_figure
from twostream.report.page import write_report


def main(cfg: DictConfig) -> None:
    """Write the report and print its path."""
    require("figures need", "figures", "matplotlib")
    figures = [load_figure(find_spec(spec)) for spec in cfg.figures]
    print(f"Report: {write_report(read_tables(cfg), figures, Path(cfg.out), cfg.max_pairs)}")
