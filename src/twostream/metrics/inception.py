"""Inception Score (Salimans et al. 2016) and Frechet distance (Heusel et al. 2017) of a feature network's outputs.

On Inception's features the Frechet distance is FID. Both are computed in float64.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from scipy.linalg import eigh, eigvalsh
from scipy.special import log_softmax, logsumexp
from torch import Tensor, nn
from torchvision.models import Inception_V3_Weights, inception_v3
from typing_extensions import override

from twostream.extras import require
from twostream.metrics.metric import Columns, ImageBatch, Rows, SharedMetric, to_tensor
from twostream.metrics.protocols import EvaluationProtocol
from twostream.weights import WeightFile, WeightStore, display, load_state

INCEPTION = WeightFile(
    "weights-inception-2015-12-05-6726825d.pth",
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
    "6726825d",
    "inception",
)
"""The Inception of the original IS and FID code, converted from TensorFlow by torch-fidelity."""

TORCHVISION = WeightFile(
    "inception_v3_google-0cc3c7bd.pth",
    Inception_V3_Weights.IMAGENET1K_V1.url,
    "0cc3c7bd",
    "torchvision_inception",
)
"""Torchvision's Inception, trained on ImageNet."""

LAST_LAYER = {"fc.weight": (1008, 2048), "fc.bias": (1008,)}
"""The layer of the Inception of 2015 that IS needs and FID does not."""


@dataclass(frozen=True)
class Moments:
    """Mean and unbiased covariance of the features of `n` images."""

    mean: Float[np.ndarray, "d"]
    covariance: Float[np.ndarray, "d d"]
    n: int

    @cached_property
    def root(self) -> Float[np.ndarray, "d d"]:
        """The covariance's symmetric square root, computed on first use; eigenvalues below 0 are rounding errors."""
        eigenvalues, vectors = eigh(self.covariance)
        return (vectors * np.sqrt(eigenvalues.clip(min=0))) @ vectors.T


def moments(features: Float[np.ndarray, "n d"]) -> Moments:
    """Return the moments of features, one row per image. Raises ValueError for fewer than 2 images."""
    n, d = features.shape
    if n < 2:
        raise ValueError(f"expected the features of at least 2 images, got {n}")
    features = features.astype(np.float64)
    return Moments(features.mean(axis=0), np.cov(features, rowvar=False).reshape(d, d), n)


def frechet_distance(first: Moments, second: Moments) -> float:
    """Return |m1 - m2|^2 + tr(C1) + tr(C2) - 2 tr((C1 C2)^(1/2)); 0 for equal moments.

    C1 C2 has the eigenvalues of S C1 S, where S is the root of C2. That one is symmetric, so a covariance without full
    rank is no special case. S is `second.root`: pass the true images second to compute it once.

    Raises ValueError for features of different length.
    """
    if first.mean.shape != second.mean.shape:
        raise ValueError(f"expected features of one length, got {first.mean.size} and {second.mean.size}")
    eigenvalues = eigvalsh(second.root @ first.covariance @ second.root)
    trace_of_root = np.sqrt(eigenvalues.clip(min=0)).sum()
    offset = ((first.mean - second.mean) ** 2).sum()
    distance = offset + np.trace(first.covariance) + np.trace(second.covariance) - 2 * trace_of_root
    return max(0.0, float(distance))


def inception_score(logits: Float[np.ndarray, "n classes"], num_splits: int = 10) -> tuple[float, float]:
    """Return mean and population standard deviation of exp(E[KL(p(y|x) || p(y))]) over consecutive splits of the rows.

    A score is between 1 and the number of classes. Split k of s contains the rows n k // s to n (k + 1) // s, so that
    every row is used. Raises ValueError for fewer rows than splits.
    """
    n = len(logits)
    if not 1 <= num_splits <= n:
        raise ValueError(f"expected 1 to {n} splits for {n} images, got {num_splits}")
    log_p = log_softmax(logits.astype(np.float64), axis=1)
    scores = [_score(log_p[n * k // num_splits : n * (k + 1) // num_splits]) for k in range(num_splits)]
    return float(np.mean(scores)), float(np.std(scores))


def _score(log_p: Float[np.ndarray, "n classes"]) -> float:
    log_marginal = logsumexp(log_p, axis=0) - np.log(len(log_p))
    divergences = (np.exp(log_p) * (log_p - log_marginal)).sum(axis=1)
    return float(np.exp(divergences.mean()))


@runtime_checkable
class FeatureNet(Protocol):
    """A frozen network that scores are computed with."""

    name: str
    weights_hash: str  # SHA-256 in hex

    def __call__(self, images: UInt8[Tensor, "b 3 h w"]) -> Any:
        """Return a named tuple with the `features` and `logits` of each image."""


class Outputs(NamedTuple):
    """Outputs of Inception: the features of FID and the logits (without bias) of IS, of 0 classes if it has none."""

    features: Float[np.ndarray, "b features"]
    logits: Float[np.ndarray, "b classes"]


class InceptionNet:
    """Inception as in the original IS and FID code, with its resizing to 299x299, by torch-fidelity.

    A file without a finite last layer (`fc`) gives features but no logits. Raises ImportError without torch-fidelity,
    MissingWeightsError without the weights, and ValueError if the file is not of this network or as `WeightStore.find`.
    """

    name = "inception-v3-compat (2015-12-05)"  # with a remark if the file is not the published one
    no_logits: str | None = None  # why there are no logits; None if there are

    def __init__(self, store: WeightStore, device: torch.device, *, file: WeightFile = INCEPTION) -> None:
        require("IS and FID need", "inception", "torch_fidelity")
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        found = store.find(file)
        state, outputs = dict(load_state(found.path)), ["2048", "logits_unbiased"]
        lacking = [layer for layer in LAST_LAYER if layer not in state or not state[layer].isfinite().all()]
        if lacking:
            self.no_logits = f"{display(found.path)}: IS can't be computed without a finite {' and '.join(lacking)}"
            state |= {layer: torch.zeros(LAST_LAYER[layer]) for layer in lacking}
            outputs = ["2048"]
        # The network's own loader would execute code in a file, so it gets only the tensors, saved again.
        file_of_tensors = BytesIO()
        torch.save(state, file_of_tensors)
        file_of_tensors.seek(0)
        try:
            net = FeatureExtractorInceptionV3("inception-v3-compat", outputs, file_of_tensors)
        except RuntimeError as error:
            raise ValueError(
                f"{display(found.path)}: expected the weights of {self.name}, these do not fit it"
            ) from error
        self.name, self.weights_hash = found.mark(self.name), found.sha256
        self._device = device
        self._net = net.to(device)

    @torch.inference_mode()
    def __call__(self, images: UInt8[Tensor, "b 3 h w"]) -> Outputs:
        """Return the outputs for RGB images of any size."""
        features, *logits = (output.cpu().numpy() for output in self._net(images.to(self._device)))
        return Outputs(features, *(logits or [features[:, :0]]))


class TorchvisionInception:
    """Torchvision's Inception, fed as in GFLA's script.

    Images in [0, 1] are resized to 299x299 and then transformed as if they were normalised as ImageNet's, although they
    are not. Raises MissingWeightsError without the weights, and ValueError if the file is not of this network or as
    `WeightStore.find`. Its attributes are those of `InceptionNet`.
    """

    name = "inception-v3 (torchvision)"
    no_logits: str | None = None

    def __init__(self, store: WeightStore, device: torch.device, *, file: WeightFile = TORCHVISION) -> None:
        found = store.find(file)
        net = inception_v3(weights=None, init_weights=False)
        try:
            net.load_state_dict(load_state(found.path))
        except RuntimeError as error:
            raise ValueError(
                f"{display(found.path)}: expected the weights of {self.name}, these do not fit it"
            ) from error
        self._classifier, net.fc = net.fc, nn.Identity()
        net.transform_input = True
        self.name, self.weights_hash = found.mark(self.name), found.sha256
        self._device = device
        self._net, self._classifier = net.eval().to(device), self._classifier.to(device)

    @torch.inference_mode()
    def __call__(self, images: UInt8[Tensor, "b 3 h w"]) -> Outputs:
        """Return the outputs for RGB images of any size."""
        resized = F.interpolate(images.to(self._device) / 255, (299, 299), mode="bilinear")
        features = self._net(resized)
        return Outputs(features.cpu().numpy(), self._classifier(features).cpu().numpy())


INCEPTIONS: dict[str, Callable[[WeightStore, torch.device], InceptionNet | TorchvisionInception]] = {
    "2015": InceptionNet,
    "torchvision": TorchvisionInception,
}


class FeatureColumns:
    """The outputs of a feature network in a protocol's frame, as columns that its metrics share.

    Protocols of equal frames have columns of equal names, for masked images those of equal masks too.
    """

    def __init__(self, net: FeatureNet, protocol: EvaluationProtocol, image_size: tuple[int, int]) -> None:
        described = protocol.describe(image_size)
        frame = f"{net.name}/{described['frame']}"
        self.features, self.logits = f"{frame}/features", f"{frame}/logits"
        self.mask_logits = f"{frame}/mask_logits{'' if protocol.mask_has_edges else ' without edges'}"
        self.net = net
        self.protocol = protocol
        self.details = described | {"feature_net": net.name, "feature_net_hash": net.weights_hash}

    def update(self, images: ImageBatch) -> Columns:
        """Return the features and logits of the generated images."""
        outputs = self.net(to_tensor(np.stack([self.protocol.frame(image) for image in images.generated])))
        return {self.features: outputs.features, self.logits: outputs.logits}

    def update_masked(self, images: ImageBatch) -> Columns:
        """Return the logits of the generated persons."""
        pairs = zip(images.generated, images.masks(self.protocol), strict=True)
        framed = [self.protocol.frame(image, mask) for image, mask in pairs]
        return {self.mask_logits: self.net(to_tensor(np.stack(framed))).logits}


class InceptionScore(SharedMetric):
    """The Inception Score of the generated images in the order of their names."""

    name = "inception_score"
    num_resamples = 200
    num_splits = 10

    def __init__(self, shared: FeatureColumns) -> None:
        super().__init__(self.name, shared.protocol.name, shared.details | {"splits": self.num_splits}, [shared.logits])
        self.measure = shared.update

    @override
    def compute(self, columns: Columns, rows: Rows) -> float:
        return inception_score(columns[self.columns[0]][rows], self.num_splits)[0]

    @override
    def extras(self, columns: Columns) -> dict[str, float]:
        return {"splits_std": inception_score(columns[self.columns[0]], self.num_splits)[1]}


class MaskInceptionScore(InceptionScore):
    """The Inception Score of the generated persons."""

    name = "mask_inception_score"

    def __init__(self, shared: FeatureColumns) -> None:
        super().__init__(shared)
        self.columns = (shared.mask_logits,)
        self.measure = shared.update_masked


class FrechetDistance(SharedMetric):
    """The Frechet distance of the generated images to a reference set of true images; FID on Inception's features."""

    num_resamples = 100

    def __init__(self, name: str, shared: FeatureColumns, reference_name: str, reference: Moments) -> None:
        details = shared.details | {"reference": f"{reference_name} images", "reference_n": reference.n}
        super().__init__(name, shared.protocol.name, details, [shared.features])
        self.reference = reference
        self.measure = shared.update

    @override
    def compute(self, columns: Columns, rows: Rows) -> float:
        return frechet_distance(moments(columns[self.columns[0]][rows]), self.reference)
