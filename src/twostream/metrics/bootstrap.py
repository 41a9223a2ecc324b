"""From numbers of single pictures to the number of a run, and how far it would move with other test identities."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int
from scipy import stats

from twostream.metrics.inception import Moments, frechet_distance, inception_score, moments

Columns = Mapping[str, np.ndarray]
"""What was measured on each picture: one row a picture in every array."""

Rows = Int[np.ndarray, " k"]
"""Which pictures are taken; in a resample some come more than once."""

SEED = 0
"""Of the resamples: all runs on the same test identities draw the same ones."""


@runtime_checkable
class Statistic(Protocol):
    """Makes one number of what was measured on a set of pictures."""

    @property
    def num_resamples(self) -> int:
        """How many resamples its interval takes."""
        ...

    def __call__(self, columns: Columns, rows: Rows) -> float:
        """Return the number of the pictures in `rows`; NaN or ValueError where they have none."""
        ...


@dataclass(frozen=True)
class Mean:
    """The mean of a column."""

    column: str
    num_resamples = 1000

    def __call__(self, columns: Columns, rows: Rows) -> float:
        """Return the mean."""
        return float(columns[self.column][rows].mean())


@dataclass(frozen=True)
class Share:
    """The sum of one column over the sum of another: the PCKh of counts, a share of right matches."""

    right: str
    total: str
    num_resamples = 1000

    def __call__(self, columns: Columns, rows: Rows) -> float:
        """Return the share. Raises ValueError where there is nothing to count."""
        total = columns[self.total][rows].sum()
        if not total:
            raise ValueError(f"expected something to count, {self.total} is 0 in each of {len(rows)} pictures")
        return float(columns[self.right][rows].sum() / total)


@dataclass(frozen=True)
class InceptionScore:
    """The Inception Score of a column of logits, the pictures in their order."""

    column: str
    num_splits = 10
    num_resamples = 200

    def __call__(self, columns: Columns, rows: Rows) -> float:
        """Return the mean over the splits."""
        return inception_score(columns[self.column][rows], self.num_splits)[0]

    def splits_std(self, columns: Columns) -> float:
        """Return the standard deviation over the splits of all pictures."""
        return inception_score(columns[self.column], self.num_splits)[1]


@dataclass(frozen=True)
class FrechetDistance:
    """The Frechet distance of a column of features to those of a reference set."""

    column: str
    reference: Moments
    num_resamples = 100

    def __call__(self, columns: Columns, rows: Rows) -> float:
        """Return the distance."""
        return frechet_distance(moments(columns[self.column][rows]), self.reference)


class Resampled(NamedTuple):
    """How a number moves with the test identities."""

    interval: tuple[float, float]
    """Of 95 %."""
    replicates: list[float]
    """The number on each resample."""


def resample(statistic: Statistic, columns: Columns, identities: Sequence[str], value: float) -> Resampled | None:
    """Bootstrap a number over identities, so that the pictures of one identity move together.

    The interval is the value +- t times the bootstrap's standard error, with a degree of freedom less than there are
    identities. Quantiles would not do: Inception Score and Frechet distance depend on how many different pictures there
    are, and a resample has fewer, so their resamples lie to one side of the value.

    Args:
        statistic: makes the number.
        columns: one row a picture.
        identities: of the pictures.
        value: the number on all pictures.

    Returns None where there is one identity only, or a resample for which the number is not defined.
    """
    names, which = np.unique(np.asarray(identities), return_inverse=True)
    if len(names) < 2:
        return None
    members = [np.flatnonzero(which == i) for i in range(len(names))]

    def on_resample(drawn: np.ndarray) -> float:
        """Return the number on the pictures of the drawn identities. Raises ValueError where it is not finite."""
        # In the pictures' own order, as the splits of an Inception Score follow it.
        number = statistic(columns, np.sort(np.concatenate([members[i] for i in drawn])))
        if not np.isfinite(number):
            raise ValueError(f"expected a number, got {number}")
        return number

    try:
        result = stats.bootstrap(
            (np.arange(len(names)),),
            on_resample,
            n_resamples=statistic.num_resamples,
            vectorized=False,
            method="percentile",
            rng=np.random.default_rng(SEED),
        )
    except ValueError:
        return None
    replicates = result.bootstrap_distribution.tolist()
    half = float(stats.t.ppf(0.975, len(names) - 1) * result.standard_error)
    return Resampled((value - half, value + half), replicates)
