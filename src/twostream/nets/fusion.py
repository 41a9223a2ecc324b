"""Two-stream feature fusion modules (Sec. 3.2, Table 4)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from twostream.nets.blocks import InstanceNorm


class CatFusion(nn.Module):
    """Fusion by concatenation: a 3x3 convolution of both feature maps, normalised if `norm`."""

    def __init__(self, channels: int, norm: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2 * channels, channels, 3, padding=1)
        self.norm = InstanceNorm() if norm else nn.Identity()

    def forward(self, own: Float[Tensor, "b c h w"], other: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Fuse the `own` features of a stream with those of the `other` stream."""
        return self.norm(self.conv(torch.cat([own, other], dim=1)))


class AddFusion(nn.Module):
    """Fusion by summation. It has no parameters."""

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, own: Float[Tensor, "b c h w"], other: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Fuse the `own` features of a stream with those of the `other` stream."""
        return own + other


class NoFusion(nn.Module):
    """No fusion: the source stream of the last block. The 2s-ATN does not use its output, a warp takes S itself."""

    def forward(self, own: Float[Tensor, "b c h w"], other: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return `own`."""
        return own
