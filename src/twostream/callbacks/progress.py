"""How far the run has come, for whoever watches from outside."""

import math
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from twostream.progress import Progress, read_progress, write_progress

NUM_MARKS = 20
"""The pace is the mean over the time of so many writings."""


class ProgressFile(Callback):
    """Writes `progress.json` (twostream.progress) from the first process.

    It does so at start and end and after each validation, between them at most every so many seconds.

    Args:
        run_dir: folder of the run.
        every_n_seconds: at least 0.

    """

    def __init__(self, run_dir: str | Path, every_n_seconds: float) -> None:
        self.run_dir = Path(run_dir)
        self.every_n_seconds = every_n_seconds
        self.marks: deque[tuple[float, int]] = deque(maxlen=NUM_MARKS)
        self.val_ssim: float | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock; a run that goes on keeps its last validation."""
        before = read_progress(self.run_dir)
        self.val_ssim = before.val_ssim if before and trainer.global_step else None
        self.marks.clear()
        self._write(trainer)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Write when it is time."""
        if time.monotonic() - self.marks[-1][0] >= self.every_n_seconds:
            self._write(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the validation's SSIM."""
        value = float(trainer.callback_metrics.get("val/ssim", math.nan))
        self.val_ssim = value if math.isfinite(value) else None
        self._write(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write how far training came."""
        self._write(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Write how far training came before it broke off."""
        # Where the disk is full, that is the error to show.
        with suppress(OSError):
            if self.marks:
                self._write(trainer)

    def _write(self, trainer: Trainer) -> None:
        self.marks.append((time.monotonic(), trainer.global_step))
        if not trainer.is_global_zero:
            return
        (start, first), (end, last) = self.marks[0], self.marks[-1]
        pace = (end - start) / (last - first) if last > first else None
        write_progress(self.run_dir, Progress(trainer.global_step, trainer.max_steps, pace, self.val_ssim, time.time()))
