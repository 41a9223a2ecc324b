"""Joint annotations in the field's files: `NAME: [18 y]: [18 x]`, -1 where a joint was not found."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Int

from twostream.data.skeleton import NUM_JOINTS
from twostream.files import write_text

HEADER = "name:keypoints_y:keypoints_x"
MISSING = -1

JointArray = Int[np.ndarray, "18 2"]
"""One picture's joints as (y, x) in pixels; (-1, -1) where a joint was not found."""


def found(joints: JointArray) -> np.ndarray:
    """Say for each of the 18 joints whether it was found. Missing is equality with -1: other negatives lie outside."""
    return (joints != MISSING).all(axis=1)


def read_annotations(path: Path) -> dict[str, JointArray]:
    """Read an annotation file into picture name -> joints, in the file's order.

    Raises ValueError with file, line and value where the file is not of the form; FileNotFoundError if there is none.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    if not lines or lines[0].rstrip(", ") != HEADER:
        raise ValueError(f"{path}:1: expected the header {HEADER!r}, got {lines[0] if lines else '(empty file)'!r}")
    annotations: dict[str, JointArray] = {}
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        fields = line.split(":")
        if len(fields) != 3:
            raise ValueError(f"{path}:{number}: expected 3 fields separated by ':', got {len(fields)}: {line!r}")
        name = fields[0].strip()
        if name in annotations:
            raise ValueError(f"{path}:{number}: {name!r} is annotated twice")
        y, x = (_coordinates(field, f"{path}:{number}") for field in fields[1:])
        annotations[name] = np.stack([y, x], axis=1)
    return annotations


def _coordinates(field: str, where: str) -> np.ndarray:
    try:
        values = json.loads(field)
    except json.JSONDecodeError:
        raise ValueError(f"{where}: expected a JSON list of {NUM_JOINTS} integers, got {field.strip()!r}") from None
    if (
        not isinstance(values, list)
        or len(values) != NUM_JOINTS
        or not all(type(value) is int and abs(value) < 2**15 for value in values)
    ):
        raise ValueError(f"{where}: expected a JSON list of {NUM_JOINTS} integers, got {field.strip()!r}")
    return np.array(values, dtype=np.int64)


def write_annotations(path: Path, joints: Mapping[str, JointArray]) -> None:
    """Write picture name -> joints as an annotation file, whole or not at all."""
    rows = [f"{name}: {array[:, 0].tolist()}: {array[:, 1].tolist()}" for name, array in joints.items()]
    write_text(path, "\n".join([HEADER, *rows]) + "\n")
