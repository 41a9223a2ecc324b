"""Which checkpoint a run goes on from."""

import logging
from pathlib import Path
from typing import NamedTuple

from torch import nn

from twostream.callbacks.checkpoints import LAST, PREVIOUS
from twostream.evaluation.generation import load_checkpoint
from twostream.module import TwoStreamModule
from twostream.runs import differences

log = logging.getLogger(__name__)


class Usable(NamedTuple):
    """A checkpoint that a run can go on from."""

    path: Path
    iteration: int


def find_checkpoint(run_dir: Path, resume: str, module: TwoStreamModule) -> Usable | None:
    """Return the checkpoint that a run goes on from, None where it begins.

    Args:
        run_dir: folder of the run.
        resume: `auto` takes the last checkpoint, or the one before it where the last is damaged; `never` takes none; a
            path takes that file.
        module: as the run's config builds it, its hyper-parameters the plain config.

    Raises ValueError where the named file can't be used, or with `auto` none of those that are there.

    """
    if resume == "never":
        return None
    if resume != "auto":
        return check_usable(Path(resume), module)
    paths = [path for name in (LAST, PREVIOUS) if (path := run_dir / "checkpoints" / name).is_file()]
    errors = []
    for path in paths:
        try:
            return check_usable(path, module)
        except ValueError as error:
            log.warning("%s", error)
            errors.append(str(error))
    if errors:
        raise ValueError("\n".join([*errors, "no checkpoint is left to go on from; resume=never begins anew"]))
    return None


def check_usable(path: Path, module: TwoStreamModule) -> Usable:
    """Check that a checkpoint is whole and of the module's config and form. Raises ValueError saying what differs."""
    checkpoint = load_checkpoint(path)
    if changes := differences(checkpoint["hyper_parameters"], dict(module.hparams)):
        raise ValueError(f"{path}: expected a checkpoint of this run's config, it is of another: {changes}")
    check_form(path, checkpoint["state_dict"], module)
    missing = {"processes", "optimizer_states", "loops", "callbacks"} - checkpoint.keys()
    if missing:
        raise ValueError(f"{path}: expected a checkpoint to train on from, it lacks {', '.join(sorted(missing))}")
    return Usable(path, checkpoint["global_step"])


def check_form(path: Path, weights: dict[str, object], module: nn.Module) -> None:
    """Check names and shapes of weights against a module's. Raises ValueError with the first that differ."""
    there = {name: tuple(getattr(tensor, "shape", ())) for name, tensor in weights.items()}
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    differing = [name for name in wanted | there if there.get(name) != wanted.get(name)]
    if differing:
        first = ", ".join(f"{name}: {there.get(name)} there, {wanted.get(name)} asked" for name in differing[:3])
        raise ValueError(f"{path}: expected the weights of this run's networks, {len(differing)} differ: {first}")
