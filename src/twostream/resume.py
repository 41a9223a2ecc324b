"""Checkpoints: loading them, and choosing the one from which a run resumes."""

import logging
import math
import re
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pytorch_lightning import Trainer

from twostream.callbacks.averaging import KEY as AVERAGED
from twostream.callbacks.checkpoints import LAST, PREVIOUS, check_process_state
from twostream.files import quoted
from twostream.module import TwoStreamModule
from twostream.registry import MODEL_GROUPS, check_description
from twostream.runs import differences
from twostream.weights import check_tensor, check_tensors, load_safely

log = logging.getLogger(__name__)
KEYS = {"state_dict", "hyper_parameters", "iteration"}
KEYS_OF_MODEL = {"seed", *MODEL_GROUPS}
KEYS_TO_RESUME = {"processes", "optimizer_states", "lr_schedulers", "loops", "callbacks", "best", "global_step"}
KEYS_TO_RESUME |= {"epoch", "pytorch-lightning_version"}
FIXED = ("params", "betas", "eps", "weight_decay", "amsgrad", "maximize", "initial_lr")  # of Adam, during a run
VERSION = re.compile(r"\d+(\.\d+)+((a|b|rc|\.dev|\.post)\d+)?(\+\w+)?")


class ResumePoint(NamedTuple):
    """A usable checkpoint and its iteration."""

    path: Path
    iteration: int


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint onto the CPU: tensors and plain values, nothing is executed.

    Raises ValueError, in one line with the path, if the file is missing, damaged or no checkpoint of this version.
    """
    if not path.exists():
        raise ValueError(f"checkpoint not found: {path}")
    checkpoint = load_safely(path, "an intact checkpoint")
    if not isinstance(checkpoint, dict) or not checkpoint.keys() >= KEYS:
        raise ValueError(f"{path}: expected a checkpoint of this version with {', '.join(sorted(KEYS))}")
    model, state = checkpoint["hyper_parameters"], checkpoint["state_dict"]
    if not isinstance(model, dict) or not model.keys() >= KEYS_OF_MODEL:
        raise ValueError(f"{path}: hyper_parameters: expected {', '.join(sorted(KEYS_OF_MODEL))}")
    try:
        check_description(model, f"{path}: hyper_parameters")
    except RecursionError:
        raise ValueError(f"{path}: hyper_parameters: expected plain values, got deeply nested ones") from None
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise ValueError(f"{path}: state_dict: expected tensors by name, got {type(state).__name__}")
    _check_count(checkpoint["iteration"], f"{path}: iteration")
    return checkpoint


def find_checkpoint(run_dir: Path, resume: str, module: TwoStreamModule, trainer: Trainer) -> ResumePoint | None:
    """Return the checkpoint from which a run resumes, None if it starts from the beginning.

    All that training reads of it fits `module` and `trainer`. `resume=auto` uses the last checkpoint, or the previous
    one if the last is damaged; `never` uses none; a path uses that file; if it is another run's, only until the run
    has checkpoints of its own. Raises ValueError if that file, or with `auto`
    none of the existing ones, is usable.
    """
    if resume == "never":
        return None
    own = [run_dir / "checkpoints" / name for name in (LAST, PREVIOUS)]
    if resume != "auto":
        path = Path(resume)
        is_of_another_run = path.exists() and path.resolve().parent != own[0].resolve().parent
        if not (is_of_another_run and any(checkpoint.exists() for checkpoint in own)):
            return _usable(path, module, trainer)
    errors = []
    for path in own:
        if path.exists() or path.is_symlink():
            try:
                return _usable(path, module, trainer)
            except ValueError as error:
                log.warning("%s", error)
                errors.append(str(error))
    if errors:
        raise ValueError("\n".join([*errors, "no usable checkpoint; use resume=never to restart from the beginning"]))
    return None


def _usable(path: Path, module: TwoStreamModule, trainer: Trainer) -> ResumePoint:
    """Check that a checkpoint is intact and fits a module."""
    checkpoint = load_checkpoint(path)
    if changes := differences(checkpoint["hyper_parameters"], dict(module.hparams)):
        raise ValueError(f"{path}: checkpoint of a different config: {changes}")
    check_tensors(checkpoint["state_dict"], module.state_dict(), f"{path}: weights of different networks")
    if missing := KEYS_TO_RESUME - checkpoint.keys():
        raise ValueError(f"{path}: expected a checkpoint to resume from, it lacks {', '.join(sorted(missing))}")
    iteration = checkpoint["iteration"]
    if iteration > module.schedule.iterations:
        raise ValueError(f"{path}: iteration: expected at most {module.schedule.iterations}, got {iteration}")
    _check_progress(checkpoint, trainer, path)
    _check_optimizers(checkpoint, module, path)
    _check_list(checkpoint["processes"], None, f"{path}: processes")
    for rank, state in enumerate(checkpoint["processes"]):
        check_process_state(state, module, f"{path}: processes[{rank}]")
    if module.hparams["averaging"]:
        check_tensors(checkpoint.get(AVERAGED), module.generator.state_dict(), f"{path}: {AVERAGED}")
    return ResumePoint(path, iteration)


def _check_progress(checkpoint: dict[str, Any], trainer: Trainer, path: Path) -> None:
    """Check Lightning's counts, and the best value of validation."""
    _check_count(checkpoint["global_step"], f"{path}: global_step")
    _check_count(checkpoint["epoch"], f"{path}: epoch")
    version, best, callbacks = (checkpoint[key] for key in ("pytorch-lightning_version", "best", "callbacks"))
    if not isinstance(version, str) or not VERSION.fullmatch(version):
        raise ValueError(f"{path}: pytorch-lightning_version: expected a version, got {quoted(version)}")
    if best is not None:
        _check_like(best, 0.0, f"{path}: best")
    if not isinstance(callbacks, dict):
        raise ValueError(f"{path}: callbacks: expected a dict, got {type(callbacks).__name__}")
    _check_like(checkpoint["loops"], {"fit_loop": trainer.fit_loop.state_dict()}, f"{path}: loops")
    fit_loop = checkpoint["loops"]["fit_loop"]
    loaders = fit_loop["state_dict"].get("combined_loader", [])
    if not isinstance(loaders, list) or len(loaders) > 1:
        raise ValueError(f"{path}: loops.fit_loop: expected the state of one loader, got {quoted(loaders)}")
    done = fit_loop["epoch_loop.batch_progress"]["total"]["completed"]
    if done != checkpoint["iteration"]:
        raise ValueError(f"{path}: loops: expected {checkpoint['iteration']} iterations as in `iteration`, got {done}")


def _check_optimizers(checkpoint: dict[str, Any], module: TwoStreamModule, path: Path) -> None:
    """Check the states of the optimizers, one of each network, and of their schedulers."""
    optimizers, schedulers = module.configure_optimizers()
    states, rates = checkpoint["optimizer_states"], checkpoint["lr_schedulers"]
    _check_list(states, len(optimizers), f"{path}: optimizer_states")
    _check_list(rates, len(schedulers), f"{path}: lr_schedulers")
    for index, (scheduler, rate) in enumerate(zip(schedulers, rates, strict=True)):
        _check_like(rate, scheduler.state_dict(), f"{path}: lr_schedulers[{index}]")
        if rate["last_epoch"] != checkpoint["iteration"]:
            expected = f"iteration {checkpoint['iteration']}"
            raise ValueError(f"{path}: lr_schedulers[{index}]: expected {expected}, got {rate['last_epoch']}")
    for index, (optimizer, state) in enumerate(zip(optimizers, states, strict=True)):
        where = f"{path}: optimizer_states[{index}]"
        like = optimizer.state_dict()
        _check_like(state, {"state": {}, "param_groups": like["param_groups"]}, where)
        if index == 0 and checkpoint["iteration"] and not state["state"]:
            raise ValueError(f"{where}.state: expected those of the generator's weights, got none")
        for group, expected in zip(state["param_groups"], like["param_groups"], strict=True):
            for key in FIXED:
                if group[key] != expected[key]:
                    raise ValueError(f"{where}.param_groups: {key}: expected {expected[key]}, got {group[key]}")
            rate = expected["initial_lr"] * module.schedule.factor(checkpoint["iteration"])
            if not math.isclose(group["lr"], rate, rel_tol=1e-6, abs_tol=1e-15):
                raise ValueError(f"{where}.param_groups: lr: expected {rate}, got {group['lr']}")
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        # Of a network that has not been trained yet there is none.
        for number, moments in state["state"].items():
            if type(number) is not int or not 0 <= number < len(parameters):
                raise ValueError(f"{where}.state: expected 0 to {len(parameters) - 1}, got {quoted(number)}")
            tensor = parameters[number].detach()
            _check_like(moments, {"step": torch.tensor(0.0), "exp_avg": tensor, "exp_avg_sq": tensor}, where)
            if not 0 <= moments["step"] <= checkpoint["iteration"] or moments["exp_avg_sq"].min() < 0:
                most = checkpoint["iteration"]
                raise ValueError(f"{where}.state[{number}]: expected a step of 0 to {most} and squares of at least 0")


def _check_like(value: Any, like: Any, where: str) -> None:
    """Raise ValueError, beginning with `where`, unless a value has the type and structure of another.

    A dict has its keys and may have more, a list or tuple its length, a tensor its shape and dtype. Numbers are finite,
    integers at least 0; flags may be None.
    """
    if isinstance(like, torch.Tensor):
        check_tensor(value, like, where)
    elif isinstance(like, dict):
        if not isinstance(value, dict):
            raise ValueError(f"{where}: expected a dict, got {type(value).__name__}")
        for key, item in like.items():
            if key not in value:
                raise ValueError(f"{where}: expected the key {key!r}")
            _check_like(value[key], item, f"{where}.{key}")
    elif isinstance(like, list | tuple):
        _check_list(value, len(like), where)
        for index, item in enumerate(like):
            _check_like(value[index], item, f"{where}[{index}]")
    elif like is None or isinstance(like, bool):
        if value is not None and not isinstance(value, bool):
            raise ValueError(f"{where}: expected true, false or null, got {quoted(value)}")
    elif isinstance(like, int):
        _check_count(value, where)
    elif type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"{where}: expected a finite number, got {quoted(value)}")


def _check_list(value: Any, length: int | None, where: str) -> None:
    got = len(value) if isinstance(value, list | tuple) else type(value).__name__
    if got != length and (length is not None or got == 0 or isinstance(got, str)):
        raise ValueError(f"{where}: expected a list of {'at least 1' if length is None else length}, got {got}")


def _check_count(value: Any, where: str) -> None:
    if type(value) is not int or value < 0:
        raise ValueError(f"{where}: expected a whole number of at least 0, got {quoted(value)}")
