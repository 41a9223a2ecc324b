"""Record what a run is and how far it has come."""

import math
import platform
import subprocess
import time
from collections import deque
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from typing_extensions import override

from twostream.callbacks import data_of, module_of
from twostream.files import write_text
from twostream.losses.perceptual import VGG19Loss
from twostream.registry import differences_from_paper
from twostream.runs import Progress, RunState, read_run, update_run

PACKAGES = ("torch", "torchvision", "pytorch-lightning", "hydra-core", "torchmetrics", "numpy")
NUM_MARKS = 20  # writes of progress over which the speed is averaged


class RunLog(Callback):
    """Writes a run's provenance and progress to `run.json` and gives the provenance to the loggers.

    - Provenance, when training starts: data, code, package versions, hardware. If tracked files differ from the commit,
      `changes.diff` holds the difference. A resumed run adds an entry to `resumed` and keeps the rest.
    - Progress: at start and end, after each validation, and in between at most every `every_n_seconds`.

    Raises ValueError if a run is resumed on different data.
    """

    def __init__(self, run_dir: str | Path, scale: str, variant: str, seed: int, every_n_seconds: float) -> None:
        self.run_dir = Path(run_dir)
        self.names = {"scale": scale, "variant": variant, "seed": seed}
        self.every_n_seconds = every_n_seconds
        self.val_ssim: float | None = None
        self._marks: deque[tuple[float, int]] = deque(maxlen=NUM_MARKS)

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        iteration = module_of(trainer).iteration
        provenance = self._provenance(trainer)
        is_dirty = provenance["dirty"]
        before = read_run(self.run_dir, needs_progress=False) if iteration else RunState()
        if before.provenance:
            provenance = resumed(before.provenance, provenance, iteration)
        self.val_ssim = before.progress.val_ssim if before.progress else None
        if trainer.is_global_zero:
            update_run(self.run_dir, state="running", provenance=provenance)
            if is_dirty:
                write_text(self.run_dir / "changes.diff", _git("diff", "HEAD") or "")
            for logger in trainer.loggers:
                logger.log_hyperparams({"provenance": provenance})
        self._marks.clear()
        self._write_progress(trainer)

    @override
    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if time.monotonic() - self._marks[-1][0] >= self.every_n_seconds:
            self._write_progress(trainer)

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        value = float(trainer.callback_metrics.get("val/ssim", math.nan))
        self.val_ssim = value if math.isfinite(value) else None
        self._write_progress(trainer)

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write_progress(trainer)

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        # A full disk or a damaged file must not hide the exception.
        with suppress(OSError, ValueError):
            if self._marks:
                self._write_progress(trainer)

    def _write_progress(self, trainer: Trainer) -> None:
        module = module_of(trainer)
        self._marks.append((time.monotonic(), module.iteration))
        if not trainer.is_global_zero:
            return
        (start, first), (end, last) = self._marks[0], self._marks[-1]
        seconds = (end - start) / (last - first) if last > first else None
        progress = Progress(module.iteration, module.schedule.iterations, seconds, self.val_ssim, time.time())
        update_run(self.run_dir, progress=progress)

    def _provenance(self, trainer: Trainer) -> dict[str, Any]:
        data, module = data_of(trainer), module_of(trainer)
        perceptual = module.objective.perceptual
        features = getattr(perceptual, "features_name", type(perceptual).__name__)
        notes = []
        if module.objective.weights["perceptual"] and features != VGG19Loss.features_name:
            notes.append(f"perceptual loss: {features}")
        if others := ", ".join(differences_from_paper(module.hparams)):
            notes.append(f"scale {self.names['scale']}: {others}; in brackets: the paper's settings")
        manifest = data.manifest
        return {
            "data": data.name,
            "label": manifest.get("label", data.label),
            **self.names,
            "iterations": module.schedule.iterations,
            "batch_size": data.batch_size,
            "image_size": list(data.image_size),
            "precision": str(trainer.precision),
            "notes": notes + [f"{data.label}: {line}" for line in manifest.get("differences", [])],
            "data_hash": manifest["data_hash"],
            "num_train_pairs": len(data.train),
            "generator_parameters": sum(parameter.numel() for parameter in module.generator.parameters()),
            "processes": trainer.world_size,
            **environment(module.device),
            "resumed": [],
        }


def resumed(before: dict[str, Any], now: dict[str, Any], iteration: int) -> dict[str, Any]:
    """Return the provenance of a run that is resumed at an iteration. Raises ValueError if its data have changed."""
    if before["data_hash"] != now["data_hash"]:
        raise ValueError(
            f"the run was started on data with hash {before['data_hash']} and can't be resumed on data with hash "
            f"{now['data_hash']}"
        )
    entry = {key: now[key] for key in ("processes", "commit", "dirty", "versions", "hardware", "precision")}
    return before | {"resumed": [*before["resumed"], {"iteration": iteration, **entry}]}


def code_version() -> dict[str, str | bool]:
    """Return the commit of the code, `unknown` outside a git repository, and whether tracked files differ from it."""
    changes = _git("status", "--porcelain", "--untracked-files=no")
    return {"commit": _git("rev-parse", "--short=12", "HEAD") or "unknown", "dirty": bool(changes)}


def environment(device: torch.device) -> dict[str, Any]:
    """Return the version of the code, those of packages, and the name of a GPU or a CPU's architecture and threads."""
    versions = {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
    if device.type == "cuda":
        hardware = torch.cuda.get_device_name(device)
    else:
        hardware = f"{device.type}, {platform.machine()}, {torch.get_num_threads()} threads"
    return {**code_version(), "versions": versions, "hardware": hardware}


def _git(*words: str) -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), *words]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
