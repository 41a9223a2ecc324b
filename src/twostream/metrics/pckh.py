"""PCKh of detected joints against annotated ones, by the rule of PATN's evaluation (`tool/calPCKH_market.py`)."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from typing_extensions import override

from twostream.data.keypoints import JointArray, found
from twostream.data.pose_estimators import PoseEstimator
from twostream.metrics.metric import Columns, ImageBatch, Metric, Rows, to_tensor
from twostream.metrics.protocols import EvaluationProtocol

HEAD = (0, 1, 14, 15, 16, 17)  # nose, neck, eyes and ears in the order of the annotation files
ALPHA = 0.5


def pckh_counts(detected: JointArray, target: JointArray) -> tuple[int, int]:
    """Count the correct joints and the annotated joints of an image; both are (y, x) in pixels, -1 where missing.

    A joint is correct if it is found in both and off by less than half the target's head box along each axis. The box
    spans the found joints of nose, neck, eyes and ears; with fewer than two of them the image counts (0, 0).
    """
    annotated = found(target)
    head = target[list(HEAD)][annotated[list(HEAD)]]
    if len(head) < 2:
        return 0, 0
    near = (np.abs(detected - target) < ALPHA * np.ptp(head, axis=0)).all(axis=1)
    correct = near & annotated & found(detected)
    return int(correct.sum()), int(annotated.sum())


def pckh(counts: Sequence[tuple[int, int]] | Int[np.ndarray, "n 2"]) -> float:
    """Return the fraction of correct joints among all annotated joints of many images, in [0, 1].

    `counts` are those of `pckh_counts`. Raises ValueError if no image counts.
    """
    correct, annotated = np.reshape(counts, (-1, 2)).sum(axis=0)
    if not annotated:
        raise ValueError(f"PCKh: expected a target with two found joints of the head, got {len(counts)} without")
    return float(correct / annotated)


class PCKh(Metric):
    """PCKh of the joints that a pose estimator finds in the generated images."""

    def __init__(self, protocol: EvaluationProtocol, image_size: tuple[int, int], estimator: PoseEstimator) -> None:
        # The estimator gets the images without bands.
        details = protocol.describe(image_size) | {"frame": "{}x{}".format(*image_size)}
        details |= {"estimator": estimator.name, "estimator_hash": estimator.weights_hash}
        super().__init__("pckh", protocol.name, details, pckh_column_names(protocol.name))
        self._estimator = estimator

    @override
    def update(self, images: ImageBatch) -> Columns:
        return pckh_columns(self.protocol, self._estimator(to_tensor(images.generated)), images.joints)

    @override
    def compute(self, columns: Columns, rows: Rows) -> float:
        return pckh(np.stack([columns[name][rows] for name in self.columns], axis=1))


def pckh_column_names(protocol: str) -> list[str]:
    """Return the names of the columns of `pckh_columns`."""
    return [f"pckh_right/{protocol}", f"pckh_total/{protocol}"]


def pckh_columns(
    protocol: str, detected: Int[np.ndarray, "b 18 2"], target: Sequence[JointArray | None]
) -> dict[str, np.ndarray]:
    """Return the counts of a batch as columns. The joints of every target must be known."""
    counts = np.array([pckh_counts(d, t) for d, t in zip(detected, target, strict=True) if t is not None])
    return dict(zip(pckh_column_names(protocol), counts.T, strict=True))
