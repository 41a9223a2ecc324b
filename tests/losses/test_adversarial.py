import pytest
import torch

from twostream.losses.adversarial import CrossEntropy, FakePool, LeastSquares


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


def test_pool_of_size_0_returns_what_it_is_given():
    batch = (torch.rand(3, 2), torch.rand(3, 4))
    assert FakePool(0).exchange(*batch) is batch or FakePool(0).exchange(*batch) == batch


def test_pool_keeps_images_with_their_conditions():
    torch.manual_seed(0)
    pool = FakePool(4)
    came_back = set()
    for step in range(20):
        first = torch.full((2, 1), float(step)) + torch.tensor([[0.0], [0.5]])
        images, conditions = pool.exchange(first, first * 10)
        torch.testing.assert_close(conditions, images * 10)
        came_back |= {image.item() for image in images if int(image.item()) != step}
        assert len(pool.kept) == min(4, 2 * (step + 1))
    assert len(came_back) > 5


def test_pool_refuses_a_negative_size():
    with pytest.raises(ValueError, match="at least 0, got -1"):
        FakePool(-1)
