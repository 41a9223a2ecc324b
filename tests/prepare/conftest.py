"""Tiny downloads of both data sets in their original layout, made of synthetic people."""

import zipfile
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stand_ins import encoded
from twostream.data.keypoints import ANY_FRAME, read_annotations, write_annotations
from twostream.prepare.deepfashion import DeepFashion
from twostream.prepare.market1501 import Market1501
from twostream.prepare.pipeline import Request, prepare

jpeg = partial(encoded, kind="JPEG", quality=90)


@dataclass
class TinyDownload:
    files: dict  # content by path
    joints: dict  # by split and prepared image name
    tables: str  # name of the annotation files, with {} for the split
    lists: dict = field(default_factory=dict)  # image names by split

    def folder(self, path: Path) -> Path:
        for name, content in self.files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(content)
        return path

    def zip(self, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w") as file:
            for name, content in self.files.items():
                file.writestr(name, content)
        return path

    def annotate(self, folder: Path, shift: int = 0) -> Path:
        """Write the published annotation files, x shifted where a joint is found."""
        folder.mkdir(parents=True, exist_ok=True)
        for split, joints in self.joints.items():
            moved = {
                name: np.where(array[:, :1] == -1, -1, array + np.array([0, shift])) for name, array in joints.items()
            }
            write_annotations(folder / self.tables.format(split), moved)
        return folder


def synthetic_images(people_folder: Path):
    """Yield split, name, image and joints of the synthetic people."""
    for split in ("train", "test"):
        for name, joints in sorted(read_annotations(people_folder / f"annotation-{split}.csv", ANY_FRAME).items()):
            with Image.open(people_folder / split / name) as file:
                yield split, name, file.convert("RGB"), joints


@pytest.fixture(scope="session")
def market(people_folder) -> TinyDownload:
    top = "Market-1501-v15.09.15"
    files = {f"{top}/readme.txt": b"hello", f"{top}/bounding_box_train/Thumbs.db": b"x"}
    joints = {"train": {}, "test": {}}
    for split, name, image, found in synthetic_images(people_folder):
        # In the official test split, too, some names end twice.
        name = f"{name}.jpg" if split == "test" and not joints["test"] else name
        files[f"{top}/bounding_box_{split}/{name}"] = jpeg(image.resize((64, 128)))
        joints[split][name] = np.where(found == -1, -1, found * 4)
    distractor = "-1_c1s1_000401_03.jpg"
    files[f"{top}/bounding_box_test/{distractor}"] = jpeg(Image.new("RGB", (64, 128)))
    joints["test"][distractor] = np.full((18, 2), -1)
    files[f"{top}/query/{name}"] = files[f"{top}/gt_bbox/{name}"] = jpeg(Image.new("RGB", (64, 128)))
    return TinyDownload(files, joints, "market-annotation-{}.csv")


@pytest.fixture(scope="session")
def fashion(people_folder) -> TinyDownload:
    """Wide images, people at their left and right edges in turn; the last identities are men."""
    files, joints, lists = {}, {"train": {}, "test": {}}, {"train": [], "test": []}
    partition = []
    for index, (split, name, image, found) in enumerate(synthetic_images(people_folder)):
        framed = Image.new("RGB", (256, 256), "white")
        left = 128 * (index % 2)
        framed.paste(image.resize((128, 256)), (left, 0))
        sex, category = ("WOMEN", "Blouses_Shirts") if split == "train" else ("MEN", "Denim")
        item = int(name[:4])
        path = f"img/{sex}/{category}/id_{item:08d}/02_{index % 4}_back.jpg"
        files[path] = jpeg(framed)
        joined = f"fashion{sex}{category}id{item:08d}02_{index % 4}back.jpg"
        joints[split][joined] = np.where(found == -1, -1, found * 8 + np.array([0, left]))
        lists[split].append(joined)
        partition.append(f"{path}  id_{item:08d}  {'train' if split == 'train' else ('query', 'gallery')[index % 2]}")
    files["Eval/list_eval_partition.txt"] = "\n".join(
        [str(len(partition)), "image_name item_id evaluation_status", *partition]
    ).encode()
    return TinyDownload(files, joints, "fasion-resize-annotation-{}.csv", lists)


PRESETS = {
    "market1501": lambda: Market1501("Market-1501"),
    "deepfashion": lambda: DeepFashion("DeepFashion 256x256", 256),
    "deepfashion_176": lambda: DeepFashion("DeepFashion 256x176", 176),
}


class FirstPixelReader:
    """A pose estimator that finds all joints at (0, red of the first pixel)."""

    name = "pixel reader"
    weights_hash = "abc"

    def __init__(self):
        self.num_calls = 0

    def __call__(self, images):
        self.num_calls += len(images)
        red = images[:, 0, 0, 0].numpy().astype(int)
        return np.stack([np.tile([0, value], (18, 1)) for value in red])


@pytest.fixture
def estimator() -> FirstPixelReader:
    return FirstPixelReader()


def no_estimator():
    raise AssertionError("the estimator is not needed")


@pytest.fixture
def prepare_tiny(tmp_path):
    """Prepares `root` for a preset; keywords are files by setting and attributes of the request."""

    def call(preset, source, annotations=None, *, make=no_estimator, root=tmp_path / "data", **given):
        others = {key: given.pop(key) for key in ("annotation_frame", "strict", "seed", "num_workers") if key in given}
        request = Request(source, make, {"threshold": 0.3}, annotations, given, **others)
        return prepare(PRESETS[preset](), request, root)

    return call
