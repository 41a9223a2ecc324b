import pytest
import torch

from twostream.losses.fake_pool import FakePool


def test_a_pool_of_size_0_returns_its_input():
    batch = (torch.rand(3, 2), torch.rand(3, 4))
    assert FakePool(0).exchange(*batch) is batch or FakePool(0).exchange(*batch) == batch


def test_past_images_come_back_with_their_conditions():
    torch.manual_seed(0)
    pool = FakePool(4)
    returned = set()
    for step in range(20):
        first = torch.full((2, 1), float(step)) + torch.tensor([[0.0], [0.5]])
        images, conditions = pool.exchange(first, first * 10)
        torch.testing.assert_close(conditions, images * 10)
        returned |= {image.item() for image in images if int(image.item()) != step}
        assert len(pool.samples) == min(4, 2 * (step + 1))
    assert len(returned) > 5


def test_a_negative_size_is_refused():
    with pytest.raises(ValueError, match="at least 0, got -1"):
        FakePool(-1)
