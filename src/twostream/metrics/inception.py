"""The scores on Inception's outputs: Inception Score (Salimans et al. 2016) and Frechet distance (Heusel et al. 2017).

All of it is computed in float64.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float
from scipy.linalg import eigh, eigvalsh
from scipy.special import log_softmax, logsumexp


@dataclass(frozen=True)
class Moments:
    """Mean and unbiased covariance of the features of `n` images."""

    mean: Float[np.ndarray, "d"]
    covariance: Float[np.ndarray, "d d"]
    n: int

    @cached_property
    def root(self) -> Float[np.ndarray, "d d"]:
        """The covariance's symmetric square root, computed on first use; eigenvalues below 0 are rounding errors."""
        eigenvalues, vectors = eigh(self.covariance)
        return (vectors * np.sqrt(eigenvalues.clip(min=0))) @ vectors.T


def moments(features: Float[np.ndarray, "n d"]) -> Moments:
    """Return the moments of one row of features an image. Raises ValueError for fewer than 2 images."""
    n, d = features.shape
    if n < 2:
        raise ValueError(f"expected the features of at least 2 images, got {n}")
    features = features.astype(np.float64)
    return Moments(features.mean(axis=0), np.cov(features, rowvar=False).reshape(d, d), n)


def frechet_distance(first: Moments, second: Moments) -> float:
    """Return |m1 - m2|^2 + tr(C1) + tr(C2) - 2 tr((C1 C2)^(1/2)), the FID on Inception's features; 0 is equal.

    C1 C2 has the eigenvalues of S C1 S, where S is the root of C2. That one is symmetric, so a covariance without full
    rank is no special case. S is `second.root`: keep the true images second to compute it once.

    Raises ValueError for features of different length.
    """
    if first.mean.shape != second.mean.shape:
        raise ValueError(f"expected features of one length, got {first.mean.size} and {second.mean.size}")
    eigenvalues = eigvalsh(second.root @ first.covariance @ second.root)
    trace_of_root = np.sqrt(eigenvalues.clip(min=0)).sum()
    offset = ((first.mean - second.mean) ** 2).sum()
    distance = offset + np.trace(first.covariance) + np.trace(second.covariance) - 2 * trace_of_root
    return max(0.0, float(distance))


def inception_score(logits: Float[np.ndarray, "n classes"], num_splits: int = 10) -> tuple[float, float]:
    """Return mean and population standard deviation of exp(E[KL(p(y|x) || p(y))]) over consecutive splits of the rows.

    A score lies between 1 and the number of classes. Split k of s holds the rows n k // s to n (k + 1) // s: none is
    left out. The order of the rows is the caller's. Raises ValueError for fewer rows than splits.
    """
    n = len(logits)
    if not 1 <= num_splits <= n:
        raise ValueError(f"expected 1 to {n} splits for {n} images, got {num_splits}")
    log_p = log_softmax(logits.astype(np.float64), axis=1)
    scores = [_score(log_p[n * k // num_splits : n * (k + 1) // num_splits]) for k in range(num_splits)]
    return float(np.mean(scores)), float(np.std(scores))


def _score(log_p: Float[np.ndarray, "n classes"]) -> float:
    log_marginal = logsumexp(log_p, axis=0) - np.log(len(log_p))
    divergences = (np.exp(log_p) * (log_p - log_marginal)).sum(axis=1)
    return float(np.exp(divergences.mean()))
