"""The pictures that are scored: a generated one and the true one, wherever they lie."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from twostream.data.keypoints import JointArray

T = TypeVar("T")


@dataclass(frozen=True)
class Panel:
    """One of `num_panels` pictures of equal width that stand side by side in a file."""

    path: Path
    index: int = 0
    num_panels: int = 1


@dataclass(frozen=True)
class ScoredPair:
    """A generated picture and the truth that it is scored against.

    Attributes:
        name: of the generated picture.
        source: name of the picture that it was made from.
        target: name of the true picture.
        generated: where it is.
        true: where the truth is.
        joints: of the true picture, where they are known.

    """

    name: str
    source: str
    target: str
    generated: Panel
    true: Panel
    joints: JointArray | None


def batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Part a sequence; the last part may be shorter."""
    return (items[start : start + size] for start in range(0, len(items), size))


def read_panel(panel: Panel) -> UInt8[np.ndarray, "h w 3"]:
    """Read a picture. Raises ValueError where it is missing, unreadable or can't be cut into its panels."""
    try:
        with Image.open(panel.path) as file:
            picture = np.asarray(file.convert("RGB"))
    # Pillow's decoders raise errors of many kinds on a broken file.
    except Exception as error:
        raise ValueError(f"{panel.path}: expected a picture: {error}") from error
    width, rest = divmod(picture.shape[1], panel.num_panels)
    if rest:
        raise ValueError(
            f"{panel.path}: expected {panel.num_panels} panels of equal width, got a width of {picture.shape[1]}"
        )
    return picture[:, panel.index * width : (panel.index + 1) * width]
