"""The evaluator network: estimates pose and clothes of a synthetic person."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

NUM_ATTENTION_MAPS = 4  # of the attention pooling before the clothes' classes


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
        num_joints: heatmap channels.
        num_classes: number of classes of each kind.
        stride: pixels along a side of a heatmap's cell, a power of 2, at least 2.
        width: channels at the heatmaps' resolution.
        num_features: channels of `EvaluatorOutput.features`.

    Raises:
        ValueError: the stride is not a power of 2, or less than 2.
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
        self.to_attention = nn.Conv2d(width, NUM_ATTENTION_MAPS, 1)
        self.to_features = nn.Sequential(nn.Linear(2 * NUM_ATTENTION_MAPS * width, num_features), nn.ReLU())
        self.to_classes = nn.ModuleList(nn.Linear(num_features, count) for count in num_classes)

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
