"""Compare a table's rows with one of them: paired difference, 95 % interval and p."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from twostream.tables.results import Results, Run
from twostream.tables.spec import Column, Row


@dataclass(frozen=True)
class Comparison:
    """The difference of a row to the row that it is compared with, in one column."""

    difference: float  # this row's value minus the other's, the mean over the seeds
    difference_low: float  # ends of its 95 % interval
    difference_high: float
    p: float  # two-sided
    p_holm: float  # after Holm's correction over the rows of the column
    seeds: tuple[int, ...]  # those that both rows have
    identities: int | None  # number of resampled test identities; None where the seeds are the sample

    @property
    def contains_zero(self) -> bool:
        """Whether the interval contains 0."""
        return self.difference_low <= 0 <= self.difference_high


Comparisons = Mapping[tuple[str, str], Comparison | str]  # by variant and column label; a string says why not


def compare(results: Results) -> Comparisons:
    """Compare every row with the spec's `compare_with` in every column shown, where both have a value."""
    compared: dict[tuple[str, str], Comparison | str] = {}
    base = results.spec.base()
    if base is None:
        return compared
    for column in results.shown_columns():
        tested: dict[str, Comparison] = {}
        for row in results.spec.others():
            outcome = _compare(results, row, base, column)
            if isinstance(outcome, Comparison):
                tested[row.variant] = outcome
            elif outcome:
                compared[row.variant, column.label] = outcome
        corrected = holm([comparison.p for comparison in tested.values()])
        for (variant, comparison), p in zip(tested.items(), corrected, strict=True):
            compared[variant, column.label] = replace(comparison, p_holm=p)
    return compared


def paired_bootstrap(
    difference: float, replicates: ArrayLike, other: ArrayLike, identities: int
) -> tuple[float, float, float]:
    """Test the difference of two runs' values on all test identities by their `replicates` on resampled identities.

    Needs at least two replicates, of the same draws in both runs, and two identities. Returns both ends of the 95 %
    interval and the two-sided p, of Student's t with `identities` - 1 degrees of freedom.
    """
    error = float(np.std(np.subtract(replicates, other), ddof=1))
    return _student(difference, error, identities - 1)


def paired_t_test(differences: Sequence[float]) -> tuple[float, float, float]:
    """Test the mean of at least two seeds' differences; return both ends of its 95 % interval and the two-sided p.

    The same as `scipy.stats.ttest_1samp`, which warns where all differences are equal.
    """
    error = float(np.std(differences, ddof=1) / np.sqrt(len(differences)))
    return _student(float(np.mean(differences)), error, len(differences) - 1)


def holm(p: Sequence[float]) -> list[float]:
    """Correct the p of one family of tests by Holm's step-down procedure (1979); the order is kept."""
    order = np.argsort(p, kind="stable")
    steps = np.asarray(p)[order] * np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return [float(value) for value in corrected]


def _student(difference: float, error: float, freedom: int) -> tuple[float, float, float]:
    margin = error * float(stats.t.ppf(0.975, freedom))
    p = 2 * float(stats.t.sf(abs(difference) / error, freedom)) if error else float(difference == 0)
    return difference - margin, difference + margin, p


def _compare(results: Results, row: Row, base: Row, column: Column) -> Comparison | str | None:
    """Compare one cell; return the reason where that is impossible, None where a row has no value at all."""
    values, others = results.values(row, column), results.values(base, column)
    if not values or not others:
        return None
    seeds = tuple(seed for seed in values if seed in others)
    if not seeds:
        return f"{row.variant} and {base.variant} have no seed in common"
    for seed in seeds:
        run, other = results.runs[row.variant, seed], results.runs[base.variant, seed]
        if (run.data_hash, run.pairs_hash) != (other.data_hash, other.pairs_hash):
            return f"{run.name} was scored on other test pairs than {other.name}"
        if values[seed].details != others[seed].details:
            return f"{run.name} was scored with other settings than {other.name}"
    differences = [values[seed].value - others[seed].value for seed in seeds]
    if len(seeds) == 1:
        return _compare_one_seed(run, other, column, differences[0])
    low, high, p = paired_t_test(differences)
    return Comparison(float(np.mean(differences)), low, high, p, p, seeds, None)


def _compare_one_seed(run: Run, other: Run, column: Column, difference: float) -> Comparison | str:
    """Compare two runs by their bootstraps, or return the reason why they have no pairs."""
    bootstraps = []
    for one in (run, other):
        bootstrap = one.bootstrap
        if bootstrap is None:
            return f"{one.name} has no bootstrap.json"
        if bootstrap.pairs_hash != one.pairs_hash:
            return f"{one.name} has a bootstrap.json of other test pairs"
        if column.key not in bootstrap.replicates:
            return f"{one.name} has no replicates in bootstrap.json"
        bootstraps.append(bootstrap)
    names, draws = f"{run.name} and {other.name}", [(one.seed, one.identities) for one in bootstraps]
    if draws[0] != draws[1]:
        return f"{names} were resampled with other identities"
    replicates, others = (one.replicates[column.key] for one in bootstraps)
    identities = bootstraps[0].identities
    if len(replicates) != len(others):
        return f"{names} have {len(replicates)} and {len(others)} replicates"
    if min(len(replicates), identities) < 2:
        return f"{names} have fewer than two replicates or test identities"
    low, high, p = paired_bootstrap(difference, replicates, others, identities)
    return Comparison(difference, low, high, p, p, (run.seed,), identities)
