"""Adversarial criteria (Sec. 3.3; both are PATN's, Zhu et al. 2019)."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class LeastSquares(nn.Module):
    """Mean squared distance of the scores to 1 (real) or 0 (fake), PATN's choice for DeepFashion (Mao et al. 2017)."""

    threshold = 0.5  # scores above it mean real

    def forward(self, scores: Float[Tensor, "*shape"], real: bool) -> Float[Tensor, ""]:
        """Return the loss of scores whose label is `real`."""
        return F.mse_loss(scores, torch.full_like(scores, float(real)))


class CrossEntropy(nn.Module):
    """Binary cross-entropy on the sigmoid of the scores, PATN's choice for Market-1501 (Goodfellow et al. 2014)."""

    threshold = 0.0  # scores above it mean real

    def forward(self, scores: Float[Tensor, "*shape"], real: bool) -> Float[Tensor, ""]:
        """Return the loss of scores whose label is `real`."""
        return F.binary_cross_entropy_with_logits(scores, torch.full_like(scores, float(real)))
