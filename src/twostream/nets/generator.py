"""The generator of the 2s-ATN (Fig. 2)."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from twostream.nets.blocks import Decoder, Encoder, Init, StreamConv, check_at_least, check_divisible, normal_weights
from twostream.nets.fusion import NoFusion

ModuleOfChannels = Callable[[int], nn.Module]
"""Builds a module for feature maps with a given number of channels."""


class ATBlock(nn.Module):
    """Appearance transfer block (Sec. 3.2): an AT-module and a fusion module for each stream."""

    def __init__(
        self,
        at_module: nn.Module,
        target_fusion: nn.Module,
        source_fusion: nn.Module,
        source_conv: nn.Module,
        target_conv: nn.Module,
    ) -> None:
        super().__init__()
        self.source_conv = source_conv
        self.target_conv = target_conv
        self.at_module = at_module
        self.target_fusion = target_fusion
        self.source_fusion = source_fusion

    def forward(
        self, source: Float[Tensor, "b c h w"], target: Float[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b c h w"]]:
        """Return F_s' and F_t' from F_s (`source`) and F_t (`target`)."""
        source_features = self.source_conv(source)  # S
        target_features = self.target_conv(target)  # T
        transferred = self.at_module(source_features, target_features)  # A', Eq. 1 to 6
        new_target = target + self.target_fusion(transferred, source_features)
        new_source = self.source_fusion(source_features, new_target)
        return new_source, new_target


class TwoStreamGenerator(nn.Module):
    """2s-ATN: encoders of both streams, a cascade of AT-blocks, a decoder of the target stream (Sec. 3.1).

    With the paper's settings (9 blocks, width 64, both fusions `cat`) it has 43,281,292 parameters (Table 2: 43.28 M).

    Args:
        at_module: builds the AT-module of each block.
        target_fusion: builds the fusion module of the target stream of each block.
        source_fusion: builds the fusion module of the source stream of each block but the last, which has none: the
            2s-ATN would not use its output.
        num_blocks: number of AT-blocks, at least 1.
        width: channels at full resolution, at least 2; the AT-blocks have four times as many.
        num_joints: heatmap channels of a pose.
        dropout: rate in the AT-blocks, the only dropout of the paper.
        init: sets the initial weights.
        stream_conv: builds the convolutions for S, and those for T, of each block from the channels and the dropout.

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
    ) -> None:
        super().__init__()
        check_at_least(1, num_blocks=num_blocks, num_joints=num_joints)
        check_at_least(2, width=width)
        channels = 4 * width
        self.source_encoder = Encoder(3 + num_joints, width)
        self.target_encoder = Encoder(num_joints, width)
        self.blocks = nn.ModuleList(
            ATBlock(
                at_module(channels),
                target_fusion(channels),
                NoFusion() if index == num_blocks - 1 else source_fusion(channels),
                source_conv=stream_conv(channels, dropout),
                target_conv=stream_conv(channels, dropout),
            )
            for index in range(num_blocks)
        )
        self.decoder: nn.Module = Decoder(width)
        init(self, width)

    def forward(
        self,
        source_image: Float[Tensor, "b 3 h w"],
        source_heatmaps: Float[Tensor, "b joints h w"],
        target_heatmaps: Float[Tensor, "b joints h w"],
    ) -> Float[Tensor, "b 3 h w"]:
        """Generate the person of `source_image` in the pose of `target_heatmaps`; images are in [-1, 1].

        Raises ValueError if height or width is not a multiple of 4.
        """
        return self.decoder(self.streams(source_image, source_heatmaps, target_heatmaps)[1])

    def streams(
        self,
        source_image: Float[Tensor, "b 3 h w"],
        source_heatmaps: Float[Tensor, "b joints h w"],
        target_heatmaps: Float[Tensor, "b joints h w"],
    ) -> tuple[Float[Tensor, "b c h4 w4"], Float[Tensor, "b c h4 w4"]]:
        """Return S and F_t' of the last AT-block, of a quarter of the height and width."""
        check_divisible(source_image)
        source = self.source_encoder(torch.cat([source_image, source_heatmaps], dim=1))  # F_s
        target = self.target_encoder(target_heatmaps)  # F_t
        for block in self.blocks:
            source, target = block(source, target)
        return source, target
