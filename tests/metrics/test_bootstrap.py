import numpy as np
import pytest
from scipy import stats

from stand_ins import Corner, FewFeatures
from twostream.metrics.bootstrap import resample
from twostream.metrics.inception import FeatureColumns, FrechetDistance, InceptionScore, moments
from twostream.metrics.metric import Metric
from twostream.metrics.pckh import PCKh
from twostream.metrics.protocols import PATN, STANDARD

SHARED = FeatureColumns(FewFeatures(), STANDARD, (40, 32))


class MeanOf(Metric):
    """The mean of a column."""

    def __init__(self):
        super().__init__("mean", "standard", {}, ["value"])

    def update(self, images):
        raise NotImplementedError


@pytest.fixture
def random():
    return np.random.default_rng(0)


@pytest.fixture
def identities():
    """Of 96 images, 4 of each of 24 people."""
    return [f"{i:04d}" for i in range(24) for _ in range(4)]


@pytest.fixture
def values(random, identities):
    """One number per image, more similar within an identity than between two."""
    return np.repeat(random.normal(0, 1, 24), 4) + random.normal(0, 0.3, 96)


def resample_mean(values, identities):
    return resample(MeanOf(), {"value": values}, identities, float(values.mean()))


def test_replicates_are_means_over_the_drawn_identities(agree, values, identities):
    """The draws are made again; each resample is collected an image at a time."""
    random, names = np.random.default_rng(0), sorted(set(identities))
    expected = []
    for _ in range(1000):
        drawn = [names[i] for i in random.integers(0, len(names), len(names))]
        images = [value for name in drawn for value, own in zip(values, identities, strict=True) if own == name]
        expected.append(sum(images) / len(images))
    error = np.sqrt(sum((replicate - sum(expected) / 1000) ** 2 for replicate in expected) / 999)
    result = resample_mean(values, identities)
    what, against = "bootstrap over identities", "resamples drawn and collected by loops"
    agree("Statistics", f"{what}: replicates", against, result.replicates, expected, 1e-12)
    ends = [values.mean() - stats.t.ppf(0.975, 23) * error, values.mean() + stats.t.ppf(0.975, 23) * error]
    agree("Statistics", f"{what}: interval", against, result.interval, ends, 1e-12)


def test_more_images_of_the_same_people_do_not_narrow_the_interval(values, identities):
    by_identity = resample_mean(values, identities)
    doubled = resample_mean(np.repeat(values, 2), list(np.repeat(identities, 2)))
    assert doubled.interval == pytest.approx(by_identity.interval, rel=1e-9)
    assert doubled.replicates == pytest.approx(by_identity.replicates, rel=1e-9)


def test_draws_depend_on_the_names_and_not_on_the_order_of_the_images(random, values, identities):
    order = random.permutation(96)
    shuffled = resample_mean(values[order], [identities[i] for i in order])
    np.testing.assert_allclose(shuffled.replicates, resample_mean(values, identities).replicates, atol=1e-12)


def test_a_resample_contains_all_images_of_its_identities_in_their_order(identities):
    resampled = []

    class Recorder(MeanOf):
        num_resamples = 50

        def compute(self, columns, rows):
            if rows.tolist() != list(range(96)):
                resampled.append(rows.tolist())
            return 0.0

    mixed = identities[::4] + identities[1::4] + identities[2::4] + identities[3::4]
    resample(Recorder(), {}, mixed, 0.0)
    assert len(resampled) == 50
    for rows in resampled:
        assert rows == sorted(rows)
        assert len(rows) == 96
        times = np.bincount(rows, minlength=96).reshape(4, 24)
        assert (times == times[0]).all()
        assert times.max() > 1


def test_without_two_identities_or_a_finite_number_there_is_no_interval(values, identities):
    assert resample_mean(values, ["0001"] * 96) is None
    values[7] = np.nan
    assert resample_mean(values, identities) is None


def test_a_metric_that_is_undefined_on_a_resample_has_no_interval(random):
    columns = {"pckh_right/patn": np.array([1, 2, 0]), "pckh_total/patn": np.array([2, 2, 0])}
    metric = PCKh(PATN, (40, 32), Corner())
    assert metric.compute(columns, np.arange(3)) == 0.75
    # Two people, one of them without joints to count, who is drawn twice in a quarter of the resamples.
    assert resample(metric, columns, ["a", "a", "b"], 0.75) is None
    assert resample(metric, columns, ["a", "b", "b"], 0.75) is not None
    # Fewer images than splits.
    few = {SHARED.logits: random.normal(size=(9, 5))}
    assert resample(InceptionScore(SHARED), few, list("aabbccdde"), 1.0) is None


REFERENCE = moments(np.random.default_rng(1).normal(size=(40, 3)))


@pytest.mark.parametrize(
    ("metric", "num_resamples"),
    [
        (FrechetDistance("fid_test", SHARED, "test", REFERENCE), 100),
        (InceptionScore(SHARED), 200),
        (MeanOf(), 1000),
        (PCKh(PATN, (40, 32), Corner()), 1000),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_every_kind_of_metric_has_an_interval_of_its_number_of_resamples(random, identities, metric, num_resamples):
    columns = {SHARED.features: random.normal(size=(96, 3)), SHARED.logits: random.normal(size=(96, 3))}
    columns |= {"value": random.random(96), "pckh_right/patn": random.integers(9, size=96)}
    columns |= {"pckh_total/patn": np.full(96, 9)}
    value = metric.compute(columns, np.arange(96))
    result = resample(metric, columns, identities, value)
    assert len(result.replicates) == metric.num_resamples == num_resamples
    assert result.interval[0] < value < result.interval[1]
    assert np.std(result.replicates) > 0
