"""`twostream-benchmark`: speeds on this machine, measured side by side."""

import logging
import platform
from importlib.metadata import version
from pathlib import Path

import hydra
import pytorch_lightning as pl
from omegaconf import DictConfig

from twostream.benchmark.loader import as_markdown, measure_loader
from twostream.callbacks.record import PACKAGES, code_version, hardware
from twostream.cli import CONF
from twostream.cli.errors import reported
from twostream.evaluation.evaluate import choose_device
from twostream.files import write_json, write_text

log = logging.getLogger(__name__)


@hydra.main(version_base="1.3", config_path=CONF, config_name="benchmark")
def main(cfg: DictConfig) -> None:
    """Measure, print the table and write it to `cfg.out`."""
    with reported(log):
        device = choose_device(cfg.device)
        pl.seed_everything(cfg.seed, workers=True, verbose=False)
        results = measure_loader(cfg, device)
        about = {
            "data": cfg.data.name,
            "label": cfg.data.label,
            "image_size": list(cfg.data.image_size),
            "rounds": cfg.rounds,
            **code_version(),
            "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
            "hardware": hardware(device),
        }
        height, width = cfg.data.image_size
        head = f"{cfg.data.label}, {height}x{width}; {about['hardware']}; commit {about['commit']}; median of "
        text = f"{head}{cfg.rounds} rounds [quartiles]\n\n{as_markdown(results)}\n"
        out = Path(cfg.out)
        write_json(out / "loader.json", about | results)
        write_text(out / "loader.md", text)
        print(text)
        print(out / "loader.md")
