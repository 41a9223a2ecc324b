"""Joints and pairs that are made where none are published."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from twostream.data.keypoints import JointArray, read_annotations, write_annotations
from twostream.data.pairs import Pair, matching_pairs
from twostream.data.pose_estimators import PoseEstimator

PICTURES_A_SAVE = 500


def estimate_joints(
    folder: Path, names: list[str], estimator: PoseEstimator, unfinished: Path
) -> dict[str, JointArray]:
    """Find the joints of prepared pictures.

    Args:
        folder: holds the pictures.
        names: of the pictures.
        estimator: finds the joints.
        unfinished: annotation file that is renewed every 500 pictures; those in it are not estimated again.

    Returns:
        Picture name -> joints, in the order of `names`.

    """
    joints = read_annotations(unfinished) if unfinished.is_file() else {}
    todo = [name for name in names if name not in joints]
    done, total = len(names) - len(todo), len(names)
    bar = tqdm(todo, desc=f"Annotate {folder.name}", unit="image", total=total, initial=done, disable=None)
    for number, name in enumerate(bar, start=1):
        with Image.open(folder / name) as file:
            picture = torch.from_numpy(np.array(file.convert("RGB"))).permute(2, 0, 1)
        joints[name] = estimator(picture[None])[0]
        if number % PICTURES_A_SAVE == 0:
            write_annotations(unfinished, joints)
    return {name: joints[name] for name in names}


def make_pairs(joints: Mapping[str, JointArray], num_drawn: int | None, seed: int) -> tuple[list[Pair], str]:
    """Make pairs by the pair rule (`matching_pairs`).

    Args:
        joints: picture name -> joints.
        num_drawn: how many to draw; None takes all. Where there are no more, all are taken.
        seed: of the draw.

    Returns:
        The pairs, and where they come from in words.

    Raises ValueError where the rule gives none.

    """
    pairs = matching_pairs(joints)
    if not pairs:
        raise ValueError("expected two pictures of one person with both shoulders and both hips found, got none")
    if num_drawn is None:
        return pairs, "rule: all ordered pairs of one identity with both shoulders and both hips found"
    if num_drawn >= len(pairs):
        return pairs, f"rule: all {len(pairs):,} pairs, not the published draw of {num_drawn:,}"
    chosen = np.random.default_rng(seed).permutation(len(pairs))[:num_drawn]
    words = f"drawn: {num_drawn:,} of the {len(pairs):,} pairs of the rule with seed {seed}, not the published draw"
    return [pairs[i] for i in sorted(chosen)], words
