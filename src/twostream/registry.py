"""Names of registered options: how a checkpoint says what it holds without anything in it being imported or called.

The registered options are the classes and functions that the config groups of a model name as `_target_`. A description
replaces each `_target_` by the name alone, so that it holds names and plain values; `build` looks the names up.
"""

import inspect
import math
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from twostream.files import quoted

CONF = (Path(__file__).parent / "conf").resolve()  # in the repository a link to its `conf/`
MODEL_GROUPS = ("data", "generator", "discriminators", "loss", "schedule", "averaging")
OPTION_GROUPS = (*MODEL_GROUPS, "init")  # the initial weights are part of the networks
# Config files that hold the paper's settings, and what in them it does not set for all data sets.
PAPER_SETTINGS = ("data/_base", "generator/two_stream", "loss/two_stream", "schedule/paper")
NOT_OF_PAPER = ("batch_size", "num_val_identities", "num_val_pairs", "num_workers")
NAME = "option"
SCALARS = (bool, int, float, str)
PLAIN = (*SCALARS, NoneType, list, tuple)


class Option(NamedTuple):
    """A registered class or function; `is_partial`: it is passed on with some arguments instead of called."""

    target: str
    is_partial: bool


@cache
def registered_options() -> dict[str, Option]:
    """Return the options of the config groups of a model by the name of their class or function."""
    options: dict[str, Option] = {}
    for group in OPTION_GROUPS:
        for path in sorted((CONF / group).rglob("*.yaml")):
            for node in _targets(OmegaConf.to_container(OmegaConf.load(path))):
                options[_name(node)] = Option(node["_target_"], node.get("_partial_", False))
    return options


def model_config(cfg: DictConfig) -> dict[str, Any]:
    """Return the description of all that defines the result of a run: the seed and the groups of a model."""
    return {"seed": cfg.seed} | {group: describe(cfg[group]) for group in MODEL_GROUPS}


def differences_from_paper(config: Mapping[str, Any]) -> list[str]:
    """Return the numbers of a model's config that are not those of the paper, each as `group.key value (paper's)`.

    `config` is as `model_config` returns it. What an ablation changes is not among them.
    """
    lines = []
    for name in PAPER_SETTINGS:
        group = name.partition("/")[0]
        settings: Any = OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"))
        for key, papers in settings.items():
            value = config[group].get(key, papers)
            if isinstance(papers, bool | int | float) and key not in NOT_OF_PAPER and value != papers:
                lines.append(f"{group}.{key} {value} ({papers})")
    return lines


def describe(node: Any) -> Any:
    """Return a config node with names of options in place of `_target_`, resolved, as plain values."""
    if OmegaConf.is_config(node):
        node = OmegaConf.to_container(node, resolve=True)
    if isinstance(node, list):
        return [describe(item) for item in node]
    if not isinstance(node, dict):
        return node
    values = {key: describe(value) for key, value in node.items() if not str(key).startswith("_")}
    return {NAME: _name(node), **values} if "_target_" in node else values


def build(description: Any, where: str = "checkpoint") -> Any:
    """Build the object of a description by the registered options alone.

    Args:
        description: names of options and plain values, as `describe` returns them; it may come from a file.
        where: what the description is part of, for messages.

    Raises ValueError for an unknown name, for arguments that the option does not take or lacks, and for values of a
    wrong type.

    """
    check_description(description, where)
    if isinstance(description, list):
        return [build(item, f"{where}[{index}]") for index, item in enumerate(description)]
    if not isinstance(description, Mapping):
        return description
    if NAME not in description:
        return {key: build(value, f"{where}.{key}") for key, value in description.items()}
    option = registered_options()[description[NAME]]
    arguments = {key: build(value, f"{where}.{key}") for key, value in description.items() if key != NAME}
    _check_call(option.target, arguments, option.is_partial, where)
    callable_ = get_object(option.target)
    return partial(callable_, **arguments) if option.is_partial else callable_(**arguments)


def check_description(value: Any, where: str) -> None:
    """Raise ValueError, beginning with `where`, unless a value consists of names of options and plain values."""
    if isinstance(value, Mapping):
        if special := [key for key in value if not isinstance(key, str) or key.startswith("_")]:
            raise ValueError(f"{where}: expected names of options and plain values, got the key {quoted(special[0])}")
        name, options = value.get(NAME), registered_options()
        if NAME in value and not (isinstance(name, str) and name in options):
            known = ", ".join(sorted(options))
            raise ValueError(f"{where}: expected the name of an option ({known}), got {quoted(name)}")
        for key, item in value.items():
            check_description(item, f"{where}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            check_description(item, f"{where}[{index}]")
    elif value is not None and type(value) not in SCALARS:
        raise ValueError(f"{where}: expected a number, a string, a list of them or null, got {type(value).__name__}")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where}: expected a finite number, got {value}")


def build_as(kind: Any, description: Any, where: str) -> Any:
    """Build an object that has to be of a type, as `build`. Raises ValueError, beginning with `where`, for another."""
    built = build(description, where)
    if not isinstance(built, kind):
        raise ValueError(
            f"{where}: expected the description of a {kind.__name__}, got that of a {type(built).__name__}"
        )
    return built


def _targets(node: Any) -> list[dict[str, Any]]:
    """Return all nodes of a config tree that have a `_target_`."""
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
    inner = [found for child in children for found in _targets(child)]
    return [node, *inner] if isinstance(node, dict) and "_target_" in node else inner


def _name(node: Mapping[str, Any]) -> str:
    return str(node["_target_"]).rpartition(".")[2]


def check_arguments(node: Any, where: str = "") -> None:
    """Check all values below a config node: numbers are finite, and arguments are those that their `_target_` takes.

    Raises ValueError that names the key of the first value that does not fit or is missing.
    """
    if isinstance(node, list):
        for index, item in enumerate(node):
            check_arguments(item, f"{where}[{index}]")
    elif isinstance(node, dict):
        if "_target_" in node:
            arguments = {key: value for key, value in node.items() if not str(key).startswith("_")}
            _check_call(node["_target_"], arguments, node.get("_partial_", False), where)
        # Values before nodes, which may refer to them.
        for key, value in sorted(node.items(), key=lambda item: isinstance(item[1], dict)):
            check_arguments(value, f"{where}.{key}" if where else str(key))
    elif isinstance(node, float) and not math.isfinite(node):
        raise ValueError(f"{where}: expected a finite number, got {node}")


def _check_call(target: str, arguments: Mapping[str, Any], is_partial: bool, where: str) -> None:
    """Raise ValueError, beginning with `where`, unless a class or function takes these arguments and needs no more."""
    try:
        callable_ = get_object(target)
        parameters = inspect.signature(callable_).parameters
    # An optional package is missing, which is said when the object is built.
    except (ImportError, TypeError, ValueError):
        return
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    hints, name = _hints(callable_), callable_.__name__
    for key, value in arguments.items():
        if key not in parameters:
            raise ValueError(f"{where}.{key}: expected an argument of {name} ({', '.join(parameters)})")
        hint = hints.get(key, Any)
        # YAML reads a name such as 2 as a number.
        is_name = hint is str and type(value) in (int, float)
        if not is_name and not _fits(value, hint):
            raise ValueError(f"{where}.{key}: expected {_text(hint)}, got {quoted(value)}")
    for key, parameter in parameters.items():
        if parameter.default is parameter.empty and key not in arguments and not is_partial:
            raise ValueError(f"{where}.{key}: expected a value, {name} needs one")


def _hints(callable_: Any) -> dict[str, Any]:
    """Return the annotations of the parameters; none where one is known to type checkers only."""
    try:
        return get_type_hints(callable_.__init__ if inspect.isclass(callable_) else callable_)
    except (NameError, TypeError):
        return {}


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value fits an annotation of scalars, sequences and classes; others fit any value."""
    kind, arguments = get_origin(hint), get_args(hint)
    if kind in (Union, UnionType):
        return any(_fits(value, one) for one in arguments)
    if kind is Literal:
        return value in arguments
    if hint is NoneType:
        return value is None
    if hint in SCALARS:
        return type(value) is hint or (type(value) is int and hint is float)
    if kind is tuple and Ellipsis not in arguments:
        is_long = isinstance(value, Sequence) and len(value) == len(arguments)
        return is_long and all(map(_fits, value, arguments))
    if kind in (list, tuple, Sequence):
        return isinstance(value, list | tuple) and all(_fits(item, arguments[0]) for item in value)
    if hint is Path:
        return isinstance(value, str | Path)
    # An object is described by a dict; hints such as list are classes too.
    if inspect.isclass(hint) and hint is not object:
        return isinstance(value, hint) if hint in (list, tuple, dict) else not isinstance(value, PLAIN)
    return True


def _text(hint: Any) -> str:
    """Describe an annotation: `int or str`, `int or null`, `a list of int`."""
    kind, arguments = get_origin(hint), get_args(hint)
    if kind in (Union, UnionType):
        return " or ".join(map(_text, arguments))
    if kind is Literal:
        return " or ".join(map(str, arguments))
    if kind is tuple and Ellipsis not in arguments:
        return f"[{', '.join(map(_text, arguments))}]"
    if kind in (list, tuple, Sequence):
        return f"a list of {_text(arguments[0])}"
    return "null" if hint is NoneType else getattr(hint, "__name__", str(hint))
