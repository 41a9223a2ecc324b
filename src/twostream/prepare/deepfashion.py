"""DeepFashion's In-shop Clothes Retrieval Benchmark (Liu et al. 2016) under the names and splits of PATN."""

import re
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Int
from PIL import Image

from twostream.data.keypoints import CROP, MISSING, NARROW, WIDE, JointArray
from twostream.prepare.image_files import decode
from twostream.prepare.preset import SPLITS, About, Counts, ListFile, Split, no_name_twice

PICTURE = re.compile(r"(?P<folder>(?:.*/)?)(?P<path>(?:WOMEN|MEN)/[^/]+/id_\d{8}/\d{2}_\d_\w+\.jpg)")
LARGE = "img_highres"
LISTS = ("train.lst", "test.lst")
PARTITION = "list_eval_partition.txt"
SPLIT_OF_STATUS = {"train": "train", "query": "test", "gallery": "test"}
QUALITY = 95


class DeepFashion:
    """DeepFashion at 256x256, or at the 256x176 of PATN's released protocol: 40 pixels less at each side.

    Pictures of the official low-resolution `img`, 256x256, stay byte for byte as they are unless they are cropped. PATN
    crops the same columns but saves at Pillow's default quality of 75. Pictures of `img_highres` are scaled to a height
    of 256 (Lanczos) and put in the middle of a white 256x256 frame. That imitates the low-resolution pictures and was
    not checked against them.

    Args:
        label: what tables call it.
        width: 256 or 176.

    Raises ValueError for another width.

    """

    def __init__(self, label: str, width: int) -> None:
        if width not in (WIDE, NARROW):
            raise ValueError(f"width: expected {WIDE} or {NARROW}, got {width}")
        self.width = width
        self.about = About(
            label=label,
            image_size=(WIDE, width),
            wanted="img/WOMEN/CATEGORY/id_00000000/00_0_view.jpg and the like",
            archives=("img.zip", "img_highres.zip"),
            list_names=(*LISTS, PARTITION),
            prefixes=("fasion-resize", "fashion-resize", "fasion", "fashion"),
            joints_width=None,
            published={"train": Counts(48_674, 101_966), "test": Counts(4_038, 8_570)},
            num_drawn_test_pairs=None,
        )

    def find(self, names: Iterable[str]) -> dict[str, str]:
        """Pick the pictures by their path, as `Preset` says; those of `img_highres` only where there are no others."""
        matches = [match for name in names if (match := PICTURE.fullmatch(name))]
        small = [match for match in matches if LARGE not in PurePosixPath(match["folder"]).parts]
        return no_name_twice((joined_name(match["path"]), match[0]) for match in small or matches)

    def split(self, members: Mapping[str, str], lists: Mapping[str, ListFile]) -> Split:
        """Split by PATN's two lists, else by the official partition, where query and gallery are the test half."""
        said_by: tuple[str, ...] = LISTS
        if all(name in lists for name in LISTS):
            names = {split: self._listed(lists[f"{split}.lst"]) for split in SPLITS}
        elif PARTITION in lists:
            names = self._partition(lists[PARTITION])
            said_by = (PARTITION,)
        else:
            there = ", ".join(name for name in LISTS if name in lists) or "none of them"
            raise ValueError(
                f"expected PATN's train.lst and test.lst, or the official {PARTITION}, in the source or beside the "
                f"annotations, got {there}; name them with train_list=FILE test_list=FILE"
            )
        both = sorted(set(names["train"]) & set(names["test"]))
        if both:
            raise ValueError(f"{' and '.join(said_by)}: {len(both)} pictures are in both splits, first {both[0]}")
        return Split(names, said_by)

    def codec(self, picture: bytes) -> str:
        """Say whether pictures like this one stay, are cropped, or are scaled."""
        steps = []
        if (size := decode(picture).size) != (WIDE, WIDE):
            steps.append(f"scaled from {size[0]}x{size[1]} and the like into a white {WIDE}x{WIDE} frame")
        if self.width == NARROW:
            steps.append(f"cropped by {CROP} pixels at each side")
        if not steps:
            return "JPEG files as downloaded"
        return f"{', '.join(steps)}; JPEG of quality {QUALITY} without chroma subsampling"

    def convert(self, picture: bytes) -> bytes:
        """Frame, scale and crop a picture, as the class says. Raises ValueError where it is wider than high."""
        image = decode(picture)
        if image.size == (WIDE, WIDE) == (self.width, WIDE):
            return picture
        if image.size != (WIDE, WIDE):
            image = _in_white_frame(image)
        left = (WIDE - self.width) // 2
        file = BytesIO()
        image.crop((left, 0, left + self.width, WIDE)).save(file, "JPEG", quality=QUALITY, subsampling=0)
        return file.getvalue()

    def plain_name(self, name: str) -> str:
        """Join a name that is spelt as a path; others stay."""
        match = PICTURE.fullmatch(name)
        return joined_name(match["path"]) if match else name

    def to_frame(
        self, joints: Mapping[str, JointArray], frame: int | None, file: Path
    ) -> tuple[dict[str, JointArray], int | None]:
        """Shift published joints to the frame of the pictures, as `Preset` says; see `frame_of` and `shifted`."""
        if frame not in (None, WIDE, NARROW):
            raise ValueError(f"annotation_frame: expected {WIDE} or {NARROW}, got {frame}")
        together = np.stack(list(joints.values()))
        made_for = frame_of(together, file) if frame is None else frame
        return dict(zip(joints, shifted(together, made_for, self.width), strict=True)), made_for

    def _listed(self, file: ListFile) -> list[str]:
        names = [line if line.endswith(".jpg") else f"{line}.jpg" for line in file.lines()]
        return list(dict.fromkeys(self.plain_name(name) for name in names))

    def _partition(self, file: ListFile) -> dict[str, list[str]]:
        names: dict[str, list[str]] = {split: [] for split in SPLITS}
        # The first line is a count, the second names the columns.
        for number, line in enumerate(file.lines()[2:], start=3):
            fields = line.split()
            if len(fields) != 3 or fields[2] not in SPLIT_OF_STATUS:
                raise ValueError(f"{file.name}:{number}: expected NAME ITEM train, query or gallery, got {line!r}")
            names[SPLIT_OF_STATUS[fields[2]]].append(self.plain_name(fields[0]))
        return names


def joined_name(path: str) -> str:
    """Join the path of a picture into a file name, as PATN does.

    `img/WOMEN/Blouses_Shirts/id_00000693/02_3_back.jpg` becomes
    `fashionWOMENBlouses_Shirtsid0000069302_3back.jpg`: without the folders in front, without slashes and the
    underscores of the item; of the file name the first underscore stays, and so does the category's.
    """
    sex, category, item, file = PurePosixPath(path).parts[-4:]
    outfit, _, view = file.partition("_")
    return f"fashion{sex}{category}{item.replace('_', '')}{outfit}_{view.replace('_', '')}"


def frame_of(joints: Int[np.ndarray, "n 18 2"], file: Path) -> int:
    """Tell from the range of x whether joints are of 256-wide or of 176-wide pictures.

    Joints lie inside the 256-wide pictures, x from 0 to 255, and those of the 176-wide ones are the same less 40, not
    clipped: x from -40 to 215. So an x below 0 is of the narrow frame alone (-1 is left out: it may stand for a joint
    that was not found) and an x over 215 of the wide one alone.

    Raises ValueError where x is outside both, speaks for both, or speaks for neither.
    """
    x = joints[..., 1][(joints != MISSING).all(axis=-1)]
    lowest, highest = (int(x.min()), int(x.max())) if len(x) else (0, 0)
    if lowest < -CROP or highest >= WIDE or (lowest < 0 and highest >= WIDE - CROP):
        raise ValueError(
            f"{file}: expected x of one frame, 0 to {WIDE - 1} ({WIDE} wide) or {-CROP} to {WIDE - CROP - 1} "
            f"({NARROW} wide), got {lowest} to {highest}"
        )
    if lowest < 0:
        return NARROW
    if highest >= WIDE - CROP:
        return WIDE
    raise ValueError(
        f"{file}: x from {lowest} to {highest} fits pictures {WIDE} and {NARROW} wide: say which with "
        f"annotation_frame={WIDE} or annotation_frame={NARROW}"
    )


def shifted(joints: Int[np.ndarray, "n 18 2"], made_for: int, width: int) -> Int[np.ndarray, "n 18 2"]:
    """Shift x from the frame of pictures `made_for` wide to that of pictures `width` wide; (-1, -1) stays.

    From wide to narrow, a joint at x = 39 lands on -1 and is written as not found: that is how every reader of the
    published narrow files takes it. On the way back only y tells that it was found.
    """
    if made_for == width:
        return joints
    was_found = joints[..., 0] != MISSING if made_for == NARROW else (joints != MISSING).all(axis=-1)
    moved = joints + np.array([0, CROP if width == WIDE else -CROP])
    is_found = was_found & (moved[..., 1] != MISSING)
    return np.where(is_found[..., None], moved, MISSING)


def _in_white_frame(image: Image.Image) -> Image.Image:
    width = round(image.width * WIDE / image.height)
    if width > WIDE:
        raise ValueError(f"expected {WIDE}x{WIDE} or a portrait (width x height), got {image.width}x{image.height}")
    framed = Image.new("RGB", (WIDE, WIDE), "white")
    framed.paste(image.resize((width, WIDE), Image.Resampling.LANCZOS), ((WIDE - width) // 2, 0))
    return framed
