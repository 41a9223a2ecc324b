"""A successor of the 2s-ATN, which transfers the pixels of the source by a correspondence of its two streams.

The 2s-ATN transfers features, from which the decoder has to generate every colour and pattern. Here the last features
of both streams give one more dense correspondence, at a finer resolution, by which patches of the source image are
warped into the target pose (as CoCosNet warps an exemplar, Zhang et al. 2020); the decoder takes the warped image, and
masks blend it with what the decoder generates (as GFLA blends features, Ren et al. 2020).
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from twostream.nets.attention import attend
from twostream.nets.blocks import (
    Init,
    ReflectionPad,
    StreamConv,
    check_at_least,
    flatten_positions,
    normal_weights,
    upsample,
)
from twostream.nets.generator import ModuleOfChannels, TwoStreamGenerator


class Warp(nn.Module):
    """Warp source images into the target pose by a dense correspondence.

    A position is a square of `stride` x `stride` pixels. Its weights are a softmax over all positions of all sources:
    of the cosine similarity of query and key, times a learned scale. They weigh patches of source pixels that are twice
    as wide as a position; where patches overlap, a pixel is their mean, weighted by its distance to their borders.

    Args:
        channels: channels of both streams.
        num_joints: heatmap channels of a pose, which queries and keys depend on too.
        key_channels: channels of queries and keys.
        stride: pixels along a side of a position, 2 or 4.
        scale: where the learned scale starts.
        cosine: compare directions; otherwise the products of queries and keys as they are.
        pose: queries and keys depend on the poses too; otherwise on the streams alone.
        overlap: patches are twice as wide as a position; otherwise as wide, side by side.

    Raises ValueError for another stride.

    """

    weights: Tensor

    def __init__(
        self,
        channels: int,
        num_joints: int,
        key_channels: int = 32,
        stride: int = 2,
        scale: float = 10.0,
        cosine: bool = True,
        pose: bool = True,
        overlap: bool = True,
    ) -> None:
        super().__init__()
        check_at_least(1, key_channels=key_channels)
        if stride not in (2, 4):
            raise ValueError(f"stride: expected 2 or 4, got {stride}")
        in_channels, out_channels = channels + num_joints * pose, key_channels * (4 // stride) ** 2
        self.to_queries = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.to_keys = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.stride = stride
        self.cosine, self.pose = cosine, pose
        self.kernel, self.padding = (2 * stride, stride // 2) if overlap else (stride, 0)
        window = torch.sin(math.pi * (torch.arange(self.kernel) + 0.5) / self.kernel) ** 2
        weights = (window[:, None] * window).flatten().repeat(3)[:, None]
        self.register_buffer("weights", weights if overlap else torch.ones_like(weights), persistent=False)

    def queries(
        self, target: Float[Tensor, "b c h4 w4"], heatmaps: Float[Tensor, "b joints h w"]
    ) -> Float[Tensor, "b k positions"]:
        """Return the queries of F_t (`target`) and the target pose, times the scale."""
        return self._embed(self.to_queries, target, heatmaps) * self.log_scale.exp()

    def keys(
        self, source: Float[Tensor, "b c h4 w4"], heatmaps: Float[Tensor, "b joints h w"]
    ) -> Float[Tensor, "b k positions"]:
        """Return the keys of F_s (`source`) and the source pose."""
        return self._embed(self.to_keys, source, heatmaps)

    def _embed(self, conv: nn.Module, features: Tensor, heatmaps: Tensor) -> Tensor:
        if self.pose:
            features = torch.cat([features, F.avg_pool2d(heatmaps, 4)], dim=1)
        embedded = flatten_positions(F.pixel_shuffle(conv(features), 4 // self.stride)).float()
        return F.normalize(embedded, dim=1) if self.cosine else embedded

    def forward(
        self,
        queries: Float[Tensor, "b k positions"],
        keys: Float[Tensor, "b k source_positions"],
        source_images: Float[Tensor, "b n 3 h w"],
    ) -> Float[Tensor, "b 3 h w"]:
        """Return the warped image; the positions of the sources follow one another in `keys`."""
        size, windows = source_images.shape[-2:], (self.kernel, 1, self.padding, self.stride)
        patches = F.unfold(source_images.flatten(0, 1), *windows)
        values = patches.unflatten(0, (-1, source_images.shape[1])).transpose(1, 2).flatten(2)
        warped = attend(queries, keys, values) * self.weights
        total = F.fold(self.weights.expand(-1, warped.shape[2])[None], size, *windows)
        return F.fold(warped, size, *windows) / total


class WarpDecoder(nn.Module):
    """The 2s-ATN's decoder, which also takes the warped image, and blends it with the generated one by a mask.

    Args:
        width: channels at full resolution.
        takes: the warped image is an input of the last two convolutions.
        blends: the result is a blend; otherwise the generated image alone.

    """

    def __init__(self, width: int, takes: bool = True, blends: bool = True) -> None:
        super().__init__()
        self.takes, self.blends = takes, blends
        self.to_half_size = upsample(4 * width, 2 * width)
        self.to_full_size = upsample(2 * width + 12 * takes, width)
        self.to_image = nn.Sequential(ReflectionPad(3), nn.Conv2d(width + 3 * takes, 3 + blends, 7))

    def forward(self, target: Float[Tensor, "b c h4 w4"], warped: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """Return the image, in [-1, 1]."""
        half, full = ([F.pixel_unshuffle(warped, 2)], [warped]) if self.takes else ([], [])
        features = self.to_full_size(torch.cat([self.to_half_size(target), *half], dim=1))
        output = self.to_image(torch.cat([features, *full], dim=1)).to(warped.dtype)
        generated = output[:, :3].tanh()
        return torch.lerp(generated, warped, output[:, 3:].sigmoid()) if self.blends else generated


class WarpGenerator(TwoStreamGenerator):
    """The 2s-ATN's encoders and AT-blocks, the warp, and its decoder.

    With 5 blocks and otherwise the paper's settings it has 24,713,494 parameters, the 2s-ATN 43,281,292.

    Args:
        at_module, target_fusion, source_fusion, num_blocks, width, num_joints, dropout, init, stream_conv: as for the
            2s-ATN.
        warp: builds the warp from the channels and the number of joints.
        warp_decoder: builds the decoder from the width.

    """

    def __init__(
        self,
        at_module: ModuleOfChannels,
        target_fusion: ModuleOfChannels,
        source_fusion: ModuleOfChannels,
        num_blocks: int,
        width: int,
        num_joints: int,
        dropout: float,
        init: Init = normal_weights,
        stream_conv: Callable[[int, float], nn.Module] = StreamConv,
        warp: Callable[[int, int], Warp] = Warp,
        warp_decoder: Callable[[int], WarpDecoder] = WarpDecoder,
    ) -> None:
        super().__init__(
            at_module, target_fusion, source_fusion, num_blocks, width, num_joints, dropout, init, stream_conv
        )
        self.warp = warp(4 * width, num_joints)
        self.decoder = warp_decoder(width)
        init(self.warp, width)
        init(self.decoder, width)

    def forward(
        self,
        source_image: Float[Tensor, "b 3 h w"],
        source_heatmaps: Float[Tensor, "b joints h w"],
        target_heatmaps: Float[Tensor, "b joints h w"],
    ) -> Float[Tensor, "b 3 h w"]:
        """Generate as the 2s-ATN does."""
        return self.generate(source_image[:, None], source_heatmaps[:, None], target_heatmaps)

    def generate(
        self,
        source_images: Float[Tensor, "b n 3 h w"],
        source_heatmaps: Float[Tensor, "b n joints h w"],
        target_heatmaps: Float[Tensor, "b joints h w"],
    ) -> Float[Tensor, "b 3 h w"]:
        """Generate images of people with one or several sources each.

        The streams run for each source; the mean of their target features is decoded, and the correspondence runs over
        the positions of all sources.
        """
        num_sources = source_images.shape[1]
        source, targets = self.streams(
            source_images.flatten(0, 1),
            source_heatmaps.flatten(0, 1),
            target_heatmaps.repeat_interleave(num_sources, dim=0),
        )
        target = targets.unflatten(0, (-1, num_sources)).mean(dim=1)
        keys = self.warp.keys(source, source_heatmaps.flatten(0, 1))
        keys = keys.unflatten(0, (-1, num_sources)).transpose(1, 2).flatten(2)
        warped = self.warp(self.warp.queries(target, target_heatmaps), keys, source_images)
        return self.decoder(target, warped)
