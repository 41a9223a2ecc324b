"""Two-stream feature fusion (Sec. 3.2, Table 4): how one stream takes in the other."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class CatFusion(nn.Module):
    """Fusion by concatenation: a 3x3 convolution of both maps."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2 * channels, channels, 3, padding=1)

    def forward(self, own: Float[Tensor, "b c h w"], other: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Fuse a stream's `own` map with the `other` stream's."""
        return self.conv(torch.cat([own, other], dim=1))


class AddFusion(nn.Module):
    """Fusion by summation. It has no parameters."""

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, own: Float[Tensor, "b c h w"], other: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Fuse a stream's `own` map with the `other` stream's."""
        return own + other


class NoFusion(nn.Module):
    """A stream that takes nothing in: the source stream after the last block, whose output feeds nothing."""

    def forward(self, own: Float[Tensor, "b c h w"], other: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return `own`."""
        return own
