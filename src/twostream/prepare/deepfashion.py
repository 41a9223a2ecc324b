"""DeepFashion's In-shop Clothes Retrieval Benchmark (Liu et al. 2016) under the names and splits of PATN."""

from collections.abc import Collection, Mapping
from io import BytesIO
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Int
from PIL import Image
from typing_extensions import override

from twostream.data.images import FORMATS, JPEG, encode_jpeg, read_image
from twostream.data.keypoints import CROP, MISSING, NARROW, WIDE, JointArray, JointFrame
from twostream.data.manifest import SPLITS
from twostream.data.pairs import joined_name
from twostream.files import quoted
from twostream.prepare.sources import AS_DOWNLOADED, Preset

LARGE = "img_highres"
PARTITION = "list_eval_partition.txt"
SPLIT_OF_STATUS = {"train": "train", "query": "test", "gallery": "test"}


class DeepFashion(Preset):
    """DeepFashion at 256x256, or at the 256x176 of PATN's released protocol: without 40 pixels at each side.

    Images of the official low-resolution `img`, 256x256, stay byte for byte as they are unless they are cropped. Images
    of `img_highres` are used only if there are no others: they are scaled to a height of 256 (Lanczos) and centred in a
    white 256x256 frame, which imitates the low-resolution images and was not checked against them. The split is that of
    PATN's two lists, else that of the official partition, whose query and gallery are the test split.

    Raises ValueError if `width` is neither 256 nor 176.
    """

    layout = "img/WOMEN/CATEGORY/id_00000000/00_0_view.jpg and the like"
    archives = ("img.zip", "img_highres.zip")
    list_files = (("train.lst", "test.lst"), (PARTITION,))
    joints_frame = JointFrame(height=WIDE, width=None)
    prefixes = ("fasion-resize", "fashion-resize", "fasion", "fashion")
    published: Mapping[str, int] = {
        "num_train_images": 48_674,
        "num_train_pairs": 101_966,
        "num_test_images": 4_038,
        "num_test_pairs": 8_570,
    }

    def __init__(self, label: str, width: int) -> None:
        super().__init__(label)
        if width not in (WIDE, NARROW):
            raise ValueError(f"width: expected {WIDE} or {NARROW}, got {width}")
        self.image_size = (WIDE, width)

    @override
    def image_name(self, path: str) -> str | None:
        return joined_name(path)

    @override
    def find_images(self, names: Collection[str]) -> dict[str, str]:
        small = [name for name in names if LARGE not in PurePosixPath(name).parts]
        return super().find_images(small) or super().find_images(names)

    @override
    def split(self, images: Mapping[str, str], lists: Mapping[str, bytes]) -> dict[str, list[str]]:
        if PARTITION in lists:
            names = self._partition(lists[PARTITION])
        else:
            names = {split: self._listed(f"{split}.lst", lists[f"{split}.lst"]) for split in SPLITS}
        both = sorted(set(names["train"]) & set(names["test"]))
        if both:
            raise ValueError(f"{' and '.join(lists)}: {len(both)} images are in both splits, first {both[0]}")
        return names

    @override
    def convert(self, content: bytes) -> tuple[bytes, str]:
        image = Image.fromarray(read_image(BytesIO(content)))
        if image.size == (WIDE, WIDE) == self.image_size:
            return content, AS_DOWNLOADED
        steps, comment = [], b""
        if image.size == (WIDE, WIDE):
            with Image.open(BytesIO(content), formats=FORMATS) as file:
                comment = file.info.get("comment", b"")  # stays in the cropped file
        else:
            steps.append(f"scaled from {image.width}x{image.height} and the like into a white {WIDE}x{WIDE} frame")
            image = _in_white_frame(image)
        if self.image_size == (WIDE, NARROW):
            steps.append(f"cropped by {CROP} pixels at each side")
            image = image.crop((CROP, 0, WIDE - CROP, WIDE))
        return encode_jpeg(image, comment), f"{', '.join(steps)}; {JPEG}"

    @override
    def to_frame(
        self, joints: Mapping[str, JointArray], frame: int | None, file: Path
    ) -> tuple[dict[str, JointArray], int | None]:
        if frame not in (None, WIDE, NARROW):
            raise ValueError(f"annotation_frame: expected {WIDE} or {NARROW}, got {frame}")
        stacked = np.stack(list(joints.values()))
        made_for = frame_of(stacked, file) if frame is None else frame
        return dict(zip(joints, shifted(stacked, made_for, self.image_size[1]), strict=True)), made_for

    def _listed(self, name: str, content: bytes) -> list[str]:
        lines = [line if line.endswith(".jpg") else f"{line}.jpg" for line in _lines(name, content)]
        return list(dict.fromkeys(self.plain_name(line) for line in lines))

    def _partition(self, content: bytes) -> dict[str, list[str]]:
        names: dict[str, list[str]] = {split: [] for split in SPLITS}
        # The first line is a count, the second names the columns.
        for number, line in enumerate(_lines(PARTITION, content)[2:], start=3):
            fields = line.split()
            if len(fields) != 3 or fields[2] not in SPLIT_OF_STATUS:
                raise ValueError(
                    f"{PARTITION}:{number}: expected NAME ITEM train, query or gallery, got {quoted(line)}"
                )
            names[SPLIT_OF_STATUS[fields[2]]].append(self.plain_name(fields[0]))
        return names


def frame_of(joints: Int[np.ndarray, "n 18 2"], file: Path) -> int:
    """Detect from the range of x whether joints were made for 256-wide or 176-wide images.

    Joints are inside the 256-wide images, x from 0 to 255, and those of the 176-wide images are the same minus 40, not
    clipped: x from -40 to 215. So only the narrow frame has x below 0 (-1 is left out: it may mean a joint that was
    not found), and only the wide frame has x above 215.

    Raises ValueError if x fits neither or both frames.
    """
    x = joints[..., 1][(joints != MISSING).all(axis=-1)]
    lowest, highest = (int(x.min()), int(x.max())) if len(x) else (0, 0)
    fits_wide = lowest >= 0 and highest < WIDE
    fits_narrow = lowest >= -CROP and highest < WIDE - CROP
    if fits_wide and fits_narrow:
        raise ValueError(
            f"{file}: x from {lowest} to {highest} fits images {WIDE} and {NARROW} wide: pass "
            f"annotation_frame={WIDE} or annotation_frame={NARROW}"
        )
    if not fits_wide and not fits_narrow:
        raise ValueError(
            f"{file}: expected x of one frame, 0 to {WIDE - 1} ({WIDE} wide) or {-CROP} to {WIDE - CROP - 1} "
            f"({NARROW} wide), got {lowest} to {highest}"
        )
    return WIDE if fits_wide else NARROW


def shifted(joints: Int[np.ndarray, "n 18 2"], made_for: int, width: int) -> Int[np.ndarray, "n 18 2"]:
    """Shift x from the frame of images `made_for` wide to that of images `width` wide; (-1, -1) stays.

    From wide to narrow, a joint at x = 39 moves to -1 and is written as not found: every reader of
    the published narrow files reads it so. On the way back only y shows that it was found.
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


def _lines(name: str, content: bytes) -> list[str]:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}: expected UTF-8 text, got {error}") from None
    return [line.strip() for line in text.splitlines() if line.strip()]
