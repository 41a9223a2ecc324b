"""`twostream-evaluate`: generate and score the test pairs, or the validation pairs, of a finished run."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from twostream.build import build_scoring, choose_device
from twostream.evaluation.run_evaluation import evaluate_run
from twostream.runs import read_run, results_folder, run_lock, update_run


def main(cfg: DictConfig) -> None:
    """Evaluate the run in the folder `cfg.run` and print its values."""
    run_dir = Path(cfg.run)
    if not run_dir.is_dir():
        raise ValueError(f"run: expected the folder of a run, folder not found: {run_dir}")
    with run_lock(run_dir):
        scoring, device = build_scoring(cfg), choose_device(cfg.device)
        print_scores(evaluate_run(run_dir, scoring, device, cfg.split, cfg.num_sources))
        if read_run(run_dir, needs_progress=False).state != "done":  # a training that ended in its own evaluation
            update_run(run_dir, state="done", reason=None)
    print(results_folder(run_dir, cfg.split, cfg.num_sources) / "metrics.json")


def print_scores(content: dict[str, Any]) -> None:
    """Print values with their 95 % intervals, and the deviation of an Inception Score over its splits."""
    for entry in content["values"]:
        interval = "[{:.4f}, {:.4f}]".format(*entry["interval"]) if entry["interval"] else ""
        name = f"{entry['metric']} ({entry['protocol']})"
        splits = f", {entry['splits_std']:.4f} over {entry['splits']} splits" if "splits_std" in entry else ""
        print(f"{name:>36}: {entry['value']:9.4f} {interval:>20}  n = {entry['n']}{splits}")
