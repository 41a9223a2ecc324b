"""What an evaluation computes: its settings, the metrics that are available, and the driver for all kinds of images."""

import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from twostream.data.pose_estimators import PoseEstimator
from twostream.evaluation.external import image_names
from twostream.evaluation.measurement import Missing, ScoreFiles, measure, reference_moments, write_scores
from twostream.metrics.inception import (
    INCEPTIONS,
    FeatureColumns,
    FrechetDistance,
    InceptionScore,
    MaskInceptionScore,
)
from twostream.metrics.lpips import LPIPS, LPIPSNet, MaskLPIPS
from twostream.metrics.metric import Metric, Panel, ScoredPair
from twostream.metrics.pckh import PCKh
from twostream.metrics.protocols import EVALUATOR, EvaluationProtocol, protocols_named
from twostream.metrics.ssim import PSNR, SSIM, MaskSSIM
from twostream.metrics.surrogate import (
    Clothes,
    EvaluatorColumns,
    EvaluatorPCKh,
    EvaluatorTraining,
    appearance_accuracies,
)
from twostream.weights import WeightStore

log = logging.getLogger(__name__)
NEED_JOINTS = ("mask_ssim", "mask_inception_score", "mask_lpips", "pckh", "evaluator")
SIMILARITIES = {"ssim": SSIM, "mask_ssim": MaskSSIM, "psnr": PSNR}  # built from protocol and image size
SCORES = {metric.name: metric for metric in (InceptionScore, MaskInceptionScore)}
DISTANCES = {"lpips": LPIPS, "mask_lpips": MaskLPIPS}
METRICS = (*SIMILARITIES, *SCORES, "fid", *DISTANCES, "pckh", "evaluator", "correspondence")

Value = tuple[str, EvaluationProtocol]  # metric and protocol


@dataclass(frozen=True)
class Scoring:
    """What an evaluation computes and where its networks come from.

    Raises ValueError for an unknown metric or protocol, for numbers out of range, and for a protocol that is named
    twice, also in two versions.
    """

    metrics: Sequence[str]  # some of METRICS
    protocols: Sequence[str]  # names of the protocols of a run's evaluation
    weights: WeightStore  # weight files of the networks
    cache_dir: str  # folder of evaluator networks and features of reference sets
    batch_size: int  # images per pass of a network
    num_workers: int  # processes that read and compare images
    pose_estimator: Callable[[], PoseEstimator]  # builds the estimator of PCKh
    evaluator: EvaluatorTraining  # trains the evaluator network of synthetic people

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.num_workers < 0:
            expected = "scoring: expected a batch_size of at least 1 and num_workers of at least 0"
            raise ValueError(f"{expected}, got {self.batch_size} and {self.num_workers}")
        unknown = sorted(set(self.metrics) - set(METRICS))
        if unknown or not self.metrics:
            raise ValueError(f"metrics: expected some of {', '.join(METRICS)}, got {unknown or 'none'}")
        names = [protocol.name for protocol in self.protocols_of_runs]
        if len(set(names)) < len(names):
            raise ValueError(f"scoring.protocols: expected each protocol once, got {', '.join(self.protocols)}")

    @property
    def protocols_of_runs(self) -> list[EvaluationProtocol]:
        """The protocols of a run's evaluation."""
        return [protocol for name in self.protocols for protocol in protocols_named(name)]


@dataclass(frozen=True)
class ScoredImages:
    """What is scored: pairs of one size in the order of their names, which an Inception Score's splits depend on."""

    pairs: Sequence[ScoredPair]
    image_size: tuple[int, int]  # height and width
    protocols: Sequence[EvaluationProtocol]
    references: Mapping[str, Sequence[Panel]]  # by name (`EvaluationProtocol.references`), for Frechet distances
    record: Mapping[str, Any]  # what is known about the images, reported as `run`
    people_root: Path | None  # folder of synthetic datasets for the evaluator; None for images of other people
    clothes: Clothes | None = None  # of synthetic people, for the appearance accuracy
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


def score_external(
    pairs: Sequence[ScoredPair],
    scoring: Scoring,
    out: Path,
    record: Mapping[str, Any],
    device: torch.device,
    *,
    protocol: str = "all",
    train_images: Path | None = None,
    people_root: Path | None = None,
) -> dict[str, Any]:
    """Score pairs of one size; return the values as in a run's `metrics.json` and write them with their files to `out`.

    `train_images` is the folder of the training split's true images, for FID; `people_root` that of synthetic datasets,
    for the evaluator. Raises ValueError for a metric that needs more than images, and for an `out` that is not .json.
    """
    if out.suffix != ".json":
        raise ValueError(f"out: expected a name that ends in .json, got {out}")
    if "correspondence" in scoring.metrics:
        raise ValueError("metrics: correspondence needs the network, not its images: twostream-evaluate run=FOLDER")
    pairs = sorted(pairs, key=lambda pair: pair.name)
    height, width, _ = pairs[0].true.read().shape
    references = {"test": list({pair.target: pair.true for pair in pairs}.values())}
    if train_images is not None:
        train = [Panel(train_images / name) for name in image_names(train_images)]
        references = {"train": train, "all_train": train, **references}
    images = ScoredImages(pairs, (height, width), protocols_named(protocol), references, record, people_root)
    cache = out.with_name(f".{out.stem}.scoring")
    files = ScoreFiles(out, out.with_suffix(".csv"), out.with_suffix(".bootstrap.json"), cache)
    return score(images, scoring, files, device)


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
        protocols = [*images.protocols, *([EVALUATOR] if images.people_root else [])]
        self._requested = [(name, p) for p in protocols for name in p.metrics if name in scoring.metrics]
        if not self._requested and "correspondence" not in scoring.metrics:
            names = ", ".join(protocol.name for protocol in protocols)
            known = ", ".join(dict.fromkeys(name for protocol in protocols for name in protocol.metrics))
            got = ", ".join(scoring.metrics)
            raise ValueError(f"scoring.metrics: expected some of {known}, which the protocols {names} have, got {got}")
        if any(pair.joints is None for pair in images.pairs):
            for name in NEED_JOINTS:
                self._list_missing(self._values(name), "keypoints unavailable: pass annotations=FILE")
            self._requested = [value for value in self._requested if value[0] not in NEED_JOINTS]
        for value in [value for name in SIMILARITIES for value in self._values(name)]:
            self._add([value], partial(self._similarity, *value))
        for value in self._values("fid"):
            if not self._references(value[1]):
                self._list_missing([value], "true images unavailable: pass train_images=FOLDER")
                self._requested.remove(value)
        for inception in dict.fromkeys(protocol.inception for _, protocol in self._requested):
            values = [value for value in self._values(*SCORES, "fid") if value[1].inception == inception]
            self._add(self._with_references(values), partial(self._inception, inception, values))
        self._add(self._values(*DISTANCES), self._lpips)
        self._add(self._values("pckh"), self._pckh)
        if self._values("evaluator"):
            self.metrics += self._evaluator()
        codec = ", ".join(sorted({pair.generated.path.suffix.lower().removeprefix(".") for pair in images.pairs}))
        for chosen in self.metrics:
            chosen.details["codec"] = codec

    def _values(self, *names: str) -> list[Value]:
        return [value for value in self._requested if value[0] in names]

    def _list_missing(self, values: Sequence[Value], reason: str) -> None:
        if values:
            log.warning("not computed: %s: %s", ", ".join(dict.fromkeys(name for name, _ in values)), reason)
        self.missing += [{"metric": name, "protocol": p.name, "reason": reason} for name, p in values]

    def _add(self, values: Sequence[Value], build: Callable[[], Iterable[Metric]]) -> None:
        """Build the metrics of some values, or list these as missing if that fails."""
        if values:
            try:
                self.metrics += list(build())
            except (ValueError, ImportError) as error:
                self._list_missing(values, str(error))

    def _with_references(self, values: Sequence[Value]) -> list[Value]:
        """Return values with a Frechet distance for each set of true images in place of FID."""
        named: list[Value] = []
        for name, protocol in values:
            names = [f"fid_{reference}" for reference in self._references(protocol)] if name == "fid" else [name]
            named += [(name, protocol) for name in names]
        return named

    def _references(self, protocol: EvaluationProtocol) -> list[str]:
        return [name for name in protocol.references if name in self._images.references]

    def _similarity(self, name: str, protocol: EvaluationProtocol) -> Iterator[Metric]:
        yield SIMILARITIES[name](protocol, self._images.image_size)

    def _inception(self, inception: str, values: Sequence[Value]) -> Iterator[Metric]:
        net = INCEPTIONS[inception](self._scoring.weights, self._device)
        shared = {protocol: FeatureColumns(net, protocol, self._images.image_size) for _, protocol in values}
        if net.no_logits:
            self._list_missing([value for value in values if value[0] in SCORES], net.no_logits)
        for name, protocol in values:
            if name == "fid":
                yield from self._distances("fid", shared[protocol])
            elif not net.no_logits:
                yield SCORES[name](shared[protocol])

    def _distances(self, prefix: str, shared: FeatureColumns) -> Iterator[Metric]:
        for name in self._references(shared.protocol):
            panels = self._images.references[name]
            cache_dir, batch_size = Path(self._scoring.cache_dir), self._scoring.batch_size
            try:
                reference = reference_moments(panels, self._images.image_size, shared, cache_dir, batch_size)
            except ValueError as error:
                self._list_missing([(f"{prefix}_{name}", shared.protocol)], str(error))
            else:
                yield FrechetDistance(f"{prefix}_{name}", shared, name, reference)

    def _lpips(self) -> Iterator[Metric]:
        net = LPIPSNet(self._scoring.weights, self._device)
        for name, protocol in self._values(*DISTANCES):
            yield DISTANCES[name](protocol, self._images.image_size, net)

    def _pckh(self) -> Iterator[Metric]:
        estimator = self._scoring.pose_estimator()
        for _, protocol in self._values("pckh"):
            yield PCKh(protocol, self._images.image_size, estimator)

    def _evaluator(self) -> Iterator[Metric]:
        assert self._images.people_root is not None
        size, cache_dir = self._images.image_size, Path(self._scoring.cache_dir)
        evaluator = self._scoring.evaluator.prepare(size, self._images.people_root, cache_dir, self._device)
        self.notes.append(evaluator.describe())
        shared = EvaluatorColumns(evaluator, size, self._images.clothes)
        yield from (InceptionScore(shared), MaskInceptionScore(shared))
        yield from self._distances("frechet", shared)
        yield EvaluatorPCKh(shared)
        yield from appearance_accuracies(shared)
