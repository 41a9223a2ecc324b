"""Market-1501 (Zheng et al. 2015) from its official download, `Market-1501-v15.09.15`."""

import re
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image
from typing_extensions import override

from twostream.data.images import JPEG, encode_jpeg, read_image
from twostream.data.keypoints import MISSING, JointArray, JointFrame, found
from twostream.data.manifest import SPLITS
from twostream.prepare.sources import AS_DOWNLOADED, Preset

REDUCTIONS = (1, 2, 4)

# 18 names of the test split end in .jpg.jpg, in the published annotations too.
IMAGE = re.compile(r"(?:.*/)?bounding_box_(?:train|test)/((?:-1|\d{4})_c\ds\d_\d{6}_\d{2}(?:\.jpg)+)")


class Market1501(Preset):
    """Market-1501: `bounding_box_train` and `bounding_box_test`, each image byte for byte; all else is ignored.

    Args:
        label: name of the data set in tables, to which another size than 128x64 is added.
        reduction: pixels along a side of the square whose mean becomes one pixel; 1 keeps images as they are. Joints
            become the pixels that contain them.

    Raises ValueError for a reduction that does not leave a height and a width divisible by 4.

    """

    original_size = (128, 64)
    layout = "bounding_box_train/*.jpg and bounding_box_test/*.jpg"
    archives = ("Market-1501-v15.09.15.zip",)
    prefixes = ("market",)
    joints_frame = JointFrame(height=128, width=64)
    published: Mapping[str, int] = {
        "num_train_images": 12_936,
        "num_train_pairs": 263_632,
        "num_test_images": 19_732,
        "num_test_pairs": 12_000,
    }
    num_drawn: Mapping[str, int] = {"test": 12_000}
    draw_hash: Mapping[str, str] = {"test": "be2c5a1c52e2ebb1d8722ab3850c5f2ca6710eb3c20400fc13e1d9eaac7db4cc"}

    def __init__(self, label: str, reduction: int = 1) -> None:
        if reduction not in REDUCTIONS:
            raise ValueError(f"reduction: expected {', '.join(map(str, REDUCTIONS))}, got {reduction}")
        height, width = (side // reduction for side in self.original_size)
        super().__init__(label if reduction == 1 else f"{label} at {height}x{width}")
        self.image_size = (height, width)
        self.reduction = reduction

    @override
    def convert(self, content: bytes) -> tuple[bytes, str]:
        image = read_image(BytesIO(content), self.original_size)
        if self.reduction == 1:
            return content, AS_DOWNLOADED
        reduced = Image.fromarray(image).reduce(self.reduction)
        return encode_jpeg(reduced), f"means of {self.reduction}x{self.reduction} pixels; {JPEG}"

    @override
    def to_frame(
        self, joints: Mapping[str, JointArray], frame: int | None, file: Path
    ) -> tuple[dict[str, JointArray], int | None]:
        factor = self.reduction
        scaled = {name: np.where(found(array)[:, None], array // factor, MISSING) for name, array in joints.items()}
        return super().to_frame(scaled, frame, file)

    @override
    def image_name(self, path: str) -> str | None:
        match = IMAGE.fullmatch(path)
        return match[1] if match else None

    @override
    def split(self, images: Mapping[str, str], lists: Mapping[str, bytes]) -> dict[str, list[str]]:
        folder_of = {name: PurePosixPath(path).parent.name for name, path in images.items()}
        return {
            split: [name for name, folder in folder_of.items() if folder == f"bounding_box_{split}"] for split in SPLITS
        }
