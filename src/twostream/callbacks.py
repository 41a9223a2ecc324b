"""What a run leaves behind while it trains: its record, checkpoints and sample pictures."""

import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import TQDMProgressBar
from pytorch_lightning.callbacks.progress.tqdm_progress import Tqdm

from twostream.data.datamodule import PairDataModule
from twostream.data.dataset import to_pose_pair, to_uint8
from twostream.data.drawing import sample_grid
from twostream.files import whole_file, write_json
from twostream.losses.perceptual import VGG19Loss
from twostream.module import TwoStreamModule

PACKAGES = ("torch", "torchvision", "pytorch-lightning", "hydra-core", "torchmetrics", "numpy")


class IterationBar(TQDMProgressBar):
    """Lightning's bar, which here runs over the iterations of the whole run."""

    def __init__(self) -> None:
        # Into a file every refresh is a line.
        super().__init__(refresh_rate=10 if sys.stdout.isatty() else 200)

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        """Name the bar by what it counts."""
        super().on_train_epoch_start(trainer, *_)
        self.train_progress_bar.set_description("Iterations")

    def init_validation_tqdm(self) -> Tqdm:
        """Show no second bar for the short validations."""
        return Tqdm(disable=True)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Leave out the loggers' version, which a run folder does not have."""
        metrics = super().get_metrics(trainer, pl_module)
        return {name.removeprefix("train/"): value for name, value in metrics.items() if name != "v_num"}


class RunRecord(Callback):
    """Writes `record.json` when training starts: what the run is, on which data, code and machine.

    Args:
        run_dir: folder of the run.
        scale: name of its scale.
        variant: name of its ablation, with further overrides.
        seed: of the run.

    """

    def __init__(self, run_dir: str | Path, scale: str, variant: str, seed: int) -> None:
        self.path = Path(run_dir) / "record.json"
        self.names = {"scale": scale, "variant": variant, "seed": seed}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
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
            **code_version(),
            "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
            "hardware": hardware(pl_module.device),
        }
        if trainer.is_global_zero:
            write_json(self.path, record)


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


class Checkpoints(Callback):
    """Writes `checkpoints/last.ckpt` every so many iterations and at the end, whole or not at all."""

    def __init__(self, run_dir: str | Path, every_n_iterations: int) -> None:
        self.path = Path(run_dir) / "checkpoints" / "last.ckpt"
        self.every_n_iterations = every_n_iterations

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Save when it is time."""
        if trainer.global_step % self.every_n_iterations == 0:
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the end of the run."""
        self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        with whole_file(self.path) as temporary:
            trainer.save_checkpoint(temporary)


class SampleGrid(Callback):
    """Draws validation pairs to `samples/<iteration>.png` after each validation.

    A row holds source, source pose, target pose, true target and generated target. The pairs are always the same.
    """

    def __init__(self, run_dir: str | Path, num_pairs: int) -> None:
        self.folder = Path(run_dir) / "samples"
        self.num_pairs = num_pairs

    @torch.no_grad()
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Generate the pairs' pictures and write the grid."""
        if not trainer.is_global_zero:
            return
        data: PairDataModule = trainer.datamodule  # type: ignore[attr-defined]
        count = min(self.num_pairs, len(data.val))
        batch = data.val.batch([i * len(data.val) // count for i in range(count)])
        pair = to_pose_pair(batch.to(pl_module.device), data.heatmap_sigma)
        generated = to_uint8(pl_module(pair).float()).cpu()
        path = self.folder / f"{trainer.global_step:06d}.png"
        with whole_file(path) as temporary:
            sample_grid(batch, generated).save(temporary)
        for logger in trainer.loggers:
            if hasattr(logger, "log_image"):
                logger.log_image("samples", [str(path)], step=trainer.global_step)
