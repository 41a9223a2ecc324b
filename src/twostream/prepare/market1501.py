"""Market-1501 (Zheng et al. 2015) from its official download, `Market-1501-v15.09.15`."""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from typing_extensions import override

from twostream.prepare.sources import SPLITS, Preset

# 18 names of the test split end in .jpg.jpg, in the published annotations too.
IMAGE = re.compile(r"(?:.*/)?bounding_box_(?:train|test)/((?:-1|\d{4})_c\ds\d_\d{6}_\d{2}(?:\.jpg)+)")


class Market1501(Preset):
    """Market-1501: `bounding_box_train` and `bounding_box_test`, each image byte for byte; all else is ignored."""

    image_size = (128, 64)
    layout = "bounding_box_train/*.jpg and bounding_box_test/*.jpg"
    archives = ("Market-1501-v15.09.15.zip",)
    prefixes = ("market",)
    joints_width = 64
    published: Mapping[str, int] = {
        "num_train_images": 12_936,
        "num_train_pairs": 263_632,
        "num_test_images": 19_732,
        "num_test_pairs": 12_000,
    }
    num_drawn: Mapping[str, int] = {"test": 12_000}
    draw_hash: Mapping[str, str] = {"test": "be2c5a1c52e2ebb1d8722ab3850c5f2ca6710eb3c20400fc13e1d9eaac7db4cc"}

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
