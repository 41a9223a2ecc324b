"""The skeleton of 18 joints, and annotation files: lines `NAME: [18 y]: [18 x]`, -1 for a missing joint."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from twostream.files import quoted, read_text, write_text

JOINT_NAMES = (
    *("nose", "neck"),
    *("right shoulder", "right elbow", "right wrist"),
    *("left shoulder", "left elbow", "left wrist"),
    *("right hip", "right knee", "right ankle"),
    *("left hip", "left knee", "left ankle"),
    *("right eye", "left eye", "right ear", "left ear"),
)
NUM_JOINTS = len(JOINT_NAMES)

TORSO = (2, 5, 8, 11)  # shoulders and hips, which both images of a pair must show

# Index of each joint after a horizontal flip, which swaps left and right.
FLIPPED = (0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10, 15, 14, 17, 16)

LIMBS = (
    *((1, 2), (2, 3), (3, 4)),  # right arm
    *((1, 5), (5, 6), (6, 7)),  # left arm
    *((1, 8), (8, 9), (9, 10)),  # right leg
    *((1, 11), (11, 12), (12, 13)),  # left leg
    *((1, 0), (0, 14), (14, 16), (0, 15), (15, 17)),  # head
)

# The person mask also fills the outline of torso and head.
MASK_LIMBS = (*LIMBS, (1, 16), (1, 17), (8, 11), (11, 5), (8, 2), (16, 17))

HEADER = "name:keypoints_y:keypoints_x"
MISSING = -1
MAX_NAME_BYTES = 255  # of a file, on common file systems
# Two widths of DeepFashion: the narrow images are the wide ones without CROP pixels at each side.
NARROW, WIDE, CROP = 176, 256, 40
CLEARLY_OUTSIDE = 16  # pixels
MANY = 10  # images whose persons are, on average, in the middle
MIN_MEAN = 0.3  # of height and width: joints of images of half the size are at 0.25

ADVICE = (
    "use the annotations that were made for this width, or shift all x "
    f"(DeepFashion's at width {NARROW} are those at width {WIDE} minus {CROP})"
)

JointArray = Int[np.ndarray, "18 2"]
"""Joints of an image as (y, x) in pixels; (-1, -1) for a missing joint."""


class JointFrame(NamedTuple):
    """The images in whose pixels joints are given, by their height and width; None for a side of any length."""

    height: int | None
    width: int | None

    def check(self, joints: Int[np.ndarray, "n 18 2"], places: list[str]) -> None:
        """Raise ValueError for joints of another frame, beginning with the place of the first, `FILE:LINE`."""
        if self.width is not None:
            _check_x(joints, places, self.width)
        if self.height is not None:
            lowest, highest = -reach(self.height), self.height - 1 + reach(self.height)
            _check_range(joints, places, "y", lowest, highest, f"height {self.height}")
        are_found = found(joints)
        if self.height is not None and self.width is not None and are_found.any(axis=1).sum() >= MANY:
            y, x = joints[are_found].mean(axis=0)
            if y < MIN_MEAN * self.height and x < MIN_MEAN * self.width:
                raise ValueError(
                    f"{places[0].rpartition(':')[0]}: the mean joint is at y = {y:.0f}, x = {x:.0f}: expected about "
                    f"the middle of images of {self.height}x{self.width}; these belong to smaller images"
                )


ANY_FRAME = JointFrame(None, None)
"""For a caller that finds out the frame itself."""


def found(joints: Int[np.ndarray, "*n 18 2"]) -> Bool[np.ndarray, "*n 18"]:
    """Return which joints were found: those without -1. Other negative coordinates are outside the image."""
    return (joints != MISSING).all(axis=-1)


def read_annotations(path: Path, frame: JointFrame) -> dict[str, JointArray]:
    """Read an annotation file of joints in a frame into image name -> joints, in the file's order.

    Raises:
        ValueError: a line is malformed or has joints of another frame; the message has file, line and value.
        FileNotFoundError: the file does not exist.
    """
    lines = read_text(path).splitlines()
    if not lines or lines[0].rstrip(", ") != HEADER:
        raise ValueError(
            f"{path}:1: expected the header {HEADER!r}, got {quoted(lines[0]) if lines else 'an empty file'}"
        )
    annotations: dict[str, JointArray] = {}
    places = []
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        name, joints = _row(line, place)
        if name in annotations:
            raise ValueError(f"{place}: {quoted(name)} is annotated twice")
        annotations[name] = joints
        places.append(place)
    if annotations:
        stacked = np.stack(list(annotations.values()))
        _check_missing(stacked, places)
        frame.check(stacked, places)
    return annotations


def _row(line: str, where: str) -> tuple[str, JointArray]:
    fields = line.split(":")
    if len(fields) != 3:
        raise ValueError(f"{where}: expected 3 fields separated by ':', got {len(fields)}: {quoted(line)}")
    name = fields[0].strip()
    if not name:
        raise ValueError(f"{where}: expected an image name, got none")
    check_name(name, where)
    y, x = (_coordinates(field, where) for field in fields[1:])
    if len(y) != len(x):
        raise ValueError(f"{where}: expected as many y as x, got {len(y)} y and {len(x)} x")
    if len(y) != NUM_JOINTS:
        raise ValueError(f"{where}: expected {NUM_JOINTS} joints in OpenPose's order, including the neck, got {len(y)}")
    return name, np.array([y, x], dtype=np.int64).T


def check_name(name: str, where: str) -> None:
    """Raise ValueError, beginning with `where`, for an image name that is no path inside a folder."""
    if name.startswith("/") or ".." in name.split("/") or "\0" in name or len(name.encode()) > MAX_NAME_BYTES:
        raise ValueError(f"{where}: expected the name of an image in the folder of images, got {quoted(name)}")


def _coordinates(field: str, where: str) -> list[int]:
    try:
        values = json.loads(field)
    # A number of thousands of digits raises ValueError, thousands of brackets RecursionError.
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, list) or {*map(type, values)} - {int} or max(map(abs, values), default=0) >= 2**15:
        raise ValueError(f"{where}: expected a JSON list of {NUM_JOINTS} integers, got {quoted(field.strip())}")
    return values


def _check_missing(joints: Int[np.ndarray, "n 18 2"], places: list[str]) -> None:
    """Refuse missing joints that are written as 0, as in a fork's format: two joints are never both in the corner."""
    in_corner = (joints == 0).all(axis=2).sum(axis=1)
    if (joints != MISSING).all() and in_corner.max() > 1:
        row = int(np.argmax(in_corner > 1))
        raise ValueError(
            f"{places[row]}: {in_corner[row]} joints are at (0, 0), and no joint of the file is {MISSING}: "
            f"expected {MISSING} for both coordinates of a missing joint, not 0"
        )


def _check_x(joints: Int[np.ndarray, "n 18 2"], places: list[str], width: int) -> None:
    """Refuse x that belongs to images of another width.

    DeepFashion's images of width 176 are those of width 256 without 40 pixels at each side, and joints are not clipped:
    x is between -31 and 205 at width 176, between 9 and 245 at width 256. No x can be above 215 at width 176. At width
    256 none is negative, but joints of other data may be a little outside.
    """
    lowest, highest = -reach(width), width - 1 + reach(width)
    x = np.where(found(joints), joints[..., 1], width // 2)
    if width == WIDE and x.min() <= -CLEARLY_OUTSIDE and x.max() < WIDE - CROP:
        lowest, highest = 0, WIDE - 1
    _check_range(joints, places, "x", lowest, highest, f"width {width}; {ADVICE}")
    # Of DeepFashion's images, many persons are on average within 8 pixels of the middle, and the frames differ by 40.
    is_found = found(joints)
    if width in (NARROW, WIDE) and len(persons := x[is_found.any(axis=1)]) >= MANY:
        mean, other = x[is_found].mean(), NARROW + WIDE - width
        if abs(mean - other / 2) < abs(mean - width / 2):
            raise ValueError(
                f"{places[0].rpartition(':')[0]}: the mean x of {len(persons)} persons is {mean:.0f}, the middle of "
                f"images of width {other}: expected about {width // 2} for images of width {width}; {ADVICE}"
            )


def reach(side: int) -> int:
    """Return by how many pixels joints may be outside an image of this height or width: as at width 176."""
    return CROP * side // NARROW


def _check_range(
    joints: Int[np.ndarray, "n 18 2"], places: list[str], axis: str, lowest: int, highest: int, side: str
) -> None:
    """Refuse joints that were found and are below `lowest` or above `highest` on an axis, y or x."""
    values = joints[..., "yx".index(axis)]
    outside = found(joints) & ((values < lowest) | (values > highest))
    if outside.any():
        row, joint = np.argwhere(outside)[0]
        raise ValueError(
            f"{places[row]}: {axis} = {values[row, joint]} belongs to another frame: expected {lowest} to {highest} "
            f"for images of {side}"
        )


def write_annotations(path: Path, joints: Mapping[str, JointArray]) -> None:
    """Write image name -> joints as an annotation file, atomically."""
    rows = [f"{name}: {array[:, 0].tolist()}: {array[:, 1].tolist()}" for name, array in joints.items()]
    write_text(path, "\n".join([HEADER, *rows]) + "\n")
