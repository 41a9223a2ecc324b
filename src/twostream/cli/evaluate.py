"""`twostream-evaluate`: generate and score the test pairs of a finished run."""

import logging
from pathlib import Path

import hydra
from omegaconf import DictConfig

from twostream.build import build_scoring
from twostream.cli import CONF
from twostream.cli.errors import reported
from twostream.cli.report import print_scores
from twostream.evaluation.evaluate import choose_device, evaluate_run
from twostream.runs import claimed

log = logging.getLogger(__name__)


@hydra.main(version_base="1.3", config_path=CONF, config_name="evaluate")
def main(cfg: DictConfig) -> None:
    """Evaluate the run in the folder `cfg.run` and print its values."""
    run_dir = Path(cfg.run)
    with reported(log), claimed(run_dir):
        metrics = evaluate_run(run_dir, build_scoring(cfg), choose_device(cfg.device))
        print_scores(metrics)
        print(run_dir / "metrics.json")
