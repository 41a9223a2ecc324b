"""Poses from files of other tools: OpenPose's and COCO's JSON, and annotation files."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from twostream.data.keypoints import ANY_FRAME, MISSING, NUM_JOINTS, read_annotations
from twostream.data.pose_estimators import COCO_INDEX, COCO_SHOULDERS, NECK, NUM_COCO_JOINTS
from twostream.files import read_json

Joints = Float[np.ndarray, "18 2"]
"""Joints as (y, x) in pixels, NaN if missing."""

# Index of each of the 18 joints among OpenPose's 25, which have a hip centre and feet too.
BODY_25_INDEX = (*range(8), *range(9, 19))
NUM_BODY_25 = 25
MIN_SCORE = 0.05  # of a found joint; OpenPose writes 0 for a missing one, COCO a visibility of 0


def read_poses(path: Path) -> dict[str, Joints]:
    """Read the poses in a file by name.

    - An annotation file (`.csv`): its rows by image name.
    - OpenPose's JSON (`people` with `pose_keypoints_2d` of 18 or 25 joints): of the person with the highest scores.
    - COCO's JSON: a list of objects with `keypoints` of 17 joints, `{"annotations": [...]}`, or one such object.

    Raises ValueError, in one line with the file, for another content.
    """
    if path.suffix.lower() == ".csv":
        rows = read_annotations(path, ANY_FRAME)
        return {name: np.where(joints == MISSING, np.nan, joints).astype(float) for name, joints in rows.items()}
    if path.suffix.lower() != ".json":
        raise ValueError(f"{path}: expected an annotation file (.csv) or JSON (.json) of OpenPose or COCO")
    content = read_json(path)
    if content is None:
        raise ValueError(f"{path}: file not found")
    if isinstance(content, dict) and "people" in content:
        return {path.stem: _openpose(content["people"], path)}
    entries = content.get("annotations", [content]) if isinstance(content, dict) else content
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{path}: expected `people` of OpenPose, or `annotations` or `keypoints` of COCO, got neither")
    names = [path.stem] if len(entries) == 1 else [f"{path.stem}_{i:04d}" for i in range(len(entries))]
    return {name: _coco(entry, path) for name, entry in zip(names, entries, strict=True)}


def _openpose(people: Any, path: Path) -> Joints:
    if not isinstance(people, list) or not people:
        raise ValueError(f"{path}: people: expected at least one person, got none")
    poses = [_triples(one, "pose_keypoints_2d", path, (NUM_JOINTS, NUM_BODY_25)) for one in people]
    best = max(poses, key=lambda pose: pose[:, 2].sum())
    return _found(best if len(best) == NUM_JOINTS else best[list(BODY_25_INDEX)])


def _coco(entry: Any, path: Path) -> Joints:
    pose = _triples(entry, "keypoints", path, (NUM_COCO_JOINTS,))
    shoulders = pose[list(COCO_SHOULDERS)]
    neck = np.append(shoulders[:, :2].mean(axis=0), shoulders[:, 2].min())
    joints = np.vstack([pose, neck])[list(COCO_INDEX)]
    assert COCO_INDEX[NECK] == NUM_COCO_JOINTS
    return _found(joints)


def _triples(entry: Any, key: str, path: Path, counts: tuple[int, ...]) -> Float[np.ndarray, "n 3"]:
    """Return the rows (x, y, score) of a flat list of finite numbers."""
    numbers = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(numbers, list):
        numbers = []
    are_numbers = all(type(number) in (int, float) for number in numbers) and bool(np.isfinite(numbers).all())
    if not are_numbers or len(numbers) not in [3 * count for count in counts]:
        expected = " or ".join(str(3 * count) for count in counts)
        got = f"{len(numbers)} values" if numbers else "none"
        raise ValueError(f"{path}: {key}: expected {expected} finite numbers (x, y, score of each joint), got {got}")
    return np.array(numbers, float).reshape(-1, 3)


def _found(joints: Float[np.ndarray, "18 3"]) -> Joints:
    """Return (y, x) of rows (x, y, score), NaN for a low score."""
    return np.where(joints[:, 2:] >= MIN_SCORE, joints[:, 1::-1], np.nan)
