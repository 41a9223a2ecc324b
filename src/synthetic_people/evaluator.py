"""A trained evaluator network: replaces Inception and a pose estimator where no weights can be downloaded."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from synthetic_people.clothes import GARMENT_CLASSES
from synthetic_people.evaluator_net import EvaluatorNet, EvaluatorOutput
from twostream.data.dataset import to_unit_range
from twostream.data.keypoints import NUM_JOINTS
from twostream.files import atomic_write
from twostream.weights import load_state

MAX_HEATMAP_ROWS = 32


class Predictions(NamedTuple):
    """Estimates for a batch of images: joints (y, x) in pixels, -1 if not visible; features; logits of the clothes."""

    joints: Int[np.ndarray, "b 18 2"]
    features: Float[np.ndarray, "b features"]
    logits: Float[np.ndarray, "b garments"]


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
        net: EvaluatorNet = EvaluatorNet(NUM_JOINTS, GARMENT_CLASSES, stride).to(memory_format=torch.channels_last)
    return net


def save_evaluator(evaluator: Evaluator, path: Path) -> None:
    """Write the state dict, with the accuracy as scalars under `accuracy/`."""
    accuracy = {f"accuracy/{name}": torch.tensor(value) for name, value in evaluator.accuracy.items()}
    with atomic_write(path) as temporary:
        torch.save({**evaluator.net.cpu().state_dict(), **accuracy}, temporary)


def load_evaluator(path: Path, image_size: tuple[int, int], device: torch.device) -> Evaluator:
    """Load what `save_evaluator` wrote. Raises ValueError naming the file if it holds no evaluator."""
    net, state = build_net(image_size), dict(load_state(path))
    try:
        accuracy = {name.removeprefix("accuracy/"): state.pop(name).item() for name in list(state) if "/" in name}
        net.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{path}: expected weights of the evaluator network, got: {error}") from error
    return Evaluator(net, accuracy, device)
