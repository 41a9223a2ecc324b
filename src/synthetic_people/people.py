"""The data set of synthetic people, in the layout of Market-1501 with annotation and pairs files as in PATN."""

import hashlib
import json
import logging
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from filelock import FileLock
from PIL import Image
from tqdm import tqdm

from synthetic_people.backgrounds import NUM_CAMERAS, shoot_background
from synthetic_people.body import BodyShape, arms_are_free, build_figure, sample_shape
from synthetic_people.camera import frame_figure
from synthetic_people.clothes import Outfit, garment_classes, sample_outfit
from synthetic_people.poses import sample_pose
from synthetic_people.raycast import View, render_view, sample_light
from twostream.data.keypoints import JointArray, write_annotations
from twostream.data.manifest import MANIFEST, SPLITS, write_manifest
from twostream.data.pairs import matching_pairs, write_pairs
from twostream.files import read_object, replace_folder
from twostream.signals import become_worker

log = logging.getLogger(__name__)

RENDERER_VERSION = 1  # increased by every change of the renderer that changes a file of the data set
LABEL = "synthetic people"


@dataclass(frozen=True)
class SyntheticPeople:
    """A set of synthetic people; equal settings give equal files.

    Each identity has a body shape and clothes, and appears in several poses in front of six cameras. No identity is in
    both splits.

    Attributes:
        image_size: height and width in pixels, both positive; stored as a tuple.
        num_train_identities: identities of the training split, at least 1.
        num_test_identities: identities of the test split, at least 1.
        views_per_identity: images of each identity, at least 2.
        num_test_pairs: number of random test pairs, at least 1; all pairs if there are fewer.
        seed: of all draws, at least 0.
        num_workers: processes that render; the files do not depend on it.

    Raises ValueError for a setting out of its range.
    """

    image_size: Sequence[int]
    num_train_identities: int
    num_test_identities: int
    views_per_identity: int
    num_test_pairs: int
    seed: int = 0
    num_workers: int = 2

    def __post_init__(self) -> None:
        size = tuple(int(value) for value in self.image_size)
        if len(size) != 2 or min(size) < 1:
            raise ValueError(f"image_size: expected two positive numbers (height, width), got {self.image_size}")
        object.__setattr__(self, "image_size", size)
        ones = dict.fromkeys(("num_train_identities", "num_test_identities", "num_test_pairs", "num_workers"), 1)
        for name, least in (ones | {"views_per_identity": 2, "seed": 0}).items():
            if getattr(self, name) < least:
                raise ValueError(f"{name}: expected at least {least}, got {getattr(self, name)}")

    def settings(self) -> dict[str, object]:
        """Return everything that the files depend on, as stored in the manifest."""
        settings = asdict(self)
        del settings["num_workers"]
        return settings | {"image_size": list(self.image_size), "renderer_version": RENDERER_VERSION}

    def key(self) -> str:
        """Return the folder name of these settings, such as `64x32-120+24x6-seed0-1a2b3c4d`."""
        height, width = self.image_size
        digest = hashlib.sha256(json.dumps(self.settings(), sort_keys=True).encode()).hexdigest()[:8]
        people = f"{self.num_train_identities}+{self.num_test_identities}x{self.views_per_identity}"
        return f"{height}x{width}-{people}-seed{self.seed}-{digest}"

    def prepare(self, parent: Path) -> Path:
        """Render the set into `parent / key()` unless it exists, and return that folder.

        The folder appears under its name only when it is complete; a second process waits until the first one has
        rendered it. With more than one worker, processes are spawned, so a script that calls this must guard its top
        level with `if __name__ == "__main__"`. Raises ValueError if the folder does not hold a set of these settings.
        """
        root = parent / self.key()
        if not root.exists():
            parent.mkdir(parents=True, exist_ok=True)
            with FileLock(parent / f"{root.name}.lock"):
                if not root.exists():
                    self._render(root)
        manifest = read_object(root / MANIFEST)
        settings = "no file" if manifest is None else manifest.get("settings")
        if settings != self.settings():
            raise ValueError(
                f"{root / MANIFEST}: expected settings {self.settings()}, got {settings}; remove the folder"
            )
        return root

    def draw(self, split: str, identity: int) -> tuple[str, Outfit, BodyShape, np.random.Generator]:
        """Draw a person of a split, `identity` counted from 0.

        Returns the identity as in file names, clothes, build, and the generator that draws the views.
        """
        split_index = SPLITS.index(split)
        rng = np.random.default_rng([self.seed, split_index, identity])
        outfit, shape = sample_outfit(rng, sample_shape(rng))
        return f"{identity + 1 + split_index * self.num_train_identities:04d}", outfit, shape, rng

    def views(self, split: str, identity: int) -> Iterator[tuple[str, View]]:
        """Render the images of a person of a split, `identity` counted from 0, without writing files.

        Yields `views_per_identity` times the stem of the file's name, and the view: its image and joints.
        """
        name, outfit, shape, rng = self.draw(split, identity)
        height, width = self.image_size
        for index in range(self.views_per_identity):
            camera_index = int(rng.integers(NUM_CAMERAS))
            for _ in range(20):
                figure = build_figure(shape, sample_pose(rng))
                if arms_are_free(figure):
                    break
            camera = frame_figure(figure, rng.uniform(0, 360), (height, width), shape.height, rng)
            background = shoot_background(camera_index, (height, width), rng)
            view = render_view(figure, outfit, camera, sample_light(rng), background)
            # The frame number increases with every image, which makes names unique.
            frame, sequence, box = 25 * (index + 1) + rng.integers(25), rng.integers(1, 7), rng.integers(1, 7)
            yield f"{name}_c{camera_index + 1}s{sequence}_{frame:06d}_{box:02d}", view

    def garments(self, name: str) -> tuple[int, int, int]:
        """Return the classes (`GARMENT_KINDS`) of what the person with this identity in file names wears."""
        number = int(name) - 1
        is_test = number >= self.num_train_identities
        _, outfit, shape, _ = self.draw(SPLITS[is_test], number - is_test * self.num_train_identities)
        return garment_classes(outfit, shape)

    def _render(self, root: Path) -> None:
        log.info("%s: not there yet, %s are rendered", root, LABEL)
        with replace_folder(root, lambda folder: False, LABEL) as unfinished:
            self._write_tables(unfinished, self._render_images(unfinished))

    def _render_images(self, root: Path) -> dict[str, dict[str, JointArray]]:
        """Write the images and surface coordinates; return split -> image name -> joints."""
        for folder in (*SPLITS, "surface-test"):
            (root / folder).mkdir(parents=True)
        counts = (self.num_train_identities, self.num_test_identities)
        splits = [split for split, count in zip(SPLITS, counts, strict=True) for _ in range(count)]
        identities = [identity for count in counts for identity in range(count)]
        joints: dict[str, dict[str, JointArray]] = {split: {} for split in SPLITS}
        render = partial(render_identity, self, root)
        # A fork would copy the locks of torch's threads. A pool without a task starts no process.
        pool = ProcessPoolExecutor(self.num_workers, multiprocessing.get_context("spawn"), become_worker)
        run = map if self.num_workers == 1 else pool.map
        total = len(identities) * self.views_per_identity
        try:
            with tqdm(total=total, desc=f"Render {LABEL}", unit="image", disable=None) as bar:
                for split, seen in zip(splits, run(render, splits, identities), strict=True):
                    joints[split] |= seen
                    bar.update(len(seen))
        finally:
            pool.shutdown(cancel_futures=True)
        return joints

    def _write_tables(self, root: Path, joints: dict[str, dict[str, JointArray]]) -> None:
        """Write annotations, pairs and manifest."""
        counts: dict[str, int] = {}
        for split in SPLITS:
            write_annotations(root / f"annotation-{split}.csv", joints[split])
            pairs = matching_pairs(dict(sorted(joints[split].items())))
            if split == "test" and len(pairs) > self.num_test_pairs:
                chosen = np.random.default_rng([self.seed, len(SPLITS)]).permutation(len(pairs))
                pairs = [pairs[i] for i in sorted(chosen[: self.num_test_pairs])]
            write_pairs(root / f"pairs-{split}.csv", pairs)
            counts |= {f"num_{split}_images": len(joints[split]), f"num_{split}_pairs": len(pairs)}
        write_manifest(root, {"label": LABEL, "settings": self.settings(), **counts})


def render_identity(people: SyntheticPeople, root: Path, split: str, identity: int) -> dict[str, JointArray]:
    """Render all images of a person, `identity` counted from 0 within the split, into the split's folder below `root`.

    The surface coordinates of test images are written too. Returns image name -> (18, 2) joints as y and x.
    """
    joints = {}
    for stem, view in people.views(split, identity):
        Image.fromarray(view.image).save(root / split / f"{stem}.jpg", quality=95, subsampling=0)
        if split == "test":
            np.savez_compressed(root / "surface-test" / f"{stem}.npz", part=view.part, u=view.u, v=view.v)
        joints[f"{stem}.jpg"] = view.joints
    return joints
