"""What a preparation has to know of a data set."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from twostream.data.keypoints import JointArray

SPLITS = ("train", "test")


@dataclass(frozen=True)
class Counts:
    """Pictures and pose pairs of a split."""

    images: int
    pairs: int


@dataclass(frozen=True)
class ListFile:
    """A text file that names the pictures of a split."""

    name: str
    content: bytes

    def lines(self) -> list[str]:
        """Return the lines that are not empty. Raises ValueError where it is not UTF-8."""
        try:
            text = self.content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.name}: expected UTF-8 text, got {error}") from None
        return [line.strip() for line in text.splitlines() if line.strip()]

    def sha256(self) -> str:
        """Return the SHA-256 of the content in hex."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True)
class Split:
    """Names of the pictures of each split, and the files or folders that say so."""

    names: Mapping[str, list[str]]
    said_by: tuple[str, ...]


@dataclass(frozen=True)
class About:
    """What is known of a data set.

    Attributes:
        label: what tables call it.
        image_size: height and width in pixels of the prepared pictures.
        wanted: says which pictures a download must hold.
        archives: names of the zip files that may hold them inside a download, the best first.
        list_names: of the files that split the pictures.
        prefixes: of the published annotation and pair files, `PREFIX-annotation-train.csv`.
        joints_width: of the pictures that published joints are for, in pixels; None where it has to be found out.
        published: the counts to check: of pairs the paper's, of pictures those in the published files.
        num_drawn_test_pairs: published test pairs that are a random draw; None where the pair rule gives all of them.

    """

    label: str
    image_size: tuple[int, int]
    wanted: str
    archives: tuple[str, ...]
    list_names: tuple[str, ...]
    prefixes: tuple[str, ...]
    joints_width: int | None
    published: Mapping[str, Counts]
    num_drawn_test_pairs: int | None

    def num_drawn(self, split: str) -> int | None:
        """Return how many of a split's pairs are a random draw; None for all."""
        return self.num_drawn_test_pairs if split == "test" else None


@runtime_checkable
class Preset(Protocol):
    """A data set and the frame that its pictures are brought to."""

    about: About

    def find(self, names: Iterable[str]) -> dict[str, str]:
        """Pick the data set's pictures out of the files of a download: plain file name -> name in the download.

        Raises ValueError where two files would get one name.
        """

    def split(self, members: Mapping[str, str], lists: Mapping[str, ListFile]) -> Split:
        """Name the pictures of each split.

        Args:
            members: plain file name -> name in the download.
            lists: file name -> list, for those of `about.list_names` that are there.

        Raises ValueError where nothing tells the split.

        """

    def codec(self, picture: bytes) -> str:
        """Say what `convert` makes of pictures like this one. Raises ValueError where it is none."""

    def convert(self, picture: bytes) -> bytes:
        """Bring a picture to the frame. Raises ValueError where it is damaged or of an unexpected size."""

    def plain_name(self, name: str) -> str:
        """Return the file name of a picture that a published file names in its own spelling."""

    def to_frame(
        self, joints: Mapping[str, JointArray], frame: int | None, file: Path
    ) -> tuple[dict[str, JointArray], int | None]:
        """Shift published joints to the frame of the pictures.

        Args:
            joints: picture name -> joints.
            frame: width of the pictures that they were made for; None finds it out.
            file: where they are from, for messages.

        Returns:
            The joints, and the width that they were made for where the data set has more than one.

        Raises ValueError where the frame can't be told or does not fit.

        """


def no_name_twice(members: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Make a dict of (plain name, name in the download). Raises ValueError where a plain name comes twice."""
    unique: dict[str, str] = {}
    for name, member in members:
        if name in unique:
            raise ValueError(f"source: {name} is there twice: {unique[name]} and {member}; name the folder of one")
        unique[name] = member
    return unique
