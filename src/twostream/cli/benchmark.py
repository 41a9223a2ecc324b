"""`twostream-benchmark`: speeds on this machine, measured side by side."""

import logging
import platform
from importlib.metadata import version
from pathlib import Path

import hydra
import pytorch_lightning as pl
from omegaconf import DictConfig

from twostream.benchmark import inference, loader
from twostream.callbacks.record import PACKAGES, code_version, hardware
from twostream.cli import CONF
from twostream.cli.errors import reported
from twostream.evaluation.evaluate import choose_device
from twostream.files import write_json, write_text

log = logging.getLogger(__name__)

PARTS = {
    "inference": (inference.measure_inference, inference.as_markdown),
    "loader": (loader.measure_loader, loader.as_markdown),
}


@hydra.main(version_base="1.3", config_path=CONF, config_name="benchmark")
def main(cfg: DictConfig) -> None:
    """Measure the parts `cfg.parts`, print their tables and write them to `cfg.out`."""
    with reported(log):
        if unknown := set(cfg.parts) - PARTS.keys():
            raise ValueError(f"parts: expected some of {', '.join(PARTS)}, got {', '.join(sorted(unknown))}")
        device = choose_device(cfg.device)
        pl.seed_everything(cfg.seed, workers=True, verbose=False)
        about = {
            "rounds": cfg.rounds,
            **code_version(),
            "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
            "hardware": hardware(device),
        }
        head = f"{about['hardware']}; commit {about['commit']}; median of {cfg.rounds} rounds [quartiles]"
        for part in cfg.parts:
            measure, as_markdown = PARTS[part]
            results = measure(cfg, device)
            text = f"{head}\n\n{as_markdown(results)}\n"
            write_json(Path(cfg.out) / f"{part}.json", about | results)
            write_text(Path(cfg.out) / f"{part}.md", text)
            print(text)
            print(Path(cfg.out) / f"{part}.md", end="\n\n")
