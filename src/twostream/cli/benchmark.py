"""`twostream-benchmark`: throughput, memory and loss curves on this machine, measured in one run."""

import logging
from pathlib import Path

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig

from twostream.benchmark import curves, output, profiles, startup, throughput
from twostream.build import choose_device
from twostream.callbacks.run_log import environment
from twostream.extras import require
from twostream.files import write_json, write_text

log = logging.getLogger(__name__)

PARTS = {
    "inference": (throughput.measure_inference, output.plot_inference),
    "training": (throughput.measure_training, output.plot_training),
    "networks": (throughput.measure_networks, None),
    "scaling": (throughput.measure_scaling, output.plot_scaling),
    "curves": (curves.measure_curves, output.plot_curves),
    "loader": (throughput.measure_loader, None),
    "startup": (startup.measure_startup, None),
    "profile": (profiles.measure_profile, None),
}


def main(cfg: DictConfig) -> None:
    """Measure `cfg.parts`, print their tables and write them to a folder of the device type in `cfg.out`."""
    if unknown := set(cfg.parts) - PARTS.keys():
        raise ValueError(f"parts: expected some of {', '.join(PARTS)}, got {', '.join(sorted(unknown))}")
    require("the plots need", "figures", "matplotlib")
    device = choose_device(cfg.device)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    about = environment(device) | {"optimized": list(cfg.optimized[device.type])}
    for number, part in enumerate(cfg.parts, start=1):
        log.info("%s (%d of %d)", part, number, len(cfg.parts))
        # The number of compiled versions of a network is limited.
        torch.compiler.reset()
        measure, plot = PARTS[part]
        results = about | measure(cfg, device)
        path = Path(cfg.out) / device.type / f"{part}.md"
        write_json(path.with_suffix(".json"), results)
        write_text(path, output.to_markdown(results))
        if plot:
            output.save_png(plot, results, path.with_suffix(".png"))
        print(output.to_markdown(results), path, "", sep="\n")
