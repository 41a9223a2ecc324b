"""The generator of the 2s-ATN (Fig. 2)."""

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from twostream.nets.appearance_transfer import AppearanceTransfer
from twostream.nets.blocks import Decoder, DoubleConv, Encoder, check_at_least, check_divisible, init_weights
from twostream.nets.fusion import NoFusion

ModuleOfChannels = Callable[[int], nn.Module]
"""Builds a module for feature maps of so many channels."""


class ATBlock(nn.Module):
    """Appearance transfer block (Sec. 3.2): an AT-module and the fusion modules of the two streams."""

    def __init__(
        self, channels: int, at_module: nn.Module, target_fusion: nn.Module, source_fusion: nn.Module, dropout: float
    ) -> None:
        super().__init__()
        self.source_conv = DoubleConv(channels, dropout)
        self.target_conv = DoubleConv(channels, dropout)
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

    def at_inputs(
        self, source: Float[Tensor, "b c h w"], target: Float[Tensor, "b c h w"]
    ) -> tuple[AppearanceTransfer, Float[Tensor, "b c h w"], Float[Tensor, "b c h w"]]:
        """Return the AT-module with its S and T for F_s and F_t. Raises TypeError where there is no AT-module."""
        if not isinstance(self.at_module, AppearanceTransfer):
            raise TypeError(f"expected an AT-module, got {type(self.at_module).__name__}, which has no correspondence")
        return self.at_module, self.source_conv(source), self.target_conv(target)


class TwoStreamGenerator(nn.Module):
    """2s-ATN: encoders of both streams, a cascade of AT-blocks, a decoder of the target stream (Sec. 3.1).

    With the defaults of the paper (9 blocks, width 64, both fusions `cat`) it has 43,281,292 parameters (Table 2).

    Args:
        at_module: builds each block's AT-module.
        target_fusion: builds each block's fusion in the target stream.
        source_fusion: builds each block's fusion in the source stream; the last block has none.
        num_blocks: number of AT-blocks, at least 1.
        width: channels at full size, at least 2; the AT-blocks work on four times as many.
        num_joints: heatmap channels of a pose.
        dropout: rate in the AT-blocks, the only place where the paper has dropout.

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
    ) -> None:
        super().__init__()
        check_at_least(1, num_blocks=num_blocks, num_joints=num_joints)
        check_at_least(2, width=width)
        channels = 4 * width
        self.source_encoder = Encoder(3 + num_joints, width)
        self.target_encoder = Encoder(num_joints, width)
        self.blocks = nn.ModuleList(
            ATBlock(
                channels,
                at_module(channels),
                target_fusion(channels),
                NoFusion() if index == num_blocks - 1 else source_fusion(channels),
                dropout,
            )
            for index in range(num_blocks)
        )
        self.decoder = Decoder(width)
        init_weights(self, width)

    @property
    def has_at_modules(self) -> bool:
        """Whether there is a correspondence between the streams."""
        return all(isinstance(block.at_module, AppearanceTransfer) for block in self.blocks)

    def encode(
        self,
        source_image: Float[Tensor, "b 3 h w"],
        source_heatmaps: Float[Tensor, "b joints h w"],
        target_heatmaps: Float[Tensor, "b joints h w"],
    ) -> tuple[Float[Tensor, "b c h4 w4"], Float[Tensor, "b c h4 w4"]]:
        """Return the first F_s and F_t. Raises ValueError where height or width is not a multiple of 4."""
        check_divisible(source_image)
        source = self.source_encoder(torch.cat([source_image, source_heatmaps], dim=1))
        return source, self.target_encoder(target_heatmaps)

    def forward(
        self,
        source_image: Float[Tensor, "b 3 h w"],
        source_heatmaps: Float[Tensor, "b joints h w"],
        target_heatmaps: Float[Tensor, "b joints h w"],
    ) -> Float[Tensor, "b 3 h w"]:
        """Generate the person of `source_image` in the pose of `target_heatmaps`; images in [-1, 1]."""
        source, target = self.encode(source_image, source_heatmaps, target_heatmaps)
        for block in self.blocks:
            source, target = block(source, target)
        return self.decoder(target)

    @torch.no_grad()
    def correspondences(
        self,
        source_image: Float[Tensor, "b 3 h w"],
        source_heatmaps: Float[Tensor, "b joints h w"],
        target_heatmaps: Float[Tensor, "b joints h w"],
    ) -> list[Float[Tensor, "b hw hw"]]:
        """Return each block's D (Eq. 4), rows target and columns source positions of the h/4 x w/4 map.

        Raises TypeError for a generator without AT-modules.
        """
        inputs = self._at_inputs(source_image, source_heatmaps, target_heatmaps)
        return [at_module.correspondence(source, target) for at_module, source, target in inputs]

    @torch.no_grad()
    def matches(
        self,
        source_image: Float[Tensor, "b 3 h w"],
        source_heatmaps: Float[Tensor, "b joints h w"],
        target_heatmaps: Float[Tensor, "b joints h w"],
    ) -> list[Int[Tensor, "b hw"]]:
        """Return for each block and target position the source position that D gives the most; D is never built.

        Positions count the h/4 x w/4 map row by row. Raises TypeError for a generator without AT-modules.
        """
        inputs = self._at_inputs(source_image, source_heatmaps, target_heatmaps)
        return [at_module.matches(source, target) for at_module, source, target in inputs]

    @torch.no_grad()
    def logit_ranges(
        self,
        source_image: Float[Tensor, "b 3 h w"],
        source_heatmaps: Float[Tensor, "b joints h w"],
        target_heatmaps: Float[Tensor, "b joints h w"],
    ) -> list[Float[Tensor, "2"]]:
        """Return each block's smallest and greatest logit of Eq. 4, Q^T K in float32; D is never built.

        Raises TypeError for a generator without AT-modules.
        """
        inputs = self._at_inputs(source_image, source_heatmaps, target_heatmaps)
        return [at_module.logit_range(source, target) for at_module, source, target in inputs]

    def _at_inputs(
        self, source_image: Tensor, source_heatmaps: Tensor, target_heatmaps: Tensor
    ) -> Iterator[tuple[AppearanceTransfer, Tensor, Tensor]]:
        source, target = self.encode(source_image, source_heatmaps, target_heatmaps)
        for block in self.blocks:
            assert isinstance(block, ATBlock)
            yield block.at_inputs(source, target)
            source, target = block(source, target)
