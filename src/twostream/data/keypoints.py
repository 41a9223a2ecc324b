"""Joint annotations in the field's files: `NAME: [18 y]: [18 x]`, -1 where a joint was not found."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Int

from twostream.files import write_text

JOINT_NAMES = (
    "nose",
    "neck",
    "right shoulder",
    "right elbow",
    "right wrist",
    "left shoulder",
    "left elbow",
    "left wrist",
    "right hip",
    "right knee",
    "right ankle",
    "left hip",
    "left knee",
    "left ankle",
    "right eye",
    "left eye",
    "right ear",
    "left ear",
)
NUM_JOINTS = len(JOINT_NAMES)

# The joints that both pictures of a pair must show (the pair rule).
TORSO = (2, 5, 8, 11)

# Where each joint stands after a horizontal flip: left and right change places.
FLIPPED = (0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10, 15, 14, 17, 16)

LIMBS = (
    *((1, 2), (2, 3), (3, 4)),  # right arm
    *((1, 5), (5, 6), (6, 7)),  # left arm
    *((1, 8), (8, 9), (9, 10)),  # right leg
    *((1, 11), (11, 12), (12, 13)),  # left leg
    *((1, 0), (0, 14), (14, 16), (0, 15), (15, 17)),  # head
)

# Limbs that the field's person mask fills besides: the outline of the torso and of the head.
MASK_LIMBS = (*LIMBS, (1, 16), (1, 17), (8, 11), (11, 5), (8, 2), (16, 17))

HEADER = "name:keypoints_y:keypoints_x"
MISSING = -1
# DeepFashion's two frames: the narrow one is the wide one without CROP pixels at each side.
NARROW, WIDE, CROP = 176, 256, 40
CLEARLY_OUTSIDE = 16

JointArray = Int[np.ndarray, "18 2"]
"""One picture's joints as (y, x) in pixels; (-1, -1) where a joint was not found."""


def found(joints: JointArray) -> np.ndarray:
    """Say for each of the 18 joints whether it was found. Missing is equality with -1: other negatives lie outside."""
    return (joints != MISSING).all(axis=1)


def read_lines(path: Path) -> list[str]:
    """Read the lines of a text file. Raises ValueError with the file's name where it is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        got = f"byte 0x{error.object[error.start]:02x} at offset {error.start}"
        raise ValueError(f"{path}: expected UTF-8 text, got {got}") from None


def read_annotations(path: Path, width: int | None = None) -> dict[str, JointArray]:
    """Read an annotation file into picture name -> joints, in the file's order.

    Args:
        path: the file.
        width: of the pictures in pixels, to check that x is in their frame; None leaves x unchecked.

    Raises ValueError with file, line and value where the file is not of the form; FileNotFoundError if there is none.

    """
    lines = read_lines(path)
    if not lines or lines[0].rstrip(", ") != HEADER:
        raise ValueError(f"{path}:1: expected the header {HEADER!r}, got {lines[0] if lines else '(empty file)'!r}")
    annotations: dict[str, JointArray] = {}
    numbers = []
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        name, joints = _row(line, f"{path}:{number}")
        if name in annotations:
            raise ValueError(f"{path}:{number}: {name!r} is annotated twice")
        annotations[name] = joints
        numbers.append(number)
    if annotations:
        together = np.stack(list(annotations.values()))
        _check_missing(together, path, numbers)
        if width is not None:
            _check_frame(together, path, numbers, width)
    return annotations


def _row(line: str, where: str) -> tuple[str, JointArray]:
    fields = line.split(":")
    if len(fields) != 3:
        raise ValueError(f"{where}: expected 3 fields separated by ':', got {len(fields)}: {line!r}")
    name = fields[0].strip()
    if not name:
        raise ValueError(f"{where}: expected a picture's name, got none")
    y, x = (_coordinates(field, where) for field in fields[1:])
    if len(y) != len(x):
        raise ValueError(f"{where}: expected as many y as x, got {len(y)} y and {len(x)} x")
    if len(y) != NUM_JOINTS:
        raise ValueError(f"{where}: expected {NUM_JOINTS} joints in OpenPose's order, with the neck, got {len(y)}")
    return name, np.array([y, x], dtype=np.int64).T


def _coordinates(field: str, where: str) -> list[int]:
    try:
        values = json.loads(field)
    # A number of thousands of digits is a plain ValueError, and thousands of brackets are a RecursionError.
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, list) or not all(type(value) is int and abs(value) < 2**15 for value in values):
        raise ValueError(f"{where}: expected a JSON list of {NUM_JOINTS} integers, got {field.strip()!r}")
    return values


def _check_missing(joints: Int[np.ndarray, "n 18 2"], path: Path, numbers: list[int]) -> None:
    """Refuse a fork's format that writes missing joints as 0: two joints of one person never share the corner pixel."""
    in_corner = (joints == 0).all(axis=2).sum(axis=1)
    if (joints != MISSING).all() and in_corner.max() > 1:
        row = int(np.argmax(in_corner > 1))
        raise ValueError(
            f"{path}:{numbers[row]}: {in_corner[row]} joints lie at (0, 0), and no joint of the file is {MISSING}: "
            f"expected {MISSING} for both coordinates of a missing joint, not 0"
        )


def _check_frame(joints: Int[np.ndarray, "n 18 2"], path: Path, numbers: list[int], width: int) -> None:
    """Refuse x that belongs to the frame of other pictures.

    DeepFashion's 176-wide pictures are 256-wide ones without 40 pixels at each side, and their joints are not clipped:
    x runs from -31 to 205 in them, from 9 to 245 in the 256-wide ones. No x can be over 215 at width 176. At width 256
    none is negative, but other data may have joints a little outside.
    """
    # As at width 176: a joint lies outside by at most this share of the width.
    reach = CROP * width // NARROW
    lowest, highest = -reach, width - 1 + reach
    x = np.where((joints != MISSING).all(axis=2), joints[..., 1], width // 2)
    if width == WIDE and x.min() <= -CLEARLY_OUTSIDE and x.max() < WIDE - CROP:
        lowest, highest = 0, WIDE - 1
    outside = (x < lowest) | (x > highest)
    if outside.any():
        row, joint = np.argwhere(outside)[0]
        raise ValueError(
            f"{path}:{numbers[row]}: x = {x[row, joint]} belongs to another frame: expected {lowest} to {highest} for "
            f"pictures {width} wide; set data.image_size to the size that the file was made for, or shift all x "
            f"(DeepFashion's at width {NARROW} are those at width {WIDE} minus {CROP})"
        )


def write_annotations(path: Path, joints: Mapping[str, JointArray]) -> None:
    """Write picture name -> joints as an annotation file, whole or not at all."""
    rows = [f"{name}: {array[:, 0].tolist()}: {array[:, 1].tolist()}" for name, array in joints.items()]
    write_text(path, "\n".join([HEADER, *rows]) + "\n")
