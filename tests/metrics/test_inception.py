import math

import numpy as np
import pytest
from scipy.linalg import sqrtm

from twostream.metrics import inception
from twostream.metrics.inception import Moments, frechet_distance, inception_score, moments


@pytest.fixture
def random():
    return np.random.default_rng(0)


def score_by_loops(logits, num_splits):
    """The formula of Salimans et al. 2016 as it is written, a number at a time."""
    scores = []
    for k in range(num_splits):
        rows = logits[k * len(logits) // num_splits : (k + 1) * len(logits) // num_splits].tolist()
        conditional = [[math.exp(x) / sum(math.exp(y) for y in row) for x in row] for row in rows]
        marginal = [sum(column) / len(rows) for column in zip(*conditional, strict=True)]
        divergences = [sum(p * math.log(p / q) for p, q in zip(row, marginal, strict=True)) for row in conditional]
        scores.append(math.exp(sum(divergences) / len(rows)))
    mean = sum(scores) / num_splits
    return mean, math.sqrt(sum((score - mean) ** 2 for score in scores) / num_splits)


def distance_by_sqrtm(first, second):
    """The formula of Heusel et al. 2017 as it is written."""
    means = np.sum((first.mean(axis=0) - second.mean(axis=0)) ** 2)
    covariances = [np.cov(features.T.astype(np.float64)) for features in (first, second)]
    return means + np.trace(covariances[0] + covariances[1] - 2 * sqrtm(covariances[0] @ covariances[1]).real)


@pytest.mark.parametrize(("n", "num_splits"), [(40, 10), (23, 4), (5, 5), (7, 1)])
def test_inception_score_equals_the_formula(random, n, num_splits):
    logits = random.normal(0, 3, (n, 6)).astype(np.float32)
    assert inception_score(logits, num_splits) == pytest.approx(score_by_loops(logits, num_splits), rel=1e-9, abs=1e-9)


def test_inception_score_has_ten_splits_by_default(random):
    logits = random.normal(0, 3, (30, 6))
    assert inception_score(logits) == inception_score(logits, 10) != inception_score(logits, 5)


def test_equal_rows_score_1(random):
    assert inception_score(np.tile(random.normal(size=7), (20, 1))) == pytest.approx((1, 0))


@pytest.mark.parametrize("classes", [2, 5])
def test_sure_rows_spread_over_all_classes_score_their_number(classes):
    sure = np.tile(1e4 * np.eye(classes, dtype=np.float32), (6, 1))
    assert inception_score(sure, 3) == pytest.approx((classes, 0))


def test_inception_score_is_finite_where_probabilities_underflow():
    assert inception_score(np.array([[0.0, -744.4], [0.0, -1e30], [0.0, -1e30]]), 1) == pytest.approx((1, 0))


@pytest.mark.parametrize("num_splits", [0, 4])
def test_refuses_a_number_of_splits_that_the_images_do_not_fill(num_splits):
    with pytest.raises(ValueError, match=f"expected 1 to 3 splits for 3 images, got {num_splits}"):
        inception_score(np.zeros((3, 2)), num_splits)


def test_moments_are_mean_and_unbiased_covariance_in_float64():
    result = moments(np.array([[0, 1], [2, 1], [4, 7]], dtype=np.float32))
    np.testing.assert_array_equal(result.mean, [2, 3])
    np.testing.assert_array_equal(result.covariance, [[4, 6], [6, 12]])
    assert result.n == 3
    assert (result.mean.dtype, result.covariance.dtype) == (np.float64, np.float64)


def test_moments_refuses_a_single_image():
    with pytest.raises(ValueError, match="at least 2 images, got 1"):
        moments(np.zeros((1, 4)))


@pytest.mark.parametrize("n", [200, 12])
def test_frechet_distance_equals_the_formula(random, n):
    first, second = (random.normal(shift, 1, (n, 12)) @ random.normal(size=(12, 12)) for shift in (0, 0.5))
    distance = frechet_distance(moments(first), moments(second))
    assert distance == pytest.approx(distance_by_sqrtm(first, second), rel=1e-5)


def test_frechet_distance_equals_the_formula_on_few_images(random):
    first, second = (random.normal(shift, 1, (9, 40)).astype(np.float32) for shift in (0, 0.5))
    assert np.linalg.matrix_rank(moments(second).covariance) == 8
    distance = frechet_distance(moments(first), moments(second))
    assert distance == pytest.approx(distance_by_sqrtm(first, second), rel=1e-5)


def test_frechet_distance_of_two_normal_distributions_of_one_number():
    first, second = (Moments(np.array([mean]), np.array([[std**2]]), 2) for mean, std in ((1.0, 2.0), (4.0, 7.0)))
    assert frechet_distance(first, second) == pytest.approx((1 - 4) ** 2 + (2 - 7) ** 2)


def test_frechet_distance_takes_features_of_one_number():
    first, second = (moments(np.array(values)) for values in ([[0.0], [2.0]], [[1.0], [5.0]]))
    assert frechet_distance(first, second) == pytest.approx((1 - 3) ** 2 + (math.sqrt(2) - math.sqrt(8)) ** 2)


@pytest.mark.parametrize("n", [100, 10])
def test_frechet_distance_is_symmetric_and_0_between_equals(random, n):
    first, second = (moments(random.normal(shift, 1, (n, 30))) for shift in (0, 0.2))
    assert frechet_distance(first, second) == pytest.approx(frechet_distance(second, first), rel=1e-6)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-5)


def test_frechet_distance_is_never_negative(random):
    results = [moments(random.normal(size=(n, 20))) for n in range(5, 45)]
    assert min(frechet_distance(result, result) for result in results) == 0


def test_the_root_is_computed_once(random, monkeypatch):
    calls = []
    eigh = inception.eigh
    monkeypatch.setattr(inception, "eigh", lambda matrix: calls.append(matrix) or eigh(matrix))
    first, second = (moments(random.normal(size=(9, 4))) for _ in range(2))
    assert frechet_distance(first, second) == frechet_distance(first, second)
    assert len(calls) == 1
    np.testing.assert_allclose(second.root @ second.root, second.covariance, atol=1e-12)


def test_frechet_distance_refuses_features_of_different_length():
    with pytest.raises(ValueError, match="features of one length, got 3 and 2"):
        frechet_distance(moments(np.eye(3)), moments(np.eye(2)))
