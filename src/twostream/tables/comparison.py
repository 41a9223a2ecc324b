"""Compare a table's rows with one of them, in pairs: difference, 95 % interval and p."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite

import numpy as np
from scipy import stats

from twostream.tables.collect import Results
from twostream.tables.results import Bootstrap, Metric, Run
from twostream.tables.spec import Column, Row


@dataclass(frozen=True)
class Comparison:
    """One row's difference in one column to the row that it is compared with.

    Attributes:
        difference: this row's value minus the other's, the mean over `seeds`.
        low: lower end of its 95 % interval.
        high: upper end.
        p: two-sided, of no difference.
        p_holm: `p` after Holm's correction over the rows of the column.
        seeds: those that both rows have.
        identities: number of the test identities that were resampled; None where the seeds are the sample.

    """

    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    seeds: tuple[int, ...]
    identities: int | None

    @property
    def undecided(self) -> bool:
        """Whether the interval contains 0."""
        return self.low <= 0 <= self.high


@dataclass(frozen=True)
class Comparisons:
    """The comparisons of a table by (variant, column label), and why there is none where both have a value."""

    found: Mapping[tuple[str, str], Comparison]
    refused: Mapping[tuple[str, str], str]


def compare(results: Results) -> Comparisons:
    """Compare every row with the spec's `compare_with` in every column that is shown."""
    found: dict[tuple[str, str], Comparison] = {}
    refused: dict[tuple[str, str], str] = {}
    base = results.spec.base()
    if base is None:
        return Comparisons(found, refused)
    for column in results.shown_columns():
        family: dict[str, Comparison] = {}
        for row in results.spec.others():
            outcome = _compare(results, row, base, column)
            if isinstance(outcome, Comparison):
                family[row.variant] = outcome
            elif outcome:
                refused[row.variant, column.label] = outcome
        corrected = holm([comparison.p for comparison in family.values()])
        for (variant, comparison), p in zip(family.items(), corrected, strict=True):
            found[variant, column.label] = replace(comparison, p_holm=p)
    return Comparisons(found, refused)


def paired_bootstrap(
    difference: float, replicates: Sequence[float], other: Sequence[float], identities: int
) -> tuple[float, float, float]:
    """Test the `difference` of two runs' values on the same test identities, at least two.

    Args:
        difference: of the values on all identities.
        replicates: the first run's values on resampled identities, at least two.
        other: the second run's on the same identities, as many.
        identities: how many there are to draw from; Student's t has one degree of freedom less.

    Returns:
        The low and the high end of the 95 % interval, and the two-sided p.

    """
    error = float(np.std(np.subtract(replicates, other), ddof=1))
    return _student(difference, error, identities - 1)


def paired_t_test(differences: Sequence[float]) -> tuple[float, float, float]:
    """Test the mean of at least two seeds' differences; return the ends of its 95 % interval and the two-sided p.

    The same as `scipy.stats.ttest_1samp`, which warns of differences that are equal.
    """
    error = float(np.std(differences, ddof=1) / np.sqrt(len(differences)))
    return _student(float(np.mean(differences)), error, len(differences) - 1)


def holm(p: Sequence[float]) -> list[float]:
    """Correct the p of one family of tests by Holm's step-down procedure (1979), in their order."""
    order = np.argsort(p, kind="stable")
    steps = np.asarray(p)[order] * np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return [float(value) for value in corrected]


def _student(difference: float, error: float, freedom: int) -> tuple[float, float, float]:
    """Return the ends of the 95 % interval and the two-sided p of a difference with a standard error."""
    margin = error * float(stats.t.ppf(0.975, freedom))
    p = 2 * float(stats.t.sf(abs(difference) / error, freedom)) if error else float(difference == 0)
    return difference - margin, difference + margin, p


def _compare(results: Results, row: Row, base: Row, column: Column) -> Comparison | str | None:
    """Compare one cell; return the reason where it can't be, None where a row has no value at all."""
    values, others = results.values(row, column), results.values(base, column)
    if not values or not others:
        return None
    seeds = tuple(seed for seed in values if seed in others)
    if not seeds:
        return f"{row.variant} and {base.variant} have no seed in common"
    for seed in seeds:
        run, other = results.runs[row.variant, seed], results.runs[base.variant, seed]
        if (run.data_hash, run.pairs_hash) != (other.data_hash, other.pairs_hash):
            return f"{_name(run)} was scored on other test pairs than {_name(other)}"
        if values[seed].details != others[seed].details:
            return f"{_name(run)} was scored with other settings than {_name(other)}"
    differences = [values[seed].value - others[seed].value for seed in seeds]
    if not all(map(isfinite, differences)):
        return f"{row.variant} or {base.variant} has a value that is not finite"
    if len(seeds) > 1:
        low, high, p = paired_t_test(differences)
        return Comparison(float(np.mean(differences)), low, high, p, p, seeds, None)
    return _compare_one_seed(run, other, (column.metric, column.protocol), differences[0])


def _compare_one_seed(run: Run, other: Run, metric: Metric, difference: float) -> Comparison | str:
    """Compare two runs by their bootstraps, or return the reason where they can't be paired."""
    bootstraps: list[Bootstrap] = []
    for one in (run, other):
        if one.bootstrap is None:
            return f"{_name(one)} has no bootstrap.json"
        if one.bootstrap.pairs_hash != one.pairs_hash:
            return f"{_name(one)} has a bootstrap.json of other test pairs"
        if metric not in one.bootstrap.replicates:
            return f"{_name(one)} has no replicates in bootstrap.json"
        bootstraps.append(one.bootstrap)
    ours, theirs = bootstraps
    names = f"{_name(run)} and {_name(other)}"
    if (ours.seed, ours.identities) != (theirs.seed, theirs.identities):
        return f"{names} were resampled with other identities"
    replicates, others = ours.replicates[metric], theirs.replicates[metric]
    if len(replicates) != len(others):
        return f"{names} have {len(replicates)} and {len(others)} replicates"
    if min(len(replicates), ours.identities) < 2:
        return f"{names} have fewer than two replicates or test identities"
    if not all(map(isfinite, (*replicates, *others))):
        return f"{names} have replicates that are not finite"
    low, high, p = paired_bootstrap(difference, replicates, others, ours.identities)
    return Comparison(difference, low, high, p, p, (run.seed,), ours.identities)


def _name(run: Run) -> str:
    return f"{run.variant}/seed{run.seed}"
