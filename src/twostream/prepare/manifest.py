"""What a prepared folder's manifest states: counts, and where everything comes from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from twostream.data.keypoints import TORSO, JointArray, found
from twostream.data.pairs import Pair
from twostream.data.pose_estimators import PoseEstimator
from twostream.files import sha256_of
from twostream.prepare.plan import Plan
from twostream.prepare.preset import SPLITS, About
from twostream.prepare.published import SplitTables


@dataclass(frozen=True)
class SplitResult:
    """A split's joints by picture name and pairs, and where each comes from in words."""

    joints: dict[str, JointArray]
    annotated_by: str
    pairs: list[Pair]
    paired_by: str


def manifest_of(
    about: About,
    source: Path,
    plan: Plan,
    settings: Mapping[str, Any],
    tables: Mapping[str, SplitTables],
    results: Mapping[str, SplitResult],
    estimator: PoseEstimator | None,
) -> dict[str, Any]:
    """Return the manifest of a folder but for its hash.

    Args:
        about: the data set.
        source: the zip or folder that the user named.
        plan: what was found in it.
        settings: all that the files depend on.
        tables: split -> what is published.
        results: split -> what is in the folder.
        estimator: what found joints where none are published; None where it was not needed.

    """
    counts: dict[str, int] = {}
    for split in SPLITS:
        counts |= _counts(split, len(plan.members[split]), results[split])
    return {
        "label": about.label,
        "settings": dict(settings),
        **counts,
        "frame": list(about.image_size),
        "codec": plan.codec,
        "written_with": f"Pillow {PIL.__version__}",
        "annotated_by": {split: results[split].annotated_by for split in SPLITS},
        "annotation_frame": {split: tables[split].made_for for split in SPLITS},
        "estimator_weights": None if estimator is None else estimator.weights_hash,
        "pairs": {split: results[split].paired_by for split in SPLITS},
        "notes": _notes(plan, tables, results),
        "inputs": _inputs(source, plan),
    }


def _counts(split: str, num_images: int, result: SplitResult) -> dict[str, int]:
    are_found = np.stack([found(array) for array in result.joints.values()])
    return {
        f"num_{split}_images": num_images,
        f"num_{split}_annotated": len(result.joints),
        f"num_{split}_joints": int(are_found.sum()),
        f"num_{split}_torsos": int(are_found[:, list(TORSO)].all(axis=1).sum()),
        f"num_{split}_pairs": len(result.pairs),
    }


def _notes(plan: Plan, tables: Mapping[str, SplitTables], results: Mapping[str, SplitResult]) -> list[str]:
    notes = []
    if plan.num_unlisted:
        notes.append(f"{plan.num_unlisted:,} pictures of the source are in no split and left out")
    left_out = len(plan.missing) + sum(len(tables[split].problems) for split in SPLITS)
    if left_out:
        notes.append(f"{left_out:,} pictures that the lists, annotations or pairs name can't be used and are left out")
    for split in SPLITS:
        if lost := tables[split].num_lost:
            notes.append(f"{split}: {lost:,} joints fall on x = -1 of the pictures' frame and read as not found")
        if bare := len(plan.members[split]) - len(results[split].joints):
            notes.append(f"{split}: {bare:,} pictures have no annotation")
    return notes


def _inputs(source: Path, plan: Plan) -> list[dict[str, str | None]]:
    """Name each input file with its SHA-256; of an unpacked download the settings hold a hash of names and sizes."""
    files = [(path.name, None if path.is_dir() else sha256_of(path)) for path in (source, *plan.tables.values())]
    files += [(name, file.sha256()) for name, file in plan.lists.items()]
    return [{"file": name, "sha256": digest} for name, digest in files]
