"""The evaluator network of synthetic people: stands in for Inception and a pose estimator without a download."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from scipy.special import logsumexp
from torch import Tensor, nn

from synthetic_people.clothes import GARMENT_CLASSES
from twostream.data.dataset import to_unit_range
from twostream.data.keypoints import NUM_JOINTS
from twostream.files import atomic_write
from twostream.weights import load_state

MAX_HEATMAP_ROWS = 32
NUM_ATTENTION_MAPS = 4  # of the attention pooling before the clothes' classes
NUM_FEATURES = 64  # input of the classifier


class EvaluatorOutput(NamedTuple):
    """What the network estimates; `y` and `x` are the heatmaps' rows and columns.

    Attributes:
        heatmaps: log-probabilities that a joint is in a cell; with `missing` the probabilities of a joint sum to 1.
        missing: log-probability that a joint is not visible.
        features: input of the classifier, for the Frechet distance.
        logits: one for each combination of garment classes, the first kind outermost.
    """

    heatmaps: Float[Tensor, "b joints y x"]
    missing: Float[Tensor, "b joints"]
    features: Float[Tensor, "b features"]
    logits: Float[Tensor, "b garments"]


class EvaluatorNet(nn.Module):
    """A U-Net for joint heatmaps, with attention pooling and a classifier for the clothes.

    Kinds of classes (colour, pattern, legwear) are independent given the image: the logit of a combination is the sum
    of the kinds' logits.

    Args:
        stride: pixels along a side of a heatmap's cell, a power of 2, at least 2.
        width: channels at the heatmaps' resolution.
    """

    def __init__(self, stride: int, width: int = 32) -> None:
        super().__init__()
        assert stride.bit_count() == 1
        self.stride = stride
        halvings = [_convolve(width if i else 3, width, stride=2) for i in range(stride.bit_length() - 1)]
        self.stem = nn.Sequential(*halvings, _convolve(width, width))
        self.down = nn.Sequential(_convolve(width, 2 * width, stride=2), _convolve(2 * width, 2 * width))
        self.bottom = nn.Sequential(_convolve(2 * width, 4 * width, stride=2), _convolve(4 * width, 4 * width))
        self.up = _convolve(6 * width, 2 * width)
        self.top = _convolve(3 * width, width)
        self.to_heatmaps = nn.Conv2d(width, NUM_JOINTS, 1)
        self.to_missing = nn.Linear(4 * width, NUM_JOINTS)
        self.to_attention = nn.Conv2d(width, NUM_ATTENTION_MAPS, 1)
        self.to_features = nn.Sequential(nn.Linear(2 * NUM_ATTENTION_MAPS * width, NUM_FEATURES), nn.ReLU())
        self.to_classes = nn.ModuleList(nn.Linear(NUM_FEATURES, count) for count in GARMENT_CLASSES)

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> EvaluatorOutput:
        """Estimate pose and clothes of images in [-1, 1]."""
        stem = self.stem(image)
        down = self.down(stem)
        bottom = self.bottom(down)
        up = self.up(torch.cat([F.interpolate(bottom, down.shape[2:]), down], dim=1))
        top = self.top(torch.cat([F.interpolate(up, stem.shape[2:]), stem], dim=1))
        attention = self.to_attention(top).flatten(2).softmax(dim=2)
        pooled = attention @ torch.cat([stem, top], dim=1).flatten(2).transpose(1, 2)
        features = self.to_features(pooled.flatten(1))
        logits = features.new_zeros(len(features), 1)
        for head in self.to_classes:
            logits = (logits[:, :, None] + head(features)[:, None, :]).flatten(1)
        # A joint is in one of the cells or missing.
        cells = torch.cat([self.to_heatmaps(top).flatten(2), self.to_missing(bottom.mean((2, 3)))[:, :, None]], dim=2)
        cells = cells.log_softmax(dim=2)
        return EvaluatorOutput(cells[:, :, :-1].unflatten(2, top.shape[2:]), cells[:, :, -1], features, logits)


def _convolve(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False), nn.BatchNorm2d(out_channels), nn.ReLU()
    )


class Predictions(NamedTuple):
    """Estimates for a batch of images: joints (y, x) in pixels, -1 if not visible; features; logits of the clothes."""

    joints: Int[np.ndarray, "b 18 2"]
    features: Float[np.ndarray, "b features"]
    logits: Float[np.ndarray, "b garments"]

    @property
    def garments(self) -> Int[np.ndarray, "b kinds"]:
        """The likeliest class of each of `GARMENT_KINDS`."""
        by_kind = self.logits.reshape(-1, *GARMENT_CLASSES)
        axes_of_others = ((2, 3), (1, 3), (1, 2))
        return np.stack([logsumexp(by_kind, axis=others).argmax(axis=1) for others in axes_of_others], axis=1)


class Evaluator:
    """A trained evaluator network for images of one size.

    Attributes:
        name: as in result files.
        weights_hash: SHA-256 of the weights.
        accuracy: on identities not seen in training: PCKh, and the accuracy of each kind of garment class.
    """

    name = "evaluator"

    def __init__(self, net: EvaluatorNet, accuracy: dict[str, float], device: torch.device) -> None:
        self.net = net.to(device).eval()
        self.accuracy = accuracy
        self.device = device
        digest = hashlib.sha256()
        for key, value in sorted(net.state_dict().items()):
            digest.update(key.encode() + value.cpu().numpy().tobytes())
        self.weights_hash = digest.hexdigest()

    @classmethod
    def load(cls, path: Path, image_size: tuple[int, int], device: torch.device) -> "Evaluator":
        """Load what `save` wrote. Raises ValueError naming the file if it holds no evaluator."""
        net, state = build_net(image_size), dict(load_state(path))
        try:
            accuracy = {name.removeprefix("accuracy/"): state.pop(name).item() for name in list(state) if "/" in name}
            net.load_state_dict(state)
        except RuntimeError as error:
            raise ValueError(f"{path}: expected weights of the evaluator network, got: {error}") from error
        return cls(net, accuracy, device)

    def save(self, path: Path) -> None:
        """Write the state dict, with the accuracy as scalars under `accuracy/`."""
        accuracy = {f"accuracy/{name}": torch.tensor(value) for name, value in self.accuracy.items()}
        with atomic_write(path) as temporary:
            torch.save({**self.net.cpu().state_dict(), **accuracy}, temporary)

    def describe(self) -> str:
        """Return the hash of the weights and the accuracy in one line."""
        accuracy = ", ".join(f"{name} {value:.3f}" for name, value in self.accuracy.items())
        return f"evaluator {self.weights_hash[:12]} on true images of people not seen in training: {accuracy}"

    @torch.inference_mode()
    def __call__(self, images: UInt8[Tensor, "b 3 h w"]) -> Predictions:
        """Estimate pose and clothes of RGB images."""
        output: EvaluatorOutput = self.net(to_unit_range(images.to(self.device)))
        joints = locate_joints(output, self.net.stride, (images.shape[2], images.shape[3]))
        return Predictions(joints, output.features.cpu().numpy(), output.logits.cpu().numpy())


def locate_joints(output: EvaluatorOutput, stride: int, image_size: tuple[int, int]) -> Int[np.ndarray, "b 18 2"]:
    """Return joints (y, x) in pixels, -1 if rather missing: the mean over the 3x3 cells around the likeliest cell."""
    rows, columns = output.heatmaps.shape[2:]
    best = output.heatmaps.flatten(2).argmax(dim=2)
    y, x = (torch.arange(size, device=best.device) for size in (rows, columns))
    near_y, near_x = (y - (best // columns)[:, :, None]).abs() <= 1, (x - (best % columns)[:, :, None]).abs() <= 1
    heat = output.heatmaps.exp() * (near_y[:, :, :, None] & near_x[:, :, None, :])
    joints = []
    for axis, cells in ((2, y), (3, x)):
        weight = heat.sum(dim=5 - axis)
        centre = (weight * cells).sum(dim=2) / weight.sum(dim=2)
        pixel = ((centre + 0.5) * stride - 0.5).round().clamp(0, image_size[axis - 2] - 1)
        joints.append(pixel.long())
    is_found = output.missing.exp() < 0.5
    return torch.where(is_found[:, :, None], torch.stack(joints, dim=2), -1).cpu().numpy()


def build_net(image_size: tuple[int, int]) -> EvaluatorNet:
    """Build the network for an image size, with the same initial weights in every call."""
    stride = 2
    while image_size[0] // stride > MAX_HEATMAP_ROWS:
        stride *= 2
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would also seed the accelerators, whose state is not restored here.
        torch.default_generator.manual_seed(0)
        return EvaluatorNet(stride).to(memory_format=torch.channels_last)
