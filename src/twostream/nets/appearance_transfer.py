"""The appearance transfer module (AT-module, Fig. 3) and its absence."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from twostream.nets.attention import attend, best_matches, correspondence, logit_range, transfer
from twostream.nets.blocks import check_at_least, flatten_positions


class AppearanceTransfer(nn.Module):
    """Carry appearance from the source to the target stream by their dense correspondence (Eq. 1 to 6).

    Keys and queries have `channels / 8`, values `channels / 2` channels. sigma starts at 0, as in SAGAN.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        check_at_least(8, channels=channels)
        self.to_keys = nn.Conv2d(channels, channels // 8, 1)
        self.to_queries = nn.Conv2d(channels, channels // 8, 1)
        self.to_values = nn.Conv2d(channels, channels // 2, 1)
        self.to_appearance = nn.Conv2d(channels // 2, channels, 1)
        self.sigma = nn.Parameter(torch.zeros(()))

    def correspondence(
        self, source: Float[Tensor, "b c h w"], target: Float[Tensor, "b c h w"]
    ) -> Float[Tensor, "b hw hw"]:
        """Return D of Eq. 4: rows are target positions, columns source positions, both row by row of the map."""
        return correspondence(flatten_positions(self.to_queries(target)), flatten_positions(self.to_keys(source)))

    def matches(self, source: Float[Tensor, "b c h w"], target: Float[Tensor, "b c h w"]) -> Int[Tensor, "b hw"]:
        """Return for each target position the source position that D (Eq. 4) gives the most, without building D."""
        return best_matches(flatten_positions(self.to_queries(target)), flatten_positions(self.to_keys(source)))

    def logit_range(self, source: Float[Tensor, "b c h w"], target: Float[Tensor, "b c h w"]) -> Float[Tensor, "2"]:
        """Return the smallest and the greatest logit of Eq. 4, Q^T K in float32, without building D."""
        return logit_range(flatten_positions(self.to_queries(target)), flatten_positions(self.to_keys(source)))

    def forward(self, source: Float[Tensor, "b c h w"], target: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return A' = sigma A + T of Eq. 6 from S (`source`) and T (`target`)."""
        transferred = self.transferred(source, target).unflatten(2, target.shape[2:])
        # Attention lays its result out with the channels last; a gradient of the weights would be laid out like it.
        appearance = self.to_appearance(transferred.contiguous() if target.is_contiguous() else transferred)
        return target + self.sigma * appearance

    def transferred(
        self, source: Float[Tensor, "b c h w"], target: Float[Tensor, "b c h w"]
    ) -> Float[Tensor, "b v hw"]:
        """Return V D^T of Eq. 5, without building D as a whole."""
        # Eq. 1 to 3: K = W_k S, V = W_v S, Q = W_q T
        parts = self.to_queries(target), self.to_keys(source), self.to_values(source)
        return attend(*(flatten_positions(part) for part in parts))


class DenseAppearanceTransfer(AppearanceTransfer):
    """The AT-module with Eq. 4 and 5 written out: D is built, and kept for the gradient."""

    def transferred(
        self, source: Float[Tensor, "b c h w"], target: Float[Tensor, "b c h w"]
    ) -> Float[Tensor, "b v hw"]:
        """Return V D^T of Eq. 5."""
        return transfer(flatten_positions(self.to_values(source)), self.correspondence(source, target))


class NoAppearanceTransfer(nn.Module):
    """The ablation "w/o AT-module" (Table 3): A' = T. It has no parameters and no correspondence."""

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, source: Float[Tensor, "b c h w"], target: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return T (`target`)."""
        return target
