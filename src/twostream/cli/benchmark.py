"""`twostream-benchmark`: speeds on this machine, measured side by side."""

import logging
import platform
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import hydra
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig

from twostream.benchmark import curves, growth, inference, loader, plots, profiles, training
from twostream.callbacks.record import PACKAGES, code_version, hardware
from twostream.cli import CONF
from twostream.cli.errors import exit_on_error
from twostream.evaluation.generation import choose_device
from twostream.files import write_json, write_text

log = logging.getLogger(__name__)

PARTS = {
    "inference": (inference.measure_inference, inference.as_markdown, plots.draw_inference),
    "training": (training.measure_training, training.as_markdown, plots.draw_training),
    "growth": (growth.measure_growth, growth.as_markdown, plots.draw_growth),
    "curves": (curves.measure_curves, curves.as_markdown, plots.draw_curves),
    "loader": (loader.measure_loader, loader.as_markdown, None),
    "profile": (profiles.measure_profile, profiles.as_markdown, None),
}


@hydra.main(version_base="1.3", config_path=CONF, config_name="benchmark")
def main(cfg: DictConfig) -> None:
    """Measure the parts `cfg.parts`, print their tables and write them to the device's kind in `cfg.out`."""
    with exit_on_error(log):
        if unknown := set(cfg.parts) - PARTS.keys():
            raise ValueError(f"parts: expected some of {', '.join(PARTS)}, got {', '.join(sorted(unknown))}")
        if find_spec("matplotlib") is None:
            raise ImportError("the plots need the package matplotlib: pip install 'twostream[bench]'")
        device = choose_device(cfg.device)
        pl.seed_everything(cfg.seed, workers=True, verbose=False)
        about = {
            **code_version(),
            "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
            "hardware": hardware(device),
        }
        head = f"{about['hardware']}; torch {version('torch')}; commit {about['commit']}"
        folder = Path(cfg.out) / device.type
        for number, part in enumerate(cfg.parts, start=1):
            log.info("%s (%d of %d)", part, number, len(cfg.parts))
            # There is a limit to the versions of a network that are compiled.
            torch.compiler.reset()
            measure, as_markdown, draw = PARTS[part]
            results = about | measure(cfg, device)
            rounds = f"; median of {results['rounds']} rounds [quartiles]" if "rounds" in results else ""
            text = f"{head}{rounds}\n\n{as_markdown(results)}\n"
            write_json(folder / f"{part}.json", results)
            write_text(folder / f"{part}.md", text)
            if draw:
                draw(results, folder / f"{part}.png")
            print(text)
            print(folder / f"{part}.md", end="\n\n")
