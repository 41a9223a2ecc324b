"""Checkpoints: loading them, and choosing the one from which a run resumes."""

import logging
from pathlib import Path
from typing import Any, NamedTuple

import torch

from twostream.callbacks.checkpoints import LAST, PREVIOUS
from twostream.module import TwoStreamModule
from twostream.registry import MODEL_GROUPS
from twostream.runs import differences

log = logging.getLogger(__name__)
KEYS = {"state_dict", "hyper_parameters", "iteration"}
KEYS_OF_MODEL = {"seed", *MODEL_GROUPS}
KEYS_TO_RESUME = {"processes", "optimizer_states", "loops", "callbacks"}


class ResumePoint(NamedTuple):
    """A usable checkpoint and its iteration."""

    path: Path
    iteration: int


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint onto the CPU: tensors and plain values, nothing is executed.

    Raises ValueError if the file is missing, damaged or no checkpoint of this version.
    """
    if not path.is_file():
        raise ValueError(f"checkpoint not found: {path}")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{path}: expected an intact checkpoint that torch can load safely, got: {error}") from error
    if not isinstance(checkpoint, dict) or not checkpoint.keys() >= KEYS:
        raise ValueError(f"{path}: expected a checkpoint of this version with {', '.join(sorted(KEYS))}")
    model = checkpoint["hyper_parameters"]
    if not isinstance(model, dict) or not model.keys() >= KEYS_OF_MODEL:
        raise ValueError(f"{path}: hyper_parameters: expected {', '.join(sorted(KEYS_OF_MODEL))}")
    return checkpoint


def find_checkpoint(run_dir: Path, resume: str, module: TwoStreamModule) -> ResumePoint | None:
    """Return the checkpoint from which a run resumes, None if it starts from the beginning.

    `resume=auto` uses the last checkpoint, or the previous one if the last is damaged; `never` uses none; a path uses
    that file. Raises ValueError if that file, or with `auto` none of the existing ones, is usable.
    """
    if resume == "never":
        return None
    if resume != "auto":
        return _usable(Path(resume), module)
    errors = []
    for path in (run_dir / "checkpoints" / name for name in (LAST, PREVIOUS)):
        if path.is_file():
            try:
                return _usable(path, module)
            except ValueError as error:
                log.warning("%s", error)
                errors.append(str(error))
    if errors:
        raise ValueError("\n".join([*errors, "no usable checkpoint; use resume=never to restart from the beginning"]))
    return None


def _usable(path: Path, module: TwoStreamModule) -> ResumePoint:
    """Check that a checkpoint is intact and fits a module."""
    checkpoint = load_checkpoint(path)
    if changes := differences(checkpoint["hyper_parameters"], dict(module.hparams)):
        raise ValueError(f"{path}: checkpoint of a different config: {changes}")
    on_disk = {name: tuple(getattr(tensor, "shape", ())) for name, tensor in checkpoint["state_dict"].items()}
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    if differing := [name for name in expected | on_disk if on_disk.get(name) != expected.get(name)]:
        first = ", ".join(f"{n}: expected {expected.get(n)}, got {on_disk.get(n)}" for n in differing[:3])
        raise ValueError(f"{path}: weights of different networks, {len(differing)} differ: {first}")
    if missing := KEYS_TO_RESUME - checkpoint.keys():
        raise ValueError(f"{path}: expected a checkpoint to resume from, it lacks {', '.join(sorted(missing))}")
    return ResumePoint(path, checkpoint["iteration"])
