"""`twostream-figure`: figures of test pairs from the runs that are there."""

from pathlib import Path

from omegaconf import DictConfig

from twostream.cli import find_spec
from twostream.extras import require
from twostream.report.figures import load_figure


def main(cfg: DictConfig) -> None:
    """Draw each figure as PNG and PDF and print their paths."""
    require("figures need", "figures", "matplotlib")
    for spec in [load_figure(find_spec(spec)) for spec in cfg.specs]:
        for path in spec.make(Path(cfg.runs), cfg.seed, Path(cfg.out)):
            print(path)
