"""What is measured on each pair of pictures, and the metrics that are made of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from synthetic_people.evaluator import Evaluator
from twostream.data.keypoints import JointArray
from twostream.data.pose_estimators import PoseEstimator
from twostream.evaluation.scored_pairs import ScoredPair
from twostream.metrics import protocols
from twostream.metrics.bootstrap import Columns, FrechetDistance, InceptionScore, Mean, Share, Statistic
from twostream.metrics.features import LPIPS, MIN_SIZE, InceptionFeatures
from twostream.metrics.inception import Moments
from twostream.metrics.pckh import pckh_counts
from twostream.metrics.similarity import mask_ssim, masked, ssim

EVALUATOR = "evaluator"
"""The protocol of all that the evaluator of synthetic people says; never mixed with another network's numbers."""


@dataclass(frozen=True)
class Metric:
    """A number of a run: its name, its protocol, how it is made, and what belongs beside it."""

    name: str
    protocol: str
    statistic: Statistic
    details: dict[str, object]


class Pictures(NamedTuple):
    """A batch of pictures to measure, all of one size."""

    generated: UInt8[np.ndarray, "b h w 3"]
    true: UInt8[np.ndarray, "b h w 3"]
    masks: Bool[np.ndarray, "b h w"] | None
    """Where the true person is; None where the joints are not known."""
    joints: Sequence[JointArray | None]


class Reference(NamedTuple):
    """A set of true pictures that generated ones are compared with as a set."""

    name: str
    """`train` or `test`."""
    moments: Moments


@runtime_checkable
class Measure(Protocol):
    """Measures every pair of pictures and knows the metrics that come of it."""

    def __call__(self, pictures: Pictures) -> Columns:
        """Return columns with a row a picture."""
        ...

    def metrics(self) -> list[Metric]:
        """Return the metrics of all pictures' columns."""
        ...


class SimilarityMeasure:
    """SSIM and Mask-SSIM under each protocol.

    Args:
        names: of the metrics that are wanted.
        wanted: the protocols.
        image_size: height and width of the pictures.

    """

    def __init__(self, names: Sequence[str], wanted: Sequence[protocols.Protocol], image_size: tuple[int, int]) -> None:
        self.names = [name for name in ("ssim", "mask_ssim") if name in names]
        self.wanted = wanted
        self.image_size = image_size

    def __call__(self, pictures: Pictures) -> Columns:
        """Return a column for each metric and protocol."""
        columns: dict[str, list[float]] = {f"{name}/{p.name}": [] for name in self.names for p in self.wanted}
        for i, (generated, true) in enumerate(zip(pictures.generated, pictures.true, strict=True)):
            for protocol in self.wanted:
                if "ssim" in self.names:
                    columns[f"ssim/{protocol.name}"].append(ssim(generated, true, protocol))
                if "mask_ssim" in self.names:
                    assert pictures.masks is not None
                    value = mask_ssim(generated, true, pictures.masks[i], protocol)
                    columns[f"mask_ssim/{protocol.name}"].append(value)
        return {name: np.array(values) for name, values in columns.items()}

    def metrics(self) -> list[Metric]:
        """Return the means."""
        return [
            Metric(name, p.name, Mean(f"{name}/{p.name}"), p.describe(self.image_size) | p.describe_ssim())
            for name in self.names
            for p in self.wanted
        ]


class InceptionMeasure:
    """IS and Mask-IS in each protocol's frame, FID without bands."""

    def __init__(
        self,
        names: Sequence[str],
        wanted: Sequence[protocols.Protocol],
        image_size: tuple[int, int],
        net: InceptionFeatures,
        references: Sequence[Reference],
    ) -> None:
        self.names = names
        self.wanted = wanted
        self.image_size = image_size
        self.net = net
        self.references = references
        # Protocols of equal frames share what the network sees.
        self.frames = {p.frame_name(image_size): p for p in wanted}

    def __call__(self, pictures: Pictures) -> Columns:
        """Return features and logits in each frame."""
        columns: dict[str, np.ndarray] = {}
        for frame, protocol in self.frames.items():
            images = np.stack([protocol.frame(image) for image in pictures.generated])
            features, logits = self.net(to_tensor(images))
            columns |= {f"inception/{frame}/features": features, f"inception/{frame}/logits": logits}
            if "mask_inception_score" in self.names:
                assert pictures.masks is not None
                masks = [protocol.frame_mask(mask) for mask in pictures.masks]
                cut = np.stack([masked(image, mask) for image, mask in zip(images, masks, strict=True)])
                columns[f"inception/{frame}/mask_logits"] = self.net(to_tensor(cut))[1]
        return columns

    def metrics(self) -> list[Metric]:
        """Return the scores of each protocol, and under `standard` the distances."""
        net = {"feature_net": self.net.name, "feature_net_hash": self.net.weights_hash}
        found = []
        for protocol in self.wanted:
            frame = protocol.frame_name(self.image_size)
            details = protocol.describe(self.image_size) | net
            for name, logits in (("inception_score", "logits"), ("mask_inception_score", "mask_logits")):
                if name in self.names:
                    statistic = InceptionScore(f"inception/{frame}/{logits}")
                    found.append(
                        Metric(name, protocol.name, statistic, details | {"splits": InceptionScore.num_splits})
                    )
            if "fid" in self.names and protocol is protocols.STANDARD:
                column = f"inception/{frame}/features"
                found += [_distance("fid", protocol.name, column, ref, details) for ref in self.references]
        return found


class LPIPSMeasure:
    """LPIPS on AlexNet, without bands. Raises ValueError for pictures that are too small for it."""

    def __init__(self, image_size: tuple[int, int], net: LPIPS) -> None:
        if min(image_size) < MIN_SIZE:
            height, width = image_size
            raise ValueError(f"LPIPS: expected pictures of at least {MIN_SIZE}x{MIN_SIZE}, got {height}x{width}")
        self.image_size = image_size
        self.net = net

    def __call__(self, pictures: Pictures) -> Columns:
        """Return the distances."""
        return {"lpips/standard": self.net(to_tensor(pictures.generated), to_tensor(pictures.true))}

    def metrics(self) -> list[Metric]:
        """Return their mean."""
        details = protocols.STANDARD.describe(self.image_size)
        details |= {"feature_net": self.net.name, "feature_net_hash": self.net.weights_hash}
        return [Metric("lpips", "standard", Mean("lpips/standard"), details)]


class PCKhMeasure:
    """PCKh of the joints that a pose estimator finds in the generated pictures."""

    def __init__(self, image_size: tuple[int, int], estimator: PoseEstimator) -> None:
        self.image_size = image_size
        self.estimator = estimator

    def __call__(self, pictures: Pictures) -> Columns:
        """Return how many joints are right, and how many are annotated."""
        return _count_joints("patn", self.estimator(to_tensor(pictures.generated)), pictures.joints)

    def metrics(self) -> list[Metric]:
        """Return the share of right joints."""
        details = protocols.PATN.describe(self.image_size) | {"frame": "{}x{}".format(*self.image_size)}
        details |= {"estimator": self.estimator.name, "estimator_hash": self.estimator.weights_hash}
        return [Metric("pckh", "patn", Share("pckh_right/patn", "pckh_total/patn"), details)]


class EvaluatorMeasure:
    """IS, Mask-IS, Frechet distances and PCKh as the evaluator of synthetic people sees them."""

    def __init__(self, image_size: tuple[int, int], evaluator: Evaluator, references: Sequence[Reference]) -> None:
        self.image_size = image_size
        self.evaluator = evaluator
        self.references = references

    def __call__(self, pictures: Pictures) -> Columns:
        """Return the evaluator's features and logits, those of the cut-out person, and counts of joints."""
        assert pictures.masks is not None
        whole = self.evaluator(to_tensor(pictures.generated))
        cut = np.stack([masked(image, mask) for image, mask in zip(pictures.generated, pictures.masks, strict=True)])
        return {
            "evaluator/features": whole.features,
            "evaluator/logits": whole.logits,
            "evaluator/mask_logits": self.evaluator(to_tensor(cut)).logits,
            **_count_joints(EVALUATOR, whole.joints, pictures.joints),
        }

    def metrics(self) -> list[Metric]:
        """Return the scores, distances and the share of right joints, all under the protocol `evaluator`."""
        details: dict[str, object] = {"version": 1, "frame": "{}x{}".format(*self.image_size)}
        details |= {"feature_net": self.evaluator.name, "feature_net_hash": self.evaluator.weights_hash}
        splits = details | {"splits": InceptionScore.num_splits}
        return [
            Metric("inception_score", EVALUATOR, InceptionScore("evaluator/logits"), splits),
            Metric("mask_inception_score", EVALUATOR, InceptionScore("evaluator/mask_logits"), splits),
            *(
                _distance("frechet", EVALUATOR, "evaluator/features", reference, details)
                for reference in self.references
            ),
            Metric("pckh", EVALUATOR, Share(f"pckh_right/{EVALUATOR}", f"pckh_total/{EVALUATOR}"), details),
        ]


def metrics_of(measures: Sequence[Measure], pairs: Sequence[ScoredPair]) -> list[Metric]:
    """Return the metrics of all measures, each with the kind of file that the pictures were read from."""
    codec = ", ".join(sorted({pair.generated.path.suffix.lower().removeprefix(".") for pair in pairs}))
    return [
        replace(metric, details=metric.details | {"codec": codec})
        for measure in measures
        for metric in measure.metrics()
    ]


def to_tensor(images: UInt8[np.ndarray, "b h w 3"]) -> UInt8[Tensor, "b 3 h w"]:
    """Put pictures in the order of axes that networks take."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def _distance(name: str, protocol: str, column: str, reference: Reference, details: dict[str, object]) -> Metric:
    about = details | {"reference": f"{reference.name} pictures", "reference_n": reference.moments.n}
    return Metric(f"{name}_{reference.name}", protocol, FrechetDistance(column, reference.moments), about)


def _count_joints(protocol: str, detected: np.ndarray, joints: Sequence[JointArray | None]) -> Columns:
    counts = np.array([pckh_counts(d, j) for d, j in zip(detected, joints, strict=True) if j is not None])
    return {f"pckh_right/{protocol}": counts[:, 0], f"pckh_total/{protocol}": counts[:, 1]}
