"""What an evaluation computes: its settings, the metrics that are available, and the driver for all kinds of images."""

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from twostream.data.pose_estimators import PoseEstimator
from twostream.evaluation.measurement import Missing, ScoreFiles, measure, reference_moments, write_scores
from twostream.metrics.inception import (
    FeatureColumns,
    FrechetDistance,
    InceptionNet,
    InceptionScore,
    MaskInceptionScore,
)
from twostream.metrics.lpips import LPIPS, LPIPSNet
from twostream.metrics.metric import Metric, Panel, ScoredPair
from twostream.metrics.pckh import PCKh
from twostream.metrics.protocols import PATN, STANDARD, EvaluationProtocol
from twostream.metrics.ssim import SSIM, MaskSSIM
from twostream.metrics.surrogate import EVALUATOR, EvaluatorColumns, EvaluatorPCKh, EvaluatorTraining
from twostream.weights import WeightStore

log = logging.getLogger(__name__)
METRICS = (
    *("ssim", "mask_ssim", "inception_score", "mask_inception_score", "fid", "lpips", "pckh"),
    *("evaluator", "correspondence"),
)
NEED_JOINTS = ("mask_ssim", "mask_inception_score", "pckh", "evaluator")
SINGLE_PROTOCOL = {"fid": STANDARD, "lpips": STANDARD, "pckh": PATN}  # the other metrics have a value under each


@dataclass(frozen=True)
class Scoring:
    """What an evaluation computes and where its networks come from. Raises ValueError for an unknown metric."""

    metrics: Sequence[str]  # some of METRICS
    weights_dir: str | None  # folder of weight files; None is torch.hub's own
    download: bool  # download a weight file on its first use
    cache_dir: str  # folder of evaluator networks and features of reference sets
    batch_size: int  # images per pass of a network
    num_workers: int  # processes that read and compare images
    pose_estimator: Callable[[], PoseEstimator]  # builds the estimator of PCKh
    evaluator: EvaluatorTraining  # trains the evaluator network of synthetic people

    def __post_init__(self) -> None:
        unknown = sorted(set(self.metrics) - set(METRICS))
        if unknown or not self.metrics:
            raise ValueError(f"metrics: expected some of {', '.join(METRICS)}, got {unknown or 'none'}")


@dataclass(frozen=True)
class ScoredImages:
    """What is scored: pairs of one size in the order of their names, which an Inception Score's splits depend on."""

    pairs: Sequence[ScoredPair]
    image_size: tuple[int, int]  # height and width
    protocols: Sequence[EvaluationProtocol]
    references: Mapping[str, Sequence[Panel]]  # `train` and `test` -> true images for Frechet distances
    record: Mapping[str, Any]  # what is known about the images, reported as `run`
    people_root: Path | None  # folder of synthetic datasets for the evaluator; None for images of other people
    more_metrics: Sequence[Metric] = ()  # metrics that need more than these images
    missing: Sequence[Missing] = ()  # further values that can't be computed


def score(images: ScoredImages, scoring: Scoring, files: ScoreFiles, device: torch.device) -> dict[str, Any]:
    """Score images, write the files, the values last, and return the values as in `metrics.json`.

    An interrupted evaluation resumes after its last finished shard. Metrics that can't be computed or are not defined
    on these images are listed with the reason.
    """
    chosen = MetricSelection(images, scoring, device)
    metrics = [*chosen.metrics, *images.more_metrics]
    columns = measure(images.pairs, metrics, files.cache, scoring.batch_size, scoring.num_workers)
    record = dict(images.record)
    if chosen.notes:
        record["notes"] = [*record.get("notes", []), *chosen.notes]
    content = write_scores(files, record, images.pairs, columns, metrics, [*chosen.missing, *images.missing])
    shutil.rmtree(files.cache)
    return content


class MetricSelection:
    """The metrics that are requested and available.

    Attributes:
        metrics: the metrics.
        missing: those that are requested but not available, with the reason.
        notes: remarks on the evaluator network.

    """

    def __init__(self, images: ScoredImages, scoring: Scoring, device: torch.device) -> None:
        self.metrics: list[Metric] = []
        self.missing: list[Missing] = []
        self.notes: list[str] = []
        self._images = images
        self._scoring = scoring
        self._device = device
        self._store = WeightStore(Path(scoring.weights_dir) if scoring.weights_dir else None, scoring.download)
        self._protocols = {name: self._requested_protocols(name) for name in METRICS}
        if any(pair.joints is None for pair in images.pairs):
            for name in NEED_JOINTS:
                values = [(name, protocol) for protocol in self._protocols[name]]
                self._list_missing(values, "keypoints unavailable: pass annotations=FILE")
                self._protocols[name] = []
        self._add_ssim()
        self._add_inception()
        self._add_lpips()
        self._add_pckh()
        self._add_evaluator()
        codec = ", ".join(sorted({pair.generated.path.suffix.lower().removeprefix(".") for pair in images.pairs}))
        for metric in self.metrics:
            metric.details["codec"] = codec

    def _requested_protocols(self, name: str) -> list[EvaluationProtocol]:
        if name not in self._scoring.metrics:
            return []
        if name == "evaluator":
            return [EVALUATOR] if self._images.people_root else []
        return [protocol for protocol in self._images.protocols if SINGLE_PROTOCOL.get(name, protocol) == protocol]

    def _list_missing(self, values: Sequence[tuple[str, EvaluationProtocol]], reason: str) -> None:
        if values:
            log.warning("not computed: %s: %s", ", ".join(dict.fromkeys(name for name, _ in values)), reason)
        self.missing += [{"metric": name, "protocol": p.name, "reason": reason} for name, p in values]

    @contextmanager
    def _listed_on_failure(self, values: Sequence[tuple[str, EvaluationProtocol]]) -> Iterator[None]:
        """List values (metric and protocol) as missing if building their metrics fails."""
        try:
            yield
        except (ValueError, ImportError) as error:
            self._list_missing(values, str(error))

    def _add_ssim(self) -> None:
        for metric in (SSIM, MaskSSIM):
            self.metrics += [metric(protocol, self._images.image_size) for protocol in self._protocols[metric.name]]

    def _add_inception(self) -> None:
        scores = [
            (metric, protocol)
            for protocol in self._images.protocols
            for metric in (InceptionScore, MaskInceptionScore)
            if protocol in self._protocols[metric.name]
        ]
        distances = [
            (f"fid_{name}", protocol) for protocol in self._protocols["fid"] for name in self._images.references
        ]
        if not scores and not self._protocols["fid"]:
            return
        with self._listed_on_failure([*((metric.name, protocol) for metric, protocol in scores), *distances]):
            net = InceptionNet(self._store, self._device)
            shared = {p: FeatureColumns(net, p, self._images.image_size) for p in self._images.protocols}
            self.metrics += [metric(shared[protocol]) for metric, protocol in scores]
            for protocol in self._protocols["fid"]:
                self._add_distances("fid", shared[protocol])

    def _add_distances(self, prefix: str, shared: FeatureColumns) -> None:
        for name, panels in self._images.references.items():
            with self._listed_on_failure([(f"{prefix}_{name}", shared.protocol)]):
                cache_dir, batch_size = Path(self._scoring.cache_dir), self._scoring.batch_size
                reference = reference_moments(panels, self._images.image_size, shared, cache_dir, batch_size)
                self.metrics.append(FrechetDistance(f"{prefix}_{name}", shared, name, reference))

    def _add_lpips(self) -> None:
        for protocol in self._protocols["lpips"]:
            with self._listed_on_failure([("lpips", protocol)]):
                self.metrics.append(LPIPS(self._images.image_size, LPIPSNet(self._store, self._device)))

    def _add_pckh(self) -> None:
        for protocol in self._protocols["pckh"]:
            with self._listed_on_failure([("pckh", protocol)]):
                self.metrics.append(PCKh(self._images.image_size, self._scoring.pose_estimator()))

    def _add_evaluator(self) -> None:
        if not self._protocols["evaluator"]:
            return
        assert self._images.people_root is not None
        size, cache_dir = self._images.image_size, Path(self._scoring.cache_dir)
        evaluator = self._scoring.evaluator.prepare(size, self._images.people_root, cache_dir, self._device)
        shared = EvaluatorColumns(evaluator, size)
        self.metrics += [InceptionScore(shared), MaskInceptionScore(shared)]
        self._add_distances("frechet", shared)
        self.metrics.append(EvaluatorPCKh(shared))
        self.notes.append(evaluator.describe())
