"""Adversarial criteria and the pool of past fakes (Sec. 3.3; both kinds are PATN's, Zhu et al. 2019)."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class LeastSquares(nn.Module):
    """Mean squared distance of the scores to 1 (real) or 0 (fake), as PATN trains DeepFashion (Mao et al. 2017)."""

    threshold = 0.5
    """Scores over it say real."""

    def forward(self, scores: Float[Tensor, "*shape"], real: bool) -> Float[Tensor, ""]:
        """Return the loss of scores that should say `real` or not."""
        return F.mse_loss(scores, torch.full_like(scores, float(real)))


class CrossEntropy(nn.Module):
    """Binary cross-entropy on the sigmoid of the scores, as PATN trains Market-1501 (Goodfellow et al. 2014)."""

    threshold = 0.0
    """Scores over it say real."""

    def forward(self, scores: Float[Tensor, "*shape"], real: bool) -> Float[Tensor, ""]:
        """Return the loss of scores that should say `real` or not."""
        return F.binary_cross_entropy_with_logits(scores, torch.full_like(scores, float(real)))


class FakePool(nn.Module):
    """Past fakes with their conditions, so that a discriminator does not forget them (Shrivastava et al. 2017).

    Until `size` samples are in it, every new one is kept and returned. Then each is, with probability 1/2, exchanged
    for a random kept one. A pool of size 0 returns what it is given.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        if size < 0:
            raise ValueError(f"pool size: expected at least 0, got {size}")
        self.size = size
        self.kept: list[tuple[Tensor, ...]] = []

    @torch.no_grad()
    def exchange(self, *batch: Float[Tensor, "b ..."]) -> tuple[Float[Tensor, "b ..."], ...]:
        """Return a batch of the same form, in which past samples stand in for some of the given ones."""
        if self.size == 0:
            return batch
        samples = [self._exchange_one(sample) for sample in zip(*batch, strict=True)]
        return tuple(torch.stack(tensors) for tensors in zip(*samples, strict=True))

    def _exchange_one(self, sample: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        if len(self.kept) < self.size:
            self.kept.append(tuple(tensor.clone() for tensor in sample))
            return sample
        if torch.rand(()) < 0.5:
            return sample
        index = int(torch.randint(self.size, ()))
        past, self.kept[index] = self.kept[index], tuple(tensor.clone() for tensor in sample)
        return past
