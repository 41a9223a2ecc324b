"""The record of what a run is."""

import json
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from twostream.data.datamodule import PairDataModule
from twostream.files import write_json, write_text
from twostream.losses.perceptual import VGG19Loss
from twostream.module import TwoStreamModule

PACKAGES = ("torch", "torchvision", "pytorch-lightning", "hydra-core", "torchmetrics", "numpy")


class RunRecord(Callback):
    """Writes `record.json` when training starts: what the run is, on which data, code and machine.

    Where tracked files differ from the commit, `changes.diff` says how. A run that goes on keeps its record and adds
    from which iteration, with which code and where, under `continued`.

    Args:
        run_dir: folder of the run.
        scale: name of its scale.
        variant: name of its ablation, with further overrides.
        seed: of the run.

    Raises ValueError where a run would go on with other data.

    """

    def __init__(self, run_dir: str | Path, scale: str, variant: str, seed: int) -> None:
        self.path = Path(run_dir) / "record.json"
        self.diff = Path(run_dir) / "changes.diff"
        self.names = {"scale": scale, "variant": variant, "seed": seed}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the record from the first process."""
        data: PairDataModule = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(pl_module, TwoStreamModule)
        perceptual = pl_module.objective.perceptual
        notes = [] if isinstance(perceptual, VGG19Loss) else [f"perceptual loss: {perceptual.features_name}"]
        record = {
            "data": data.name,
            "label": data.label,
            **self.names,
            "iterations": trainer.max_steps,
            "batch_size": data.batch_size,
            "image_size": list(data.image_size),
            "precision": str(trainer.precision),
            "notes": notes,
            "data_hash": data.data_hash,
            "num_train_pairs": len(data.train),
            "generator_parameters": sum(parameter.numel() for parameter in pl_module.generator.parameters()),
            "processes": trainer.world_size,
            **code_version(),
            "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
            "hardware": hardware(pl_module.device),
            "continued": [],
        }
        if trainer.global_step and self.path.is_file():
            record = go_on(json.loads(self.path.read_text(encoding="utf-8")), record, trainer.global_step)
        if trainer.is_global_zero:
            write_json(self.path, record)
            if record["dirty"]:
                write_text(self.diff, _git("diff", "HEAD") or "")


def go_on(before: dict[str, Any], now: dict[str, Any], iteration: int) -> dict[str, Any]:
    """Return the record of a run that goes on at an iteration. Raises ValueError where its data have changed."""
    if before["data_hash"] != now["data_hash"]:
        raise ValueError(
            f"the run began on data of hash {before['data_hash']} and can't go on with data of {now['data_hash']}"
        )
    part = {key: now[key] for key in ("processes", "commit", "dirty", "versions", "hardware", "precision")}
    return before | {"continued": [*before["continued"], {"iteration": iteration, **part}]}


def code_version() -> dict[str, str | bool]:
    """Return the commit of the code, `unknown` where git does not know it, and whether tracked files differ from it."""
    changes = _git("status", "--porcelain", "--untracked-files=no")
    return {"commit": _git("rev-parse", "--short=12", "HEAD") or "unknown", "dirty": bool(changes)}


def _git(*words: str) -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), *words]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def hardware(device: torch.device) -> str:
    """Name the device that trains."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {platform.machine()}, {torch.get_num_threads()} threads"
