"""Market-1501 (Zheng et al. 2015) from its official download, `Market-1501-v15.09.15`."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from twostream.data.keypoints import JointArray
from twostream.prepare.image_files import decode
from twostream.prepare.preset import About, Counts, ListFile, Split, no_name_twice

# 18 names of the test half end in .jpg.jpg, in the published annotations too.
PICTURE = re.compile(r"(?:.*/)?bounding_box_(train|test)/((?:-1|\d{4})_c\ds\d_\d{6}_\d{2}(?:\.jpg)+)")
FOLDERS = {"train": "bounding_box_train", "test": "bounding_box_test"}


class Market1501:
    """Market-1501: `bounding_box_train` and `bounding_box_test`, each picture byte for byte; all else is ignored.

    Args:
        label: what tables call it.

    """

    def __init__(self, label: str) -> None:
        self.about = About(
            label=label,
            image_size=(128, 64),
            wanted="bounding_box_train/*.jpg and bounding_box_test/*.jpg",
            archives=("Market-1501-v15.09.15.zip",),
            list_names=(),
            prefixes=("market",),
            joints_width=64,
            published={"train": Counts(12_936, 263_632), "test": Counts(19_732, 12_000)},
            num_drawn_test_pairs=12_000,
        )

    def find(self, names: Iterable[str]) -> dict[str, str]:
        """Pick the pictures by folder and name, as `Preset` says."""
        return no_name_twice((match[2], name) for name in names if (match := PICTURE.fullmatch(name)))

    def split(self, members: Mapping[str, str], lists: Mapping[str, ListFile]) -> Split:
        """Split by folder, as `Preset` says."""
        names = {
            split: [name for name, member in members.items() if PurePosixPath(member).parent.name == folder]
            for split, folder in FOLDERS.items()
        }
        return Split(names, tuple(FOLDERS.values()))

    def codec(self, picture: bytes) -> str:
        """Say that pictures stay as they are."""
        self.convert(picture)
        return "JPEG files as downloaded"

    def convert(self, picture: bytes) -> bytes:
        """Return a picture as it is. Raises ValueError where it is not 64 wide and 128 high."""
        size = decode(picture).size
        if size != (64, 128):
            raise ValueError(f"expected 64x128 (width x height), got {size[0]}x{size[1]}")
        return picture

    def plain_name(self, name: str) -> str:
        """Return the name: the published files spell it as the pictures'."""
        return name

    def to_frame(
        self, joints: Mapping[str, JointArray], frame: int | None, file: Path
    ) -> tuple[dict[str, JointArray], int | None]:
        """Return the joints as they are. Raises ValueError where a frame is named: there is but one."""
        if frame is not None:
            raise ValueError(f"annotation_frame: expected null for {self.about.label}, got {frame}")
        return dict(joints), None
