from dataclasses import dataclass, field

import numpy as np
import pytest
from scipy import stats

from twostream.metrics.bootstrap import FrechetDistance, InceptionScore, Mean, Share, resample
from twostream.metrics.inception import frechet_distance, inception_score, moments

VALUE = Mean("value")


@pytest.fixture
def random():
    return np.random.default_rng(0)


@pytest.fixture
def identities():
    """Of 96 pictures, 4 of each of 24 people."""
    return [f"{i:04d}" for i in range(24) for _ in range(4)]


@pytest.fixture
def values(random, identities):
    """One number a picture, more alike within an identity than between two."""
    return np.repeat(random.normal(0, 1, 24), 4) + random.normal(0, 0.3, 96)


def resample_mean(values, identities):
    return resample(VALUE, {"value": values}, identities, float(values.mean()))


def half_width(resampled):
    low, high = resampled.interval
    return (high - low) / 2


@dataclass
class Recorder:
    """Remembers which pictures were taken."""

    rows: list = field(default_factory=list)
    num_resamples = 50

    def __call__(self, columns, rows):
        self.rows.append(rows.tolist())
        return 0.0


def test_standard_error_of_a_mean_is_that_of_the_identities_means(values, identities):
    means = values.reshape(24, 4).mean(axis=1)
    # What the bootstrap over equal identities converges to; 1000 resamples know it to 2 %.
    standard_error = means.std(ddof=0) / np.sqrt(24)
    result = resample_mean(values, identities)
    assert np.std(result.replicates, ddof=1) == pytest.approx(standard_error, rel=0.07)
    assert half_width(result) == pytest.approx(stats.t.ppf(0.975, 23) * standard_error, rel=0.07)
    assert np.mean(result.replicates) == pytest.approx(values.mean(), abs=3 * standard_error / np.sqrt(1000))


def test_interval_is_symmetric_about_the_value(values, identities):
    low, high = resample(VALUE, {"value": values}, identities, 0.5).interval
    assert low < 0.5 < high
    assert 0.5 - low == pytest.approx(high - 0.5)


def test_interval_follows_from_the_replicates(values, identities):
    result = resample_mean(values, identities)
    expected = stats.t.ppf(0.975, 23) * np.std(result.replicates, ddof=1)
    assert half_width(result) == pytest.approx(expected, rel=1e-12)


def test_more_pictures_of_the_same_people_do_not_narrow_the_interval(values, identities):
    by_identity = resample_mean(values, identities)
    doubled = resample_mean(np.repeat(values, 2), list(np.repeat(identities, 2)))
    assert doubled.interval == pytest.approx(by_identity.interval, rel=1e-9)
    assert doubled.replicates == pytest.approx(by_identity.replicates, rel=1e-9)
    # Taken for pictures of as many people, each would halve the variance.
    single = resample_mean(values, [str(i) for i in range(96)])
    doubled = resample_mean(np.repeat(values, 2), [str(i) for i in range(192)])
    assert half_width(doubled) == pytest.approx(half_width(single) / np.sqrt(2), rel=0.07)
    assert half_width(single) < 0.7 * half_width(by_identity)


def test_two_runs_on_the_same_people_draw_the_same_ones(random, identities):
    # Whole numbers over 96 pictures: the means' difference is exact but for the division.
    first = random.integers(0, 100, 96).astype(float)
    one, other = (resample_mean(values, identities) for values in (first, first + 3))
    np.testing.assert_allclose(np.subtract(other.replicates, one.replicates), 3, rtol=0, atol=1e-12)
    assert np.std(one.replicates) > 1


def test_draws_depend_on_the_names_and_not_on_the_order_of_the_pictures(random, values, identities):
    order = random.permutation(96)
    shuffled = resample_mean(values[order], [identities[i] for i in order])
    np.testing.assert_allclose(shuffled.replicates, resample_mean(values, identities).replicates, atol=1e-12)


def test_a_resample_holds_whole_identities_in_the_pictures_order(identities):
    recorder = Recorder()
    mixed = identities[::4] + identities[1::4] + identities[2::4] + identities[3::4]
    resample(recorder, {}, mixed, 0.0)
    resampled = [rows for rows in recorder.rows if rows != list(range(96))]
    assert len(resampled) == 50
    for rows in resampled:
        assert rows == sorted(rows)
        assert len(rows) == 96
        times = np.bincount(rows, minlength=96).reshape(4, 24)
        assert (times == times[0]).all()
        assert times.max() > 1


def test_one_identity_has_no_interval(values):
    assert resample_mean(values, ["0001"] * 96) is None


def test_a_statistic_that_is_undefined_on_a_resample_has_no_interval():
    columns = {"right": np.array([1.0, 2.0, 0.0]), "total": np.array([2.0, 2.0, 0.0])}
    share = Share("right", "total")
    assert share(columns, np.arange(3)) == 0.75
    # Two people, one of them without anything to count, who is drawn twice in a quarter of the resamples.
    assert resample(share, columns, ["a", "a", "b"], 0.75) is None
    assert resample(share, columns, ["a", "b", "b"], 0.75) is not None


def test_a_number_that_is_none_has_no_interval(values, identities):
    values[7] = np.nan
    assert resample_mean(values, identities) is None


def test_mean_of_some_pictures():
    assert VALUE({"value": np.array([1.0, 5.0, 100.0]), "other": np.zeros(3)}, np.array([0, 1, 1, 1])) == 4


def test_share_is_a_ratio_of_sums():
    columns = {"right": np.array([1, 9, 5]), "total": np.array([2, 10, 5])}
    assert Share("right", "total")(columns, np.array([0, 1, 1])) == 19 / 22


def test_share_refuses_nothing_to_count():
    columns = {"right": np.zeros(3), "total": np.array([0, 0, 4])}
    with pytest.raises(ValueError, match="expected something to count, total is 0 in each of 2 pictures"):
        Share("right", "total")(columns, np.array([0, 1]))


def test_inception_score_follows_the_order_of_the_rows(random):
    logits = random.normal(0, 3, (40, 5))
    statistic, rows = InceptionScore("logits"), random.permutation(40)
    assert statistic({"logits": logits}, rows) == inception_score(logits[rows], 10)[0]
    assert statistic({"logits": logits}, rows) != statistic({"logits": logits}, np.arange(40))
    assert statistic.splits_std({"logits": logits}) == inception_score(logits, 10)[1]


def test_inception_score_of_fewer_pictures_than_splits_has_no_interval(random):
    columns = {"logits": random.normal(size=(9, 5))}
    assert resample(InceptionScore("logits"), columns, list("aabbccdde"), 1.0) is None


def test_frechet_distance_to_the_reference(random):
    features, true = random.normal(0, 1, (30, 4)), random.normal(0.5, 2, (50, 4))
    reference, rows = moments(true), random.integers(30, size=30)
    distance = FrechetDistance("features", reference)({"features": features}, rows)
    assert distance == frechet_distance(moments(features[rows]), reference)
    assert distance > 0


@pytest.mark.parametrize(("make", "count"), [("frechet", 100), ("inception", 200), ("mean", 1000), ("share", 1000)])
def test_numbers_of_sets_have_an_interval(random, identities, make, count):
    columns = {"x": random.normal(size=(96, 3)), "value": random.random(96), "one": np.ones(96)}
    statistic = {
        "frechet": FrechetDistance("x", moments(random.normal(size=(40, 3)))),
        "inception": InceptionScore("x"),
        "mean": VALUE,
        "share": Share("value", "one"),
    }[make]
    value = statistic(columns, np.arange(96))
    result = resample(statistic, columns, identities, value)
    assert len(result.replicates) == statistic.num_resamples == count
    assert result.interval[0] < value < result.interval[1]
    assert np.std(result.replicates) > 0
