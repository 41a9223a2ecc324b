"""The base of all metrics, and the images that they compare."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int, UInt8
from torch import Tensor
from typing_extensions import override

from twostream.data.images import read_image
from twostream.data.keypoints import JointArray
from twostream.data.pairs import Pair
from twostream.metrics.protocols import EvaluationProtocol

Columns = Mapping[str, np.ndarray]  # per-image numbers and features by name, one row per image in every array
Rows = Int[np.ndarray, " k"]  # indices of images; a bootstrap resample contains some of them more than once


@dataclass(frozen=True)
class Panel:
    """An image, or one of `num_panels` images of equal width side by side in a file."""

    path: Path
    index: int = 0
    num_panels: int = 1

    def read(self, image_size: tuple[int, int] | None = None) -> UInt8[np.ndarray, "h w 3"]:
        """Read the image as RGB.

        Raises ValueError for a file that is missing, unreadable or not divisible into its panels, and for a panel of
        another height and width than `image_size`.
        """
        file_size = None if image_size is None else (image_size[0], image_size[1] * self.num_panels)
        image = read_image(self.path, file_size)
        width, rest = divmod(image.shape[1], self.num_panels)
        if rest:
            raise ValueError(
                f"{self.path}: expected {self.num_panels} panels of equal width, got a width of {image.shape[1]}"
            )
        return image[:, self.index * width : (self.index + 1) * width]


@dataclass(frozen=True)
class ScoredPair:
    """A generated image and the true image that it is scored against."""

    name: str  # file name of the generated image
    source: str  # name of the image that it was generated from
    target: str  # name of the true image
    generated: Panel
    true: Panel
    joints: JointArray | None  # of the true image, None where they are not known


class ImageBatch(NamedTuple):
    """Generated images with their true images, all of one size."""

    generated: UInt8[np.ndarray, "b h w 3"]
    true: UInt8[np.ndarray, "b h w 3"]
    joints: Sequence[JointArray | None]
    pairs: Sequence[Pair]  # names of source and target

    def masks(self, protocol: EvaluationProtocol) -> list[Bool[np.ndarray, "h w"]]:
        """Return the person's mask of each true image, whose joints must be known."""
        return [protocol.mask(joints, self.true.shape[1:3]) for joints in self.joints if joints is not None]


class Metric(ABC):
    """A number on a set of generated images: `update` measures each image once, `compute` aggregates the measurements.

    Attributes:
        name: name of the metric.
        protocol: name of the evaluation protocol; numbers of different protocols are not comparable.
        details: what else the number depends on, such as version, frame and network.
        columns: names of the columns that `compute` reads. Metrics with equal columns share one `update`.
        num_resamples: bootstrap resamples behind its confidence interval.
        runs_in_workers: whether `update` uses no network, so that it runs in the processes that read the images.

    """

    num_resamples = 1000
    runs_in_workers = False

    def __init__(self, name: str, protocol: str, details: Mapping[str, object], columns: Sequence[str]) -> None:
        self.name = name
        self.protocol = protocol
        self.details = dict(details)
        self.columns = tuple(columns)

    @abstractmethod
    def update(self, images: ImageBatch) -> Columns:
        """Measure a batch; the result contains at least `columns`, with one row per image."""

    def compute(self, columns: Columns, rows: Rows) -> float:
        """Return the value on the images `rows`, the mean by default. NaN or ValueError where it is not defined."""
        return float(columns[self.columns[0]][rows].mean())

    def extras(self, columns: Columns) -> dict[str, float]:
        """Return further numbers on all images; rows of a table that differ in them are not compared."""
        return {}


class SharedMetric(Metric):
    """A metric that reads some of the columns that `measure` returns for several metrics at once."""

    measure: Callable[[ImageBatch], Columns]

    @override
    def update(self, images: ImageBatch) -> Columns:
        return self.measure(images)


def update_all(metrics: Iterable[Metric], images: ImageBatch) -> dict[str, np.ndarray]:
    """Measure a batch by several metrics, skipping those whose columns another one has already returned."""
    columns: dict[str, np.ndarray] = {}
    for metric in metrics:
        if not columns.keys() >= set(metric.columns):
            columns |= metric.update(images)
    return columns


def to_tensor(images: UInt8[np.ndarray, "b h w 3"]) -> UInt8[Tensor, "b 3 h w"]:
    """Move the channels first, as networks expect them."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
