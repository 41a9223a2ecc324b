"""Which metrics an evaluation computes, and what it needs for them."""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from tqdm import tqdm

from synthetic_people.evaluator import Evaluator
from synthetic_people.evaluator_training import EvaluatorTraining
from twostream.data.pose_estimators import PoseEstimator
from twostream.evaluation.measures import (
    EVALUATOR,
    EvaluatorMeasure,
    InceptionMeasure,
    LPIPSMeasure,
    Measure,
    PCKhMeasure,
    Reference,
    SimilarityMeasure,
    to_tensor,
)
from twostream.evaluation.scored_pairs import Panel, batches, read_panel
from twostream.files import atomic_write
from twostream.metrics.features import LPIPS, InceptionFeatures
from twostream.metrics.inception import Moments, moments
from twostream.metrics.protocols import PATN, PROTOCOLS, STANDARD, Protocol
from twostream.weights import WeightStore

log = logging.getLogger(__name__)
Features = Callable[[torch.Tensor], Float[np.ndarray, "b d"]]

METRICS = (
    *("ssim", "mask_ssim", "inception_score", "mask_inception_score", "fid", "lpips", "pckh"),
    *("evaluator", "correspondence"),
)
MASKED = ("mask_ssim", "mask_inception_score")


@dataclass(frozen=True)
class Scoring:
    """What an evaluation computes and where its networks come from.

    Attributes:
        metrics: some of `METRICS`.
        weights_dir: folder of weight files; None is torch.hub's own.
        download: fetch a weight file on its first use.
        cache_dir: where evaluators and the features of reference sets are kept.
        batch_size: pictures that a network sees at a time.
        num_workers: processes that read and compare pictures.
        pose_estimator: builds the estimator of PCKh.
        evaluator: how the evaluator of synthetic people is trained.

    Raises ValueError for an unknown metric.

    """

    metrics: Sequence[str]
    weights_dir: str | None
    download: bool
    cache_dir: str
    batch_size: int
    num_workers: int
    pose_estimator: Callable[[], PoseEstimator]
    evaluator: EvaluatorTraining

    def __post_init__(self) -> None:
        unknown = sorted(set(self.metrics) - set(METRICS))
        if unknown or not self.metrics:
            raise ValueError(f"metrics: expected some of {', '.join(METRICS)}, got {unknown or 'none'}")


class Toolbox:
    """Builds the measures of an evaluation; what can't be had is listed with its reason, the others still come.

    Args:
        scoring: what is wanted.
        protocols: under which names.
        image_size: height and width of the pictures.
        references: `train` and `test` -> the true pictures that sets are compared with; either may be absent.
        device: where networks run.

    Attributes:
        measures: the networks' measures.
        missing: metric, protocol and reason of what can't be computed.

    """

    def __init__(
        self,
        scoring: Scoring,
        protocols: Sequence[Protocol],
        image_size: tuple[int, int],
        references: Mapping[str, Sequence[Panel]],
        device: torch.device,
    ) -> None:
        self.scoring = scoring
        self.protocols = protocols
        self.image_size = image_size
        self.references = references
        self.device = device
        self.names = [name for name in METRICS if name in scoring.metrics]
        self.measures: list[Measure] = []
        self.missing: list[dict[str, str]] = []
        self._store = WeightStore(Path(scoring.weights_dir) if scoring.weights_dir else None, scoring.download)

    def leave_out(self, metrics: Sequence[str], protocols: Sequence[str], reason: str) -> None:
        """Note metrics that can't be computed."""
        if metrics and protocols:
            log.warning("not computed: %s: %s", ", ".join(metrics), reason)
        self.missing += [{"metric": m, "protocol": p, "reason": reason} for m in metrics for p in protocols]
        self.names = [name for name in self.names if name not in metrics]

    def similarity(self) -> SimilarityMeasure:
        """Return what is computed without a network."""
        return SimilarityMeasure(self.names, self.protocols, self.image_size)

    def add_inception(self) -> None:
        """Add IS, Mask-IS and FID, as far as they are wanted."""
        scores = [name for name in ("inception_score", "mask_inception_score") if name in self.names]
        has_fid = "fid" in self.names and STANDARD in self.protocols
        if not scores and not has_fid:
            return
        try:
            net = InceptionFeatures(self._store, self.device)
        except (ValueError, ImportError) as error:
            self.leave_out(scores, [protocol.name for protocol in self.protocols], str(error))
            if has_fid:
                self.leave_out([f"fid_{name}" for name in self.references], [STANDARD.name], str(error))
            return
        sets = self._look_at_references("fid", STANDARD.name, net, lambda images: net(images)[0]) if has_fid else []
        self.measures.append(InceptionMeasure(self.names, self.protocols, self.image_size, net, sets))

    def add_lpips(self) -> None:
        """Add LPIPS where it is wanted."""
        if "lpips" in self.names and STANDARD in self.protocols:
            try:
                self.measures.append(LPIPSMeasure(self.image_size, LPIPS(self._store, self.device)))
            except (ValueError, ImportError) as error:
                self.leave_out(["lpips"], [STANDARD.name], str(error))

    def add_pckh(self) -> None:
        """Add PCKh where it is wanted."""
        if "pckh" in self.names and PATN in self.protocols:
            try:
                self.measures.append(PCKhMeasure(self.image_size, self.scoring.pose_estimator()))
            except (ValueError, ImportError) as error:
                self.leave_out(["pckh"], [PATN.name], str(error))

    def add_evaluator(self, people_root: Path) -> Evaluator | None:
        """Add the evaluator of synthetic people where it is wanted, and return it."""
        if "evaluator" not in self.names:
            return None
        evaluator = self.scoring.evaluator.prepare(
            self.image_size, people_root, Path(self.scoring.cache_dir), self.device
        )
        sets = self._look_at_references("frechet", EVALUATOR, evaluator, lambda images: evaluator(images).features)
        self.measures.append(EvaluatorMeasure(self.image_size, evaluator, sets))
        return evaluator

    def _look_at_references(
        self, distance: str, protocol: str, net: InceptionFeatures | Evaluator, features: Features
    ) -> list[Reference]:
        sets = []
        for name, panels in self.references.items():
            try:
                found = self._moments(f"{net.name}, {name}", net.weights_hash, panels, features)
            except ValueError as error:
                self.leave_out([f"{distance}_{name}"], [protocol], str(error))
            else:
                sets.append(Reference(name, found))
        return sets

    def _moments(self, title: str, net_hash: str, panels: Sequence[Panel], features: Features) -> Moments:
        files = [[str(p.path.resolve()), p.index, p.num_panels, p.path.stat().st_mtime_ns] for p in panels]
        key = hashlib.sha256(json.dumps([net_hash, files]).encode()).hexdigest()[:16]
        path = Path(self.scoring.cache_dir) / f"moments-{key}.npz"
        if not path.is_file():
            seen = []
            with tqdm(total=len(panels), desc=f"True pictures ({title})", unit="image", disable=None) as bar:
                for some in batches(panels, self.scoring.batch_size):
                    seen.append(features(to_tensor(np.stack([self._read(panel) for panel in some]))))
                    bar.update(len(some))
            found = moments(np.concatenate(seen))
            with atomic_write(path) as temporary:
                np.savez(temporary, mean=found.mean, covariance=found.covariance)
        with np.load(path, allow_pickle=False) as kept:
            return Moments(kept["mean"], kept["covariance"], len(panels))

    def _read(self, panel: Panel) -> UInt8[np.ndarray, "h w 3"]:
        picture = read_panel(panel)
        if picture.shape[:2] != self.image_size:
            expected, got = ("{}x{}".format(*size) for size in (self.image_size, picture.shape[:2]))
            raise ValueError(f"{panel.path}: expected a picture of height x width {expected}, got {got}")
        return picture


def protocols_named(name: str) -> list[Protocol]:
    """Return the protocol of a name, or with `all` all of them. Raises ValueError for an unknown name."""
    found = [protocol for protocol in PROTOCOLS if name in (protocol.name, "all")]
    if not found:
        raise ValueError(f"protocol: expected {', '.join(p.name for p in PROTOCOLS)} or all, got {name!r}")
    return found
