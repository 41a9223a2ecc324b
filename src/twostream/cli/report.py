"""`twostream-report`: the tables, figures, test pairs and curves of the existing runs in one HTML file."""

from pathlib import Path

from omegaconf import DictConfig

from twostream.cli import find_spec, split_runs_folder
from twostream.extras import require
from twostream.report.figures import load_figure
from twostream.report.page import write_report
from twostream.tables.spec import load_spec


def main(cfg: DictConfig) -> None:
    """Write the report and print its path."""
    require("figures need", "figures", "matplotlib")
    specs = [load_spec(find_spec(spec)) for spec in cfg.specs]
    figures = [load_figure(find_spec(spec)) for spec in cfg.figures]
    place = split_runs_folder(Path(cfg.runs))
    print(f"Report: {write_report(specs, figures, *place, list(cfg.seeds), Path(cfg.out), cfg.max_pairs)}")
