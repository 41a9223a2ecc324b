"""Confidence intervals by resampling test identities."""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy import stats

from twostream.metrics.metric import Columns, Metric

SEED = 0  # equal for all runs, so that runs on the same test identities draw the same resamples


class Resampled(NamedTuple):
    """How a value varies with the test identities."""

    interval: tuple[float, float]  # 95 % confidence interval
    replicates: list[float]  # the value on each resample


def resample(metric: Metric, columns: Columns, identities: Sequence[str], value: float) -> Resampled | None:
    """Bootstrap a metric over identities: a resample draws identities and contains all images of each.

    The interval is the value +- t times the bootstrap's standard error, with one degree of freedom less than there are
    identities. Percentiles would be biased: Inception Score and Frechet distance depend on the number of different
    images, of which a resample has fewer, so their replicates are on one side of the value.

    Args:
        metric: computes the value of each resample.
        columns: measurements, one row per image.
        identities: identity of each image.
        value: the value on all images.

    Returns None for a single identity, and if the metric is not defined on one of the resamples.
    """
    names, inverse = np.unique(np.asarray(identities), return_inverse=True)
    if len(names) < 2:
        return None
    images_of = [np.flatnonzero(inverse == i) for i in range(len(names))]

    @cache  # of few identities, few resamples differ
    def compute(drawn: tuple[int, ...]) -> float:
        # In the order of the images, which the splits of an Inception Score depend on.
        replicate = metric.compute(columns, np.sort(np.concatenate([images_of[i] for i in drawn])))
        if not np.isfinite(replicate):
            raise ValueError(f"expected a finite number, got {replicate}")
        return replicate

    try:
        result = stats.bootstrap(
            (np.arange(len(names)),),
            lambda drawn: compute(tuple(np.sort(drawn).tolist())),
            n_resamples=metric.num_resamples,
            vectorized=False,
            method="percentile",
            rng=np.random.default_rng(SEED),
        )
    except ValueError:
        return None
    half_width = float(stats.t.ppf(0.975, len(names) - 1) * result.standard_error)
    return Resampled((value - half_width, value + half_width), result.bootstrap_distribution.tolist())
