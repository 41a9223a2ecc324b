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


def test_samples_of_another_image_size_are_discarded():
    pool = FakePool(2)
    pool.exchange(torch.zeros(2, 3, 4, 2))
    for _ in range(5):
        (images,) = pool.exchange(torch.ones(2, 3, 8, 4))
        assert images.shape == (2, 3, 8, 4)
    assert [sample[0].shape for sample in pool.samples] == [(3, 8, 4)] * 2


def test_a_negative_size_is_refused():
    with pytest.raises(ValueError, match="at least 0, got -1"):
        FakePool(-1)
