"""The data set of synthetic people, laid out as Market-1501 with PATN's annotation and pairs files."""

import hashlib
import json
import multiprocessing
import os
import shutil
import socket
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from synthetic_people.backgrounds import NUM_CAMERAS, shoot_background
from synthetic_people.body import BodyShape, Figure, arms_are_free, build_figure, sample_shape
from synthetic_people.camera import frame_figure
from synthetic_people.clothes import Outfit
from synthetic_people.poses import sample_pose
from synthetic_people.raycast import View, render_view, sample_light
from synthetic_people.wardrobe import sample_outfit
from twostream.data.keypoints import JointArray, write_annotations
from twostream.data.pairs import matching_pairs, write_pairs

RENDERER_VERSION = 1
"""Goes up with every change of the renderer that changes a file of the data set."""

LABEL = "synthetic people"
SPLITS = ("train", "test")


@dataclass(frozen=True)
class SyntheticPeople:
    """Settings of a set of synthetic people; equal settings give equal files.

    Each identity has a body shape and clothes, and is seen in several poses from all sides by six cameras.
    No identity is in both splits.

    Attributes:
        image_size: height and width in pixels, both positive; kept as a tuple.
        num_train_identities: people to train on, at least 1.
        num_test_identities: people to test on, at least 1.
        views_per_identity: pictures of each person, at least 2.
        num_test_pairs: pairs drawn by chance from all test pairs, at least 1; all when there are fewer.
        seed: where all chance comes from, at least 0.
        num_workers: processes that render; the files do not depend on it.

    Raises:
        ValueError: a setting is out of its range.
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
        least = {"views_per_identity": 2, "seed": 0}
        counts = ("num_train_identities", "num_test_identities", "num_test_pairs", "num_workers")
        for name in (*counts, *least):
            value = getattr(self, name)
            if value < least.get(name, 1):
                raise ValueError(f"{name}: expected at least {least.get(name, 1)}, got {value}")

    def settings(self) -> dict[str, object]:
        """All that the files depend on, as in the manifest."""
        settings = asdict(self)
        del settings["num_workers"]
        return settings | {"image_size": list(self.image_size), "renderer_version": RENDERER_VERSION}

    def key(self) -> str:
        """Short folder name, different for different settings, such as `64x32-120+24x6-seed0-1a2b3c4d`."""
        height, width = self.image_size
        digest = hashlib.sha256(json.dumps(self.settings(), sort_keys=True).encode()).hexdigest()[:8]
        people = f"{self.num_train_identities}+{self.num_test_identities}x{self.views_per_identity}"
        return f"{height}x{width}-{people}-seed{self.seed}-{digest}"

    def prepare(self, parent: Path) -> Path:
        """Render the set into `parent / key()`, unless it is there.

        With more than one worker, processes are started anew (spawn), so a script that calls this must guard
        its top level with `if __name__ == "__main__"`.

        Args:
            parent: folder of all generated sets; made when missing.

        Returns:
            The folder, always a whole set: it gets its name only when everything is written.

        Raises:
            ValueError: the folder is there, but holds no set of these settings.
        """
        root = parent / self.key()
        if not root.exists():
            with _whole_folder(root) as partial:
                self._render(partial)
        self._check(root)
        return root

    def draw(self, split: str, identity: int) -> tuple[str, Outfit, BodyShape, np.random.Generator]:
        """Draw one person: the identity in its pictures' names, clothes, build, and where its views' chance comes from.

        Args:
            split: "train" or "test".
            identity: 0-based number within the split.
        """
        split_index = SPLITS.index(split)
        rng = np.random.default_rng([self.seed, split_index, identity])
        outfit, shape = sample_outfit(rng, sample_shape(rng))
        return f"{identity + 1 + split_index * self.num_train_identities:04d}", outfit, shape, rng

    def _check(self, root: Path) -> None:
        """Raise ValueError unless the manifest in `root` has these settings."""
        manifest = root / "manifest.json"
        if not manifest.is_file():
            raise ValueError(f"{root}: expected a set of synthetic people, but there is no manifest.json; remove it")
        found = json.loads(manifest.read_text(encoding="utf-8")).get("settings")
        if found != self.settings():
            raise ValueError(f"{manifest}: expected settings {self.settings()}, got {found}; remove the folder")

    def _render(self, root: Path) -> None:
        for folder in (*SPLITS, "surface-test"):
            (root / folder).mkdir(parents=True)
        identities = [
            (split, identity)
            for split, count in zip(SPLITS, (self.num_train_identities, self.num_test_identities), strict=True)
            for identity in range(count)
        ]
        joints: dict[str, dict[str, JointArray]] = {split: {} for split in SPLITS}
        total = len(identities) * self.views_per_identity
        bar = tqdm(total=total, desc=f"rendering {LABEL}", unit="image", disable=None)
        with bar, closing(self._run(identities, root)) as rendered:
            for (split, _), seen in zip(identities, rendered, strict=True):
                joints[split] |= seen
                bar.update(len(seen))
        counts: dict[str, int] = {}
        for split in SPLITS:
            write_annotations(root / f"annotation-{split}.csv", joints[split])
            pairs = matching_pairs(joints[split])
            if split == "test" and len(pairs) > self.num_test_pairs:
                chosen = np.random.default_rng([self.seed, len(SPLITS)]).permutation(len(pairs))
                pairs = [pairs[i] for i in sorted(chosen[: self.num_test_pairs])]
            write_pairs(root / f"pairs-{split}.csv", pairs)
            counts |= {f"num_{split}_images": len(joints[split]), f"num_{split}_pairs": len(pairs)}
        manifest = {"label": LABEL, "settings": self.settings(), **counts, "data_hash": _hash_files(root)}
        (root / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")

    def _run(self, identities: list[tuple[str, int]], root: Path) -> Generator[dict[str, JointArray], None, None]:
        """Render all identities, in their order, here or in worker processes."""
        if self.num_workers == 1:
            for split, identity in identities:
                yield render_identity(self, split, identity, root)
            return
        # a fork would copy the threads' locks of a process that uses torch
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(self.num_workers, mp_context=context) as pool:
            tasks = [pool.submit(render_identity, self, *identity, root) for identity in identities]
            try:
                for task in tasks:
                    yield task.result()
            finally:
                pool.shutdown(cancel_futures=True)


@contextmanager
def _whole_folder(root: Path) -> Iterator[Path]:
    """Give a temporary folder beside `root` that takes its name on success and is removed on an error."""
    # What another machine is at work on is not ours to remove.
    mine = f"{root.name}.partial-{socket.gethostname()}"
    partial = root.with_name(f"{mine}-{os.getpid()}")
    for left in root.parent.glob(f"{mine}-*"):
        if left == partial or not _is_alive(int(left.name.rpartition("-")[2])):
            shutil.rmtree(left, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        try:
            partial.rename(root)
        except OSError:
            # another process was faster: its set is as good
            if not root.exists():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _hash_files(root: Path) -> str:
    """SHA-256 over the names and contents of all files below a folder, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def render_identity(people: SyntheticPeople, split: str, identity: int, root: Path) -> dict[str, JointArray]:
    """Render all pictures of one person and write them into the split's folder.

    Args:
        people: the settings.
        split: "train" or "test"; pictures of "test" get their surface coordinates too.
        identity: 0-based number within the split.
        root: folder of the data set, with the folders of the splits in it.

    Returns:
        Picture name -> (18, 2) joints as y and x.
    """
    name, outfit, shape, rng = people.draw(split, identity)
    height, width = people.image_size
    joints = {}
    for index in range(people.views_per_identity):
        camera_index = int(rng.integers(NUM_CAMERAS))
        figure = _pose_figure(shape, rng)
        camera = frame_figure(figure, rng.uniform(0, 360), (height, width), shape.height, rng)
        background = shoot_background(camera_index, (height, width), rng)
        view = render_view(figure, outfit, camera, sample_light(rng), background)
        # the frame number grows with every picture, so that no name comes twice
        frame, sequence, box = 25 * (index + 1) + rng.integers(25), rng.integers(1, 7), rng.integers(1, 7)
        stem = f"{name}_c{camera_index + 1}s{sequence}_{frame:06d}_{box:02d}"
        _write_view(view, stem, split, root)
        joints[f"{stem}.jpg"] = view.joints
    return joints


def _pose_figure(shape: BodyShape, rng: np.random.Generator) -> Figure:
    """Figure in a random pose whose arms do not run through the body."""
    for _ in range(20):
        figure = build_figure(shape, sample_pose(rng))
        if arms_are_free(figure):
            break
    return figure


def _write_view(view: View, stem: str, split: str, root: Path) -> None:
    Image.fromarray(view.image).save(root / split / f"{stem}.jpg", quality=95, subsampling=0)
    if split == "test":
        np.savez_compressed(root / "surface-test" / f"{stem}.npz", part=view.part, u=view.u, v=view.v)
