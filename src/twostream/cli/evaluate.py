"""`twostream-evaluate`: generate and score the test pairs of a finished run."""

import logging
from pathlib import Path

import hydra
from omegaconf import DictConfig

from twostream.cli import CONF
from twostream.cli.errors import reported
from twostream.evaluation.evaluate import choose_device, evaluate_run
from twostream.runs import claimed

log = logging.getLogger(__name__)


@hydra.main(version_base="1.3", config_path=CONF, config_name="evaluate")
def main(cfg: DictConfig) -> None:
    """Evaluate the run in the folder `cfg.run` and print its values."""
    run_dir = Path(cfg.run)
    with reported(log), claimed(run_dir):
        metrics = evaluate_run(run_dir, choose_device(cfg.device), cfg.batch_size)
        for entry in metrics["values"]:
            print(f"{entry['metric']:>10} ({entry['protocol']}): {entry['value']:.4f}  n = {entry['n']}")
        print(run_dir / "metrics.json")
