"""Checkpoints with all that a run needs to go on exactly, counted in iterations."""

import logging
import math
import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from twostream.files import atomic_write
from twostream.losses.adversarial import FakePool
from twostream.module import TwoStreamModule

log = logging.getLogger(__name__)

LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"
MONITORED = "val/ssim"


class Checkpoints(Callback):
    """Writes `checkpoints/last.ckpt` every so many iterations and at the end, whole or not at all.

    The one before it stays as `previous.ckpt`, that of the best validation SSIM as `best.ckpt`. Beside what Lightning
    keeps, a checkpoint holds the random states and the pools of past fakes of every process, so that a run goes on from
    it as if it had never stopped. It is written between two iterations, after the validation and the logging of the
    first. OSError says where it can't be written; the one before it stays.
    """

    def __init__(self, run_dir: str | Path, every_n_iterations: int) -> None:
        if every_n_iterations < 1:
            raise ValueError(f"callbacks.checkpoints.every_n_iterations: expected at least 1, got {every_n_iterations}")
        self.folder = Path(run_dir) / "checkpoints"
        self.every_n_iterations = every_n_iterations
        self.best: float | None = None
        self._is_best = False
        self._saved_at: int | None = None
        self._restored: list[dict[str, Any]] | None = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Go on where the checkpoint left off, or save when it is time."""
        assert isinstance(pl_module, TwoStreamModule)
        iteration = trainer.global_step
        if self._restored is not None:
            restore_processes(trainer, pl_module, self._restored)
            self._restored = None
            # Lightning counts one more after a restart, which would shift what is logged.
            trainer.fit_loop.epoch_loop._batches_that_stepped = iteration
            self._saved_at = iteration
        elif iteration != self._saved_at and (self._is_best or (iteration and not iteration % self.every_n_iterations)):
            self.save(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """See whether this is the best validation."""
        value = float(trainer.callback_metrics[MONITORED])
        # A value that is not a number is never greater.
        if value > (-math.inf if self.best is None else self.best):
            self.best, self._is_best = value, True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the end of the run."""
        self.save(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the states of all processes."""
        assert isinstance(pl_module, TwoStreamModule)
        # The next batch is there already; Lightning would count it twice and validate an iteration early.
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        for count in (progress["total"], progress["current"]):
            count["ready"] = count["completed"]
        checkpoint["best"] = self.best
        checkpoint["processes"] = _gather(trainer, process_state(pl_module))

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep the states until the first batch is there: getting it draws random numbers."""
        self.best = checkpoint["best"]
        self._restored = checkpoint["processes"]

    def save(self, trainer: Trainer) -> None:
        """Write the checkpoint of the iterations done; every process has to call it."""
        for logger in trainer.loggers:
            logger.save()
        if trainer.is_global_zero:
            self._write(trainer)
        else:
            trainer.save_checkpoint(self.folder / LAST)
        self._is_best = False
        self._saved_at = trainer.global_step

    def _write(self, trainer: Trainer) -> None:
        path = self.folder / LAST
        try:
            with atomic_write(path) as temporary:
                trainer.save_checkpoint(temporary)
                if path.exists():
                    _link(path, self.folder / PREVIOUS)
            if self._is_best:
                _link(path, self.folder / BEST)
        # torch says in a RuntimeError that a disk is full.
        except (OSError, RuntimeError) as error:
            raise OSError(
                f"{path}: the checkpoint of iteration {trainer.global_step} can't be written, the one before it "
                f"stays: {error} ({shutil.disk_usage(self.folder.parent).free / 1e9:.1f} GB are free)"
            ) from error


def process_state(module: TwoStreamModule) -> dict[str, Any]:
    """Return the random states and the pools of this process as tensors and plain values."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002  libraries may draw from it
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(module.device) if module.device.type == "cuda" else None,
        "numpy": (kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
        "python": random.getstate(),
        "pools": {name: _to(pool.kept, torch.device("cpu")) for name, pool in _pools(module).items()},
    }


def restore_processes(trainer: Trainer, module: TwoStreamModule, states: list[dict[str, Any]]) -> None:
    """Give this process its random state and its pools; with another number of processes the pools are dealt out."""
    rank, world_size = trainer.global_rank, trainer.world_size
    if len(states) != world_size:
        log.warning(
            "The checkpoint is of %d processes, the run goes on with %d: its random draws differ from then on",
            len(states),
            world_size,
        )
    for name, pool in _pools(module).items():
        if len(states) == world_size:
            kept = states[rank]["pools"][name]
        else:
            kept = [sample for state in states for sample in state["pools"][name]][rank::world_size][: pool.size]
        pool.kept = _to(kept, module.device)
    if len(states) == world_size:
        _restore_draws(states[rank], module.device)


def _restore_draws(state: dict[str, Any], device: torch.device) -> None:
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    random.setstate(state["python"])


def _gather(trainer: Trainer, state: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the states of all processes to the first one; to the others nothing."""
    if trainer.world_size == 1:
        return [state]
    states: list[Any] | None = [None] * trainer.world_size if trainer.is_global_zero else None
    torch.distributed.gather_object(state, states)
    return states or []


def _pools(module: TwoStreamModule) -> dict[str, FakePool]:
    return {name: pool for name, pool in module.pools.items() if isinstance(pool, FakePool)}


def _to(kept: list[tuple[torch.Tensor, ...]], device: torch.device) -> list[tuple[torch.Tensor, ...]]:
    return [tuple(tensor.to(device) for tensor in sample) for sample in kept]


def _link(source: Path, target: Path) -> None:
    """Make `target` another name of a file that is never changed, or a copy where the file system has no links."""
    with atomic_write(target) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
