"""The appearance transfer module (AT-module, Fig. 3) and its ablation."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from twostream.nets.attention import attend, attend_materialized
from twostream.nets.blocks import check_at_least, flatten_positions, unflatten_positions


class AppearanceTransfer(nn.Module):
    """Transfer appearance from the source to the target stream by their dense correspondence (Eq. 1 to 6).

    Keys and queries have `channels / 8` channels, values `channels / 2`.

    Args:
        channels: channels of both streams, at least 8.
        bias: the four convolutions have biases; the equations have none.
        sigma: where the learned scalar of Eq. 6 starts; 0 as in SAGAN.

    """

    attend = staticmethod(attend)

    def __init__(self, channels: int, bias: bool = True, sigma: float = 0.0) -> None:
        super().__init__()
        check_at_least(8, channels=channels)
        self.to_keys = nn.Conv2d(channels, channels // 8, 1, bias=bias)
        self.to_queries = nn.Conv2d(channels, channels // 8, 1, bias=bias)
        self.to_values = nn.Conv2d(channels, channels // 2, 1, bias=bias)
        self.to_appearance = nn.Conv2d(channels // 2, channels, 1, bias=bias)
        self.sigma = nn.Parameter(torch.tensor(float(sigma)))

    def forward(self, source: Float[Tensor, "b c h w"], target: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return A' = sigma W_o V D^T + T (Eq. 6) from S (`source`) and T (`target`)."""
        queries, keys, values = self.queries(target), self.keys(source), flatten_positions(self.to_values(source))
        transferred = self.attend(queries, keys, values)  # Eq. 4 and 5: V D^T
        appearance = self.to_appearance(unflatten_positions(transferred, like=target))  # Eq. 5: A = W_o V D^T
        return target + self.sigma * appearance  # Eq. 6

    def queries(self, target: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k positions"]:
        """Return Q of T (Eq. 3)."""
        return flatten_positions(self.to_queries(target))

    def keys(self, source: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k positions"]:
        """Return K of S (Eq. 1)."""
        return flatten_positions(self.to_keys(source))


class DenseAppearanceTransfer(AppearanceTransfer):
    """The AT-module with Eq. 4 and 5 as written: the attention matrix is materialised and stored for the gradient."""

    attend = staticmethod(attend_materialized)


class NoAppearanceTransfer(nn.Module):
    """The ablation "w/o AT-module" (Table 3): A' = T. It has no parameters and no correspondence."""

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, source: Float[Tensor, "b c h w"], target: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return T (`target`)."""
        return target
