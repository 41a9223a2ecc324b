"""Checkpoints from which training resumes exactly, bit for bit."""

import logging
import math
import os
import random
import shutil
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor
from typing_extensions import override

from twostream.callbacks import module_of
from twostream.data.keypoints import NUM_JOINTS
from twostream.files import atomic_write
from twostream.losses.fake_pool import FakePool
from twostream.module import TwoStreamModule
from twostream.weights import described

log = logging.getLogger(__name__)

LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"


class StreamedFile(TorchCheckpointIO):
    """Writes a checkpoint straight to its path; Lightning builds it in memory and moves it from $TMPDIR."""

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        torch.save(checkpoint, path)


class Checkpoints(Callback):
    """Writes `checkpoints/last.ckpt` every `every_n_iterations` and at the end of training, atomically.

    The checkpoint before it is kept as `previous.ckpt`, the one with the highest validation SSIM as `best.ckpt`. In
    addition to what Lightning saves, a checkpoint holds each process's random states and pools of past fakes. It is
    written between two iterations, after the validation and the logging of the first. Raises OSError if it can't be
    written; the one before it is left unchanged. A checkpoint is on the disk before it gets its name.
    """

    def __init__(self, run_dir: str | Path, every_n_iterations: int) -> None:
        if every_n_iterations < 1:
            raise ValueError(f"callbacks.checkpoints.every_n_iterations: expected at least 1, got {every_n_iterations}")
        self.folder = Path(run_dir) / "checkpoints"
        self.every_n_iterations = every_n_iterations
        self.best: float | None = None
        self._is_best = False
        self._saved_at: int | None = None
        self._loaded: list[dict[str, Any]] | None = None

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        trainer.strategy.checkpoint_io = StreamedFile()

    @override
    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self.best = checkpoint["best"]
        self._loaded = checkpoint["processes"]

    @override
    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        self._restore(trainer)
        iteration = module_of(trainer).iteration
        is_due = iteration > 0 and iteration % self.every_n_iterations == 0
        if iteration != self._saved_at and (self._is_best or is_due):
            self.save(trainer)

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        value = float(trainer.callback_metrics["val/ssim"])
        # False for NaN.
        if value > (-math.inf if self.best is None else self.best):
            self.best, self._is_best = value, True

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.save(trainer)

    @override
    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        # The next batch is loaded already; Lightning would count it twice and validate an iteration early.
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        for count in (progress["total"], progress["current"]):
            count["ready"] = count["completed"]
        checkpoint["best"] = self.best
        checkpoint["processes"] = _gather(trainer, _process_state(module_of(trainer)))

    def save(self, trainer: Trainer) -> None:
        """Write the checkpoint of the iterations done; to be called by every process."""
        self._restore(trainer)
        for logger in trainer.loggers:
            logger.save()
        if trainer.is_global_zero:
            self._write(trainer)
        else:
            trainer.save_checkpoint(self.folder / LAST)
        self._is_best = False
        self._saved_at = module_of(trainer).iteration

    def _restore(self, trainer: Trainer) -> None:
        """Restore the processes' states of a loaded checkpoint after its first batch, whose loading draws numbers."""
        if self._loaded is None:
            return
        _restore_process(trainer, self._loaded)
        self._loaded = None
        self._saved_at = module_of(trainer).iteration
        # Lightning counts one more after a restart, which would shift what is logged.
        trainer.fit_loop.epoch_loop._batches_that_stepped = self._saved_at

    def _write(self, trainer: Trainer) -> None:
        path = self.folder / LAST
        try:
            with atomic_write(path, durable=True) as temporary:
                trainer.save_checkpoint(temporary)
                if path.is_file():
                    _link(path, self.folder / PREVIOUS)
            if self._is_best:
                _link(path, self.folder / BEST)
        # torch reports a full disk by a RuntimeError.
        except (OSError, RuntimeError) as error:
            raise OSError(
                f"{path}: the checkpoint of iteration {module_of(trainer).iteration} can't be written, the previous "
                f"one is kept: {error} ({shutil.disk_usage(self.folder.parent).free / 1e9:.1f} GB are free)"
            ) from error


def _process_state(module: TwoStreamModule) -> dict[str, Any]:
    """Return this process's random states and pools as tensors and plain values, which torch loads safely."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002  libraries may draw from it
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(module.device) if module.device.type == "cuda" else None,
        "numpy": (kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
        "python": random.getstate(),
        "pools": {name: _moved(pool.samples, torch.device("cpu")) for name, pool in _pools(module).items()},
    }


def _restore_process(trainer: Trainer, states: list[dict[str, Any]]) -> None:
    """Restore this process's random states and pools from the states of all processes.

    If the number of processes has changed, the pools are divided among them and the random states are not restored.
    """
    module, rank, world_size = module_of(trainer), trainer.global_rank, trainer.world_size
    is_same = len(states) == world_size
    for name, pool in _pools(module).items():
        samples = [sample for state in states for sample in state["pools"][name]]
        own = states[rank]["pools"][name] if is_same else samples[rank::world_size][: pool.size]
        pool.samples = _moved(own, module.device)
    if not is_same:
        log.warning(
            "The checkpoint was saved by %d processes and is resumed by %d: random draws will differ",
            len(states),
            world_size,
        )
        return
    state = states[rank]
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and module.device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], module.device)
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    random.setstate(state["python"])


def check_process_state(state: Any, module: TwoStreamModule, where: str) -> None:
    """Raise ValueError, beginning with `where`, unless a process can be restored from a state of a checkpoint."""
    try:
        torch.Generator().set_state(state["torch"])
        kind, keys, *rest = state["numpy"]
        np.random.RandomState().set_state((kind, keys.numpy().astype(np.uint32), *rest))
        random.Random().setstate(state["python"])
        if state["cuda"] is not None and state["cuda"].dtype != torch.uint8:
            raise ValueError(f"cuda: {state['cuda'].dtype}")
        pools = {name: [tuple(sample) for sample in state["pools"][name]] for name in _pools(module)}
    # Each generator refuses a state in its own way.
    except Exception as error:
        raise ValueError(f"{where}: expected random states and pools, got: {error!r}") from None
    for name, pool in _pools(module).items():
        if len(pools[name]) > pool.size:
            raise ValueError(f"{where}: pools: {name}: expected at most {pool.size} samples, got {len(pools[name]):,}")
    data: Any = module.hparams["data"]
    height, width = data["image_size"]
    divisors = (1, 2) if data["half_size_iterations"] else (1,)
    generator: Any = module.hparams["generator"]
    num_maps = generator.get("num_joints", NUM_JOINTS)
    # Two images and a pose, see `TwoStreamModule.score_real_and_fake`.
    shapes = [[(channels, height // d, width // d) for channels in (3, 3, num_maps)] for d in divisors]
    for sample in chain.from_iterable(pools.values()):
        got = [described(tensor) for tensor in sample]
        if [tuple(tensor.shape) for tensor in sample if isinstance(tensor, Tensor)] not in shapes:
            expected = " or ".join(map(str, shapes))
            raise ValueError(f"{where}: pools: expected two images and a pose of shapes {expected}, got {got}")
        if not all(tensor.is_floating_point() and tensor.isfinite().all() for tensor in sample):
            raise ValueError(f"{where}: pools: expected finite values of a floating type, got {got}")


def _gather(trainer: Trainer, state: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the states of all processes in the first one, an empty list in the others."""
    if trainer.world_size == 1:
        return [state]
    states: list[Any] | None = [None] * trainer.world_size if trainer.is_global_zero else None
    torch.distributed.gather_object(state, states)
    return states or []


def _pools(module: TwoStreamModule) -> dict[str, FakePool]:
    return {name: pool for name, pool in module.pools.items() if isinstance(pool, FakePool)}


def _moved(samples: list[tuple[Tensor, ...]], device: torch.device) -> list[tuple[Tensor, ...]]:
    return [tuple(tensor.to(device) for tensor in sample) for sample in samples]


def _link(source: Path, target: Path) -> None:
    """Hard-link a file that is never modified, or copy it where the file system has no links."""
    with atomic_write(target, durable=True) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
