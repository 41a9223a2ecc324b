"""Sample pictures while training."""

from pathlib import Path

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from twostream.data.datamodule import PairDataModule
from twostream.data.dataset import to_pose_pair, to_uint8
from twostream.data.visualize import sample_grid
from twostream.files import atomic_write


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
        pair = to_pose_pair(batch.to(pl_module.device), data.heatmaps)
        generated = to_uint8(pl_module(pair).float()).cpu()
        path = self.folder / f"{trainer.global_step:06d}.png"
        with atomic_write(path) as temporary:
            sample_grid(batch.to(torch.device("cpu")), generated).save(temporary)
        for logger in trainer.loggers:
            if hasattr(logger, "log_image"):
                logger.log_image("samples", [str(path)], step=trainer.global_step)
