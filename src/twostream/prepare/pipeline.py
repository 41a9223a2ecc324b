"""The whole way from a download to a data folder."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twostream.data.keypoints import write_annotations
from twostream.data.pairs import write_pairs
from twostream.data.pose_estimators import PoseEstimator
from twostream.files import sha256_of, write_json
from twostream.prepare.folder import (
    MANIFEST,
    SETTINGS,
    UNPACKED,
    check_no_others,
    check_settings,
    hash_files,
    read_whole,
)
from twostream.prepare.image_files import listed, write_pictures
from twostream.prepare.made import estimate_joints, make_pairs
from twostream.prepare.manifest import SplitResult, manifest_of
from twostream.prepare.plan import Inputs, Plan, make_plan
from twostream.prepare.preset import SPLITS, Preset
from twostream.prepare.published import SplitTables, read_joints, read_tables

VERSION = 1
"""Goes up with every change that changes a prepared file."""


@dataclass(frozen=True)
class Choices:
    """What a user chooses.

    Attributes:
        annotation_frame: width of the pictures that the annotations were made for; None finds it out.
        strict: refuse where named pictures are missing; False leaves them out.
        seed: of test pairs that are drawn.
        num_workers: processes that write pictures; 0 does it in this one.

    """

    annotation_frame: int | None
    strict: bool
    seed: int
    num_workers: int


@dataclass(frozen=True)
class Estimation:
    """How joints are found where none are published: what makes the estimator when it is needed, and its settings."""

    make: Callable[[], PoseEstimator]
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """A prepared folder's manifest, and how many pictures were written; None where the folder was whole already."""

    manifest: dict[str, Any]
    num_written: int | None


def prepare(preset: Preset, inputs: Inputs, root: Path, choices: Choices, estimation: Estimation) -> Outcome:
    """Prepare the data folder `root`; go on where an earlier call was stopped, and only check a folder that is whole.

    The manifest comes last: a folder with a manifest is whole.

    Raises ValueError where inputs are missing or do not fit together, where pictures are damaged, and for a folder with
    other settings or files.
    """
    plan = make_plan(preset, inputs, root / UNPACKED)
    settings = _settings(preset, plan, choices, estimation)
    check_settings(root, settings)
    check_no_others(root, plan.members)
    if (root / MANIFEST).is_file():
        return Outcome(read_whole(root, plan.members), None)
    tables = {split: read_tables(split, plan, preset, choices.annotation_frame) for split in SPLITS}
    problems = plan.missing + [problem for split in SPLITS for problem in tables[split].problems]
    if problems and choices.strict:
        words = f"{len(problems)} pictures are named but can't be used; strict=false leaves them out:"
        raise ValueError("\n".join([words, *listed(problems)]))
    estimator = estimation.make() if any(tables[split].joints is None for split in SPLITS) else None
    write_json(root / SETTINGS, settings)
    num_written = write_pictures(plan.download, preset, plan.members, root, choices.num_workers)
    results = {}
    for split in SPLITS:
        results[split] = _finish(
            split, root, plan, tables[split], estimator, preset.about.num_drawn(split), choices.seed
        )
        write_annotations(root / f"annotation-{split}.csv", results[split].joints)
        write_pairs(root / f"pairs-{split}.csv", results[split].pairs)
    manifest = manifest_of(preset.about, inputs.source, plan, settings, tables, results, estimator)
    manifest["data_hash"] = hash_files(root)
    write_json(root / MANIFEST, manifest)
    shutil.rmtree(root / UNPACKED, ignore_errors=True)
    for split in SPLITS:
        _unfinished(root, split).unlink(missing_ok=True)
    return Outcome(manifest, num_written)


def pairs_alone(preset: Preset, annotations: Path, out: Path) -> int:
    """Write all pairs that the pair rule makes of an annotation file in any frame; return how many.

    Raises ValueError where there is no such file, where it is malformed, and where it gives no pair.
    """
    if not annotations.is_file():
        raise ValueError(f"annotations: expected an annotation file, there is none at {annotations}")
    pairs, _ = make_pairs(read_joints(annotations, preset), num_drawn=None, seed=0)
    write_pairs(out, pairs)
    return len(pairs)


def _settings(preset: Preset, plan: Plan, choices: Choices, estimation: Estimation) -> dict[str, Any]:
    """Return all that the files depend on."""
    settings: dict[str, Any] = {
        "version": VERSION,
        "label": preset.about.label,
        "codec": plan.codec,
        "pictures": plan.fingerprint(),
        "annotation_frame": choices.annotation_frame,
        "strict": choices.strict,
    }
    for split in SPLITS:
        drawn = preset.about.num_drawn(split)
        settings[f"annotations_{split}"] = dict(estimation.settings)
        settings[f"pairs_{split}"] = "rule" if drawn is None else f"{drawn} drawn with seed {choices.seed}"
    return settings | {setting: sha256_of(path) for setting, path in plan.tables.items()}


def _finish(
    split: str,
    root: Path,
    plan: Plan,
    tables: SplitTables,
    estimator: PoseEstimator | None,
    num_drawn: int | None,
    seed: int,
) -> SplitResult:
    """Take a split's joints and pairs as published, or make them."""
    if tables.joints is not None:
        joints = tables.joints
        annotated_by = f"file {plan.tables[f'annotations_{split}'].name}"
    else:
        assert estimator is not None
        joints = estimate_joints(root / split, list(plan.members[split]), estimator, _unfinished(root, split))
        annotated_by = f"annotated by {estimator.name}, not the published joints"
    if tables.pairs is not None:
        return SplitResult(joints, annotated_by, tables.pairs, f"file {plan.tables[f'pairs_{split}'].name}")
    try:
        return SplitResult(joints, annotated_by, *make_pairs(joints, num_drawn, seed))
    except ValueError as error:
        raise ValueError(f"pairs_{split}: {error}") from None


def _unfinished(root: Path, split: str) -> Path:
    return root / f".annotation-{split}.unfinished.csv"
