"""Files that name what writes a canary: callables in configs, pickles that call, YAML tags. Nothing may call them."""

import copy
import json
import os
import pickle
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch

from attack.mutations import place_in


class Touch:
    """What a pickle calls when it is read."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.canary}",)


def write_pickle(path: Path, canary: Path) -> None:
    """Write a pickle that makes the canary when it is read."""
    path.write_bytes(pickle.dumps(Touch(canary), protocol=2))


def targets(canary: Path, pickled: Path) -> list[dict[str, Any]]:
    """Return values of a config that make the canary if they are instantiated; most are not on Hydra's own list.

    `pickled` is the file of `write_pickle`.
    """
    command, path = ["touch", str(canary)], str(canary)
    return [
        {"_target_": "os.system", "command": " ".join(command)},
        {"_target_": "subprocess.run", "args": command},
        {"_target_": "subprocess.check_call", "args": command},
        {"_target_": "subprocess.run", "_args_": [command]},
        {"_target_": "twostream.cli.processes._run", "command": command, "environment": {}, "output": None},
        {"_target_": "twostream.files.write_text", "path": {"_target_": "pathlib.Path", "_args_": [path]}, "text": ""},
        {"_target_": "pathlib.Path.write_text", "_args_": [{"_target_": "pathlib.Path", "_args_": [path]}, ""]},
        {"_target_": "builtins.open", "file": path, "mode": "w"},
        {"_target_": "io.open", "file": path, "mode": "w"},
        {"_target_": "os.mkdir", "path": path},
        {"_target_": "shutil.copyfile", "src": "/dev/null", "dst": path},
        {"_target_": "logging.FileHandler", "filename": path},
        {"_target_": "torch.load", "f": str(pickled), "weights_only": False},
        {"_target_": "torch.serialization.load", "f": str(pickled), "weights_only": False},
        {"_target_": "joblib.load", "filename": str(pickled)},
        {"_target_": "numpy.load", "file": str(pickled), "allow_pickle": True},
        {"_target_": "setuptools._distutils.spawn.spawn", "cmd": command},
        {"_target_": "builtins.eval", "_args_": [f"open({path!r}, 'w')"]},
    ]


def call_in(value: Any, canary: Path, pickled: Path, rng: np.random.Generator) -> Any:
    """Return nested dicts and lists in which a value is one of `targets`, alone, in a list or in a dict."""
    changed = copy.deepcopy(value)
    known = targets(canary, pickled)
    call: Any = known[rng.integers(len(known))]
    call = (call, [call], {"x": call}, {"option": call["_target_"], **call})[rng.integers(4)]
    parent, key = place_in(changed, rng)
    if parent is None:
        return call
    if isinstance(parent, dict) and rng.integers(2):
        key = ("_target_", "unknown")[rng.integers(2)]
        call = call["_target_"] if key == "_target_" and "_target_" in call else call
    parent[key] = call
    return changed


def call_in_json(content: bytes, canary: Path, pickled: Path, rng: np.random.Generator) -> bytes:
    """Return JSON with a value of `targets` at a random place."""
    return json.dumps(call_in(json.loads(content), canary, pickled, rng)).encode()


def call_in_checkpoint(content: bytes, canary: Path, pickled: Path, rng: np.random.Generator) -> bytes:
    """Return a checkpoint with a value of `targets` in its hyper-parameters or elsewhere, or a pickle that calls."""
    checkpoint = torch.load(BytesIO(content), weights_only=True)
    match rng.integers(4):
        case 0:
            parent, key = place_in(checkpoint, rng)
            if parent is None:
                checkpoint = Touch(canary)
            else:
                parent[key] = Touch(canary)
        case 1:
            checkpoint = call_in(checkpoint, canary, pickled, rng)
        case _ if "hyper_parameters" in checkpoint:
            part = checkpoint["hyper_parameters"]
            checkpoint["hyper_parameters"] = call_in(part, canary, pickled, rng)
        case _:
            return pickled.read_bytes()
    file = BytesIO()
    torch.save(checkpoint, file)
    return file.getvalue()


def call_in_yaml(content: bytes, canary: Path, pickled: Path, rng: np.random.Generator) -> bytes:
    """Return YAML with a tag of Python or a value of `targets` at a random place."""
    known = targets(canary, pickled)
    values = (
        f"!!python/object/apply:os.system ['touch {canary}']",
        f"!!python/object/apply:subprocess.run [['touch', '{canary}']]",
        f"!!python/object/new:builtins.open ['{canary}', 'w']",
        f"!!python/object/apply:builtins.eval [\"open('{canary}', 'w')\"]",
        "!!python/name:os.system",
        json.dumps(known[rng.integers(len(known))]),
    )
    value = values[rng.integers(len(values))].encode()
    lines = content.splitlines()
    row = int(rng.integers(len(lines)))
    key, colon, _ = lines[row].partition(b":")
    lines[row] = key + b": " + value if colon else b"x: " + value
    return value if rng.integers(8) == 0 else b"\n".join(lines) + b"\n"
