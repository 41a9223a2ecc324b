"""The evaluator of synthetic people: a small network that sees the pose and the clothes of a picture."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

NUM_GLANCES = 4
"""Places at which the head for the clothes looks."""


class EvaluatorOutput(NamedTuple):
    """What the evaluator sees in a batch of pictures; `y` and `x` count the heatmaps' cells."""

    heatmaps: Float[Tensor, "b joints y x"]
    """Log-probabilities that a joint is in a cell; with `missing` they sum to 1 over a joint's cells."""
    missing: Float[Tensor, "b joints"]
    """Log-probability that a joint can't be seen."""
    features: Float[Tensor, "b features"]
    logits: Float[Tensor, "b garments"]
    """One a combination of garment classes, the first kind of class outermost."""


class EvaluatorNet(nn.Module):
    """An encoder with a decoder for joint heatmaps, and a head for the class of the clothes.

    The classes of several kinds (colour, pattern, legwear) are taken as independent given the picture, so that a
    combination's logit is the sum of theirs and its softmax the product of theirs.

    Args:
        num_joints: heatmap channels.
        num_classes: how many classes each kind has.
        stride: pixels along a side of a heatmap's cell, a power of 2, at least 2.
        width: channels at the heatmaps' size.
        num_features: width of the layer before the classes, which the Frechet distance takes.

    """

    def __init__(
        self, num_joints: int, num_classes: Sequence[int], stride: int, width: int = 32, num_features: int = 64
    ) -> None:
        super().__init__()
        if stride < 2 or stride.bit_count() > 1:
            raise ValueError(f"stride: expected a power of 2, at least 2, got {stride}")
        self.stride = stride
        self.stem = nn.Sequential(
            *(_convolve(width if i else 3, width, stride=2) for i in range(stride.bit_length() - 1)),
            _convolve(width, width),
        )
        self.down = nn.Sequential(_convolve(width, 2 * width, stride=2), _convolve(2 * width, 2 * width))
        self.bottom = nn.Sequential(_convolve(2 * width, 4 * width, stride=2), _convolve(4 * width, 4 * width))
        self.up = _convolve(6 * width, 2 * width)
        self.top = _convolve(3 * width, width)
        self.to_heatmaps = nn.Conv2d(width, num_joints, 1)
        self.to_missing = nn.Linear(4 * width, num_joints)
        self.to_glances = nn.Conv2d(width, NUM_GLANCES, 1)
        self.to_features = nn.Sequential(nn.Linear(2 * NUM_GLANCES * width, num_features), nn.ReLU())
        self.to_classes = nn.ModuleList(nn.Linear(num_features, count) for count in num_classes)

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> EvaluatorOutput:
        """Estimate pose and clothes of images in [-1, 1]."""
        stem = self.stem(image)
        down = self.down(stem)
        bottom = self.bottom(down)
        up = self.up(torch.cat([F.interpolate(bottom, down.shape[2:]), down], dim=1))
        top = self.top(torch.cat([F.interpolate(up, stem.shape[2:]), stem], dim=1))
        glances = self.to_glances(top).flatten(2).softmax(dim=2)
        seen = glances @ torch.cat([stem, top], dim=1).flatten(2).transpose(1, 2)
        features = self.to_features(seen.flatten(1))
        logits = features.new_zeros(len(features), 1)
        for head in self.to_classes:
            logits = (logits[:, :, None] + head(features)[:, None, :]).flatten(1)
        # A joint is in one of the cells, or in none.
        places = torch.cat([self.to_heatmaps(top).flatten(2), self.to_missing(bottom.mean((2, 3)))[:, :, None]], dim=2)
        places = places.log_softmax(dim=2)
        return EvaluatorOutput(places[:, :, :-1].unflatten(2, top.shape[2:]), places[:, :, -1], features, logits)


def _convolve(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False), nn.BatchNorm2d(out_channels), nn.ReLU()
    )
