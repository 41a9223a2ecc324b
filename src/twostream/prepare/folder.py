"""The data folder that training reads: images, joints and pairs are written, described by a manifest and verified."""

import json
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from twostream.data.images import read_image
from twostream.data.keypoints import TORSO, JointArray, JointFrame, found, read_annotations, write_annotations
from twostream.data.manifest import MANIFEST, SPLITS, TABLES, names_in, verify
from twostream.data.pairs import Pair, draw_pairs, matching_pairs
from twostream.data.pose_estimators import PoseEstimator
from twostream.files import atomic_write, first_lines, read_object
from twostream.prepare.sources import Preset, Source
from twostream.runs import differences

SETTINGS = ".preparation.json"
IMAGES_PER_SAVE = 500  # of estimated joints
ImageNames = Mapping[str, Mapping[str, str]]  # split -> image name -> name in the source
COUNTS = {
    "images": "images",
    "annotated": "annotated images",
    "joints": "keypoints found",
    "torsos": "with shoulders and hips",
    "pairs": "pairs",
}


def check_folder(root: Path, settings: Mapping[str, Any], images: ImageNames) -> dict[str, Any] | None:
    """Return the manifest of a complete data folder, verified; None for a new folder and an interrupted preparation.

    Raises ValueError for a folder that was prepared with other settings or contains other files, and for a complete one
    of which a file is missing or has changed.
    """
    on_disk = read_object(root / SETTINGS)
    if on_disk is None:
        foreign = [name for name in (*SPLITS, *TABLES, MANIFEST) if (root / name).exists()]
        if foreign:
            raise ValueError(
                f"{root}: {', '.join(foreign)} are not from a preparation; remove them or pass another data.root"
            )
    elif changes := differences(on_disk, json.loads(json.dumps(settings))):
        raise ValueError(f"{root}: was prepared with other settings ({changes}); remove it or pass another data.root")
    missing: list[str] = []
    for split in SPLITS:
        existing = names_in(root / split)
        missing += [f"{split}/{name}" for name in sorted(images[split].keys() - existing)]
        foreign = sorted(existing - images[split].keys())
        if foreign:
            first = f"{root / split}: {len(foreign)} files are not images of the {split} split; remove them:"
            raise ValueError("\n".join([first, *first_lines(foreign)]))
    missing += [name for name in TABLES if not (root / name).is_file()]
    if not (root / MANIFEST).exists():
        return None
    if missing:
        first = f"{root}: {len(missing)} files are missing; remove {root / MANIFEST} and prepare again to restore them:"
        raise ValueError("\n".join([first, *first_lines(missing)]))
    return verify(root, trust_times=False)


def write_images(source: Source, preset: Preset, images: ImageNames, root: Path, num_workers: int) -> int:
    """Convert the images that are not in the data folder `root` yet, write them to its splits and return how many.

    `num_workers` threads write them, and 0 is one: Pillow lets other threads run while it decodes. Raises ValueError
    that lists the images that the preset refuses, after all others are written.
    """

    def write(item: tuple[Path, str]) -> str:
        path, name = item
        try:
            content, _ = preset.convert(source.read(name))
        except ValueError as error:
            return f"{name}: {error}"
        with atomic_write(path) as temporary:
            temporary.write_bytes(content)
        return ""

    todo: list[tuple[Path, str]] = []
    for split, members in images.items():
        existing = names_in(root / split)
        todo += [(root / split / name, member) for name, member in members.items() if name not in existing]
    pool = ThreadPoolExecutor(max(1, num_workers))
    try:
        bar = tqdm(pool.map(write, todo), desc="Write images", unit="image", total=len(todo), disable=None)
        problems = [problem for problem in bar if problem]
    finally:
        pool.shutdown(cancel_futures=True)
    if problems:
        raise ValueError("\n".join([f"{source.path}: {len(problems)} images cannot be used:", *first_lines(problems)]))
    return len(todo)


def estimate_joints(
    folder: Path, names: Collection[str], estimator: PoseEstimator, unfinished: Path, image_size: tuple[int, int]
) -> dict[str, JointArray]:
    """Estimate the joints of the prepared images `names`, of this height and width, one by one: image name -> joints.

    The annotation file `unfinished` is renewed every 500 images; those in it are not estimated again.
    """
    joints = read_annotations(unfinished, JointFrame(*image_size)) if unfinished.is_file() else {}
    todo = [name for name in names if name not in joints]
    for number, name in enumerate(tqdm(todo, desc=f"Annotate {folder.name}", unit="image", disable=None), start=1):
        image = torch.from_numpy(read_image(folder / name)).permute(2, 0, 1)
        joints[name] = estimator(image[None])[0]
        if number % IMAGES_PER_SAVE == 0:
            write_annotations(unfinished, joints)
    return {name: joints[name] for name in names}


def make_pairs(
    joints: Mapping[str, JointArray], num_drawn: int | None, seed: int, where: str
) -> tuple[list[Pair], str]:
    """Make pairs by the pair rule (`matching_pairs`), or draw `num_drawn` of them if there are more.

    Returns the pairs and a description of their origin. Raises ValueError that begins with `where`, a setting or file,
    if the rule gives none.
    """
    pairs = matching_pairs(joints)
    if not pairs:
        raise ValueError(
            f"{where}: expected two images of one identity with both shoulders and both hips found, got none"
        )
    if num_drawn is None:
        return pairs, "rule: all ordered pairs of one identity with both shoulders and both hips found"
    if num_drawn >= len(pairs):
        return pairs, f"rule: all {len(pairs):,} pairs, not the published draw of {num_drawn:,}"
    origin = f"drawn: {num_drawn:,} of the {len(pairs):,} pairs of the rule with seed {seed}, not the published draw"
    return draw_pairs(pairs, num_drawn, seed), origin


def count_tables(split: str, num_images: int, joints: Mapping[str, JointArray], num_pairs: int) -> dict[str, int]:
    """Return the counts of a split that the manifest holds."""
    are_found = found(np.stack(list(joints.values())))
    return {
        f"num_{split}_images": num_images,
        f"num_{split}_annotated": len(joints),
        f"num_{split}_joints": int(are_found.sum()),
        f"num_{split}_torsos": int(are_found[:, list(TORSO)].all(axis=1).sum()),
        f"num_{split}_pairs": num_pairs,
    }


def differences_to_published(counts: Mapping[str, int], published: Mapping[str, int]) -> list[str]:
    """Return a line for each of the counts that differs from the published one of the same key."""
    lines = []
    for count, words in COUNTS.items():
        for split in SPLITS:
            key = f"num_{split}_{count}"
            here, expected = counts[key], published.get(key)
            if expected is not None and here != expected:
                comparison = f"{abs(here - expected):,} {'fewer' if here < expected else 'more'}"
                lines.append(f"{split} {words}: {here:,} here, {expected:,} published ({comparison})")
    return lines


def report(manifest: Mapping[str, Any], published: Mapping[str, int]) -> str:
    """Format a manifest: its counts next to the `published` ones of the same keys, origins, notes and differences."""
    beside = f"{'published':>12}" if published else ""
    lines = [manifest["label"], f"{'':24}{'train':>12}{beside}{'test':>12}{beside}"]
    for count, words in COUNTS.items():
        row = f"{words:24}"
        for split in SPLITS:
            key = f"num_{split}_{count}"
            here, expected = manifest[key], published.get(key)
            row += f"{here:>12,}" + (" " * len(beside) if expected is None else f"{expected:>12,}")
        lines.append(row.rstrip())
    lines.append(f"files: {manifest['codec']}")
    for split in SPLITS:
        lines.append(f"{split} keypoints: {manifest['annotated_by'][split]}")
        lines.append(f"{split} pairs: {manifest['pairs'][split]}")
    lines += [f"note: {note}" for note in manifest["notes"]]
    differing = [f"difference: {line}" for line in manifest["differences"]]
    if published and not differing:
        differing = ["counts of images and pairs: as published"]
    return "\n".join([*lines, *differing])
