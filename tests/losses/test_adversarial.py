import pytest
import torch

from twostream.losses.adversarial import CrossEntropy, LeastSquares


def test_least_squares_known_values():
    scores = torch.tensor([1.0, 3.0])
    assert LeastSquares()(scores, real=True).item() == pytest.approx((0 + 4) / 2)
    assert LeastSquares()(scores, real=False).item() == pytest.approx((1 + 9) / 2)


def test_cross_entropy_known_values():
    scores = torch.tensor([0.0, 2.0], dtype=torch.float64)
    sigmoid = 1 / (1 + torch.exp(-scores))
    torch.testing.assert_close(CrossEntropy()(scores, real=True), -sigmoid.log().mean())
    torch.testing.assert_close(CrossEntropy()(scores, real=False), -(1 - sigmoid).log().mean())


@pytest.mark.parametrize("criterion", [LeastSquares(), CrossEntropy()])
def test_gradients(criterion):
    scores = torch.randn(5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda values: criterion(values, real=True), scores)
