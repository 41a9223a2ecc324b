"""People of your own: a folder of photos for each person -> the data folder that training reads."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from twostream.data.frame import Frame
from twostream.data.images import JPEG, encode_jpeg, read_image
from twostream.data.keypoints import MISSING, JointArray, JointFrame, found, read_annotations, write_annotations
from twostream.data.manifest import MANIFEST, SPLITS, verify, write_manifest
from twostream.data.pairs import write_pairs
from twostream.data.pose import joints_to_tensor
from twostream.data.pose_estimators import PoseEstimator
from twostream.files import IMAGE_SUFFIXES, atomic_write, read_object, write_json
from twostream.prepare.folder import IMAGES_PER_SAVE, SETTINGS, count_tables, make_pairs
from twostream.runs import differences

UNFINISHED = ".annotation.unfinished.csv"
MIN_PEOPLE = 3  # to train on, to validate on and to test on


@dataclass(frozen=True)
class OwnPhotos:
    """Photos of people, `PERSON/PHOTO.jpg` (or png), of any size.

    A pose estimator finds the person in each photo; a small one is cropped, and the photo scaled to `image_size` (see
    `twostream.data.frame.Frame`).

    Raises ValueError for a fraction that is not above 0 and below 1.
    """

    label: str  # name of the data set in tables
    image_size: Sequence[int]  # height and width in pixels of the prepared images
    test_fraction: float = 0.2  # of the people; they are the test identities, at least one

    def __post_init__(self) -> None:
        if not 0 < self.test_fraction < 1:
            raise ValueError(
                f"preparation.test_fraction: expected more than 0 and less than 1, got {self.test_fraction}"
            )

    def split(self, photos: Mapping[str, Sequence[Path]], seed: int) -> dict[str, dict[str, Path]]:
        """Return split -> image name -> photo, from the photos of each person; test people are drawn with `seed`.

        Image names are the numbers of the person and of the photo, `0001_0001.jpg`.
        """
        people = sorted(photos)
        num_test = max(1, round(self.test_fraction * len(people)))
        tests = set(np.random.default_rng(seed).permutation(len(people))[:num_test].tolist())
        names: dict[str, dict[str, Path]] = {split: {} for split in SPLITS}
        for index, person in enumerate(people):
            chosen = names["test" if index in tests else "train"]
            chosen |= {f"{index + 1:04d}_{number:04d}.jpg": path for number, path in enumerate(photos[person], start=1)}
        return names


def find_photos(source: Path) -> dict[str, list[Path]]:
    """Return the photos of each person by the name of the folder. Raises ValueError for fewer than three people."""
    if not source.is_dir():
        raise ValueError(
            f"source: expected a folder with a folder of photos for each person, folder not found: {source}"
        )
    photos = {
        folder.name: sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
        for folder in sorted(source.iterdir())
        if folder.is_dir() and not folder.name.startswith(".")
    }
    photos = {person: paths for person, paths in photos.items() if len(paths) > 1}
    if len(photos) < MIN_PEOPLE:
        raise ValueError(
            f"{source}: expected folders of at least {MIN_PEOPLE} people with two photos or more, got {len(photos)}"
        )
    return photos


def prepare_own(
    preset: OwnPhotos,
    source: Path,
    estimator: PoseEstimator,
    estimator_settings: Mapping[str, Any],
    root: Path,
    seed: int = 0,
) -> dict[str, Any]:
    """Prepare the data folder `root`: crop, scale and annotate photos, make pairs by the pair rule, write the manifest.

    An interrupted preparation resumes. Photos without a person are left out, and the manifest names them.

    Returns the manifest. Raises ValueError if there are too few people, a photo cannot be read, no pair can be made, or
    the folder was prepared from other photos or with other settings.
    """
    photos = find_photos(source)
    images = preset.split(photos, seed)
    settings = _settings(preset, source, images, estimator_settings, seed)
    on_disk = read_object(root / SETTINGS)
    if on_disk is not None and (changes := differences(on_disk, settings)):
        raise ValueError(f"{root}: was prepared with other settings ({changes}); remove it or pass another data.root")
    if on_disk is None and root.is_dir() and any(root.iterdir()):
        raise ValueError(f"{root}: expected a new folder, got one with other files; pass another data.root")
    if (root / MANIFEST).exists():
        return verify(root, trust_times=False)
    write_json(root / SETTINGS, settings)
    joints = _write_images(preset, images, estimator, root)
    content = {
        "label": preset.label,
        **_write_tables(images, joints, root),
        "frame": list(preset.image_size),
        "codec": f"cropped and scaled photos; {JPEG}",
        "annotated_by": dict.fromkeys(SPLITS, f"annotated by {estimator.name}"),
        "estimator_weights": estimator.weights_hash,
        "notes": _notes(source, images, joints),
        "differences": [],
        "people": {f"{index:04d}": person for index, person in enumerate(sorted(photos), start=1)},
    }
    manifest = write_manifest(root, content)
    (root / UNFINISHED).unlink(missing_ok=True)
    return manifest


def _settings(
    preset: OwnPhotos, source: Path, images: Mapping[str, Mapping[str, Path]], estimator: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    """Return all that determines the files of the data folder."""
    files = hashlib.sha256()
    for split, members in images.items():
        for name, path in members.items():
            files.update(f"{split}/{name} {path.relative_to(source).as_posix()} {path.stat().st_size}\n".encode())
    return {
        "label": preset.label,
        "image_size": list(preset.image_size),
        "test_fraction": preset.test_fraction,
        "seed": seed,
        "photos": files.hexdigest(),
        "estimator": dict(estimator),
    }


def _write_images(
    preset: OwnPhotos, images: Mapping[str, Mapping[str, Path]], estimator: PoseEstimator, root: Path
) -> dict[str, JointArray]:
    """Write the image of each photo and return the joints in its frame; all -1 for a photo without a person."""
    height, width = preset.image_size
    unfinished = root / UNFINISHED
    joints = read_annotations(unfinished, JointFrame(height, width)) if unfinished.is_file() else {}
    todo = [(root / split / name, path) for split, members in images.items() for name, path in members.items()]
    for number, (path, photo) in enumerate(tqdm(todo, desc="Prepare photos", unit="image", disable=None), start=1):
        if path.name in joints:
            continue
        pixels = read_image(photo)
        (seen,) = estimator(torch.from_numpy(pixels).permute(2, 0, 1)[None])
        floats = joints_to_tensor(seen)
        frame = Frame(pixels.shape[:2], (height, width), floats)
        inside = frame.joints_to_network(floats[None]).numpy()[0]
        joints[path.name] = np.where(np.isnan(inside), MISSING, np.nan_to_num(inside).round()).astype(np.int64)
        if found(joints[path.name]).any():
            network = frame.to_network(Image.fromarray(pixels))[0].permute(1, 2, 0).numpy()
            with atomic_write(path) as temporary:
                temporary.write_bytes(encode_jpeg(Image.fromarray(network)))
        if number % IMAGES_PER_SAVE == 0:
            write_annotations(unfinished, joints)
    write_annotations(unfinished, joints)
    return joints


def _write_tables(
    images: Mapping[str, Mapping[str, Path]], joints: Mapping[str, JointArray], root: Path
) -> dict[str, Any]:
    """Write annotations and pairs of both splits; return their counts and how pairs were made."""
    counts: dict[str, Any] = {"pairs": {}}
    for split in SPLITS:
        own = {name: joints[name] for name in images[split] if found(joints[name]).any()}
        pairs, counts["pairs"][split] = make_pairs(own, None, 0, split)
        write_annotations(root / f"annotation-{split}.csv", own)
        write_pairs(root / f"pairs-{split}.csv", pairs)
        counts |= count_tables(split, len(own), own, len(pairs))
    return counts


def _notes(source: Path, images: Mapping[str, Mapping[str, Path]], joints: Mapping[str, JointArray]) -> list[str]:
    return [
        f"{path.relative_to(source).as_posix()}: no person found, left out"
        for members in images.values()
        for name, path in members.items()
        if not found(joints[name]).any()
    ]
