import pytest
import torch
from torch import nn

from twostream.nets.blocks import ReflectionPad


@pytest.fixture
def deterministic():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("size", [1, 3])
def test_deterministic_reflection_is_torchs_with_its_gradient(deterministic, size):
    ours = torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(0), requires_grad=True)
    theirs = ours.detach().clone().requires_grad_()
    padded, expected = ReflectionPad(size)(ours), nn.ReflectionPad2d(size)(theirs)
    assert torch.equal(padded, expected)
    weights = torch.rand(expected.shape, generator=torch.Generator().manual_seed(1))
    (padded * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
    assert not isinstance(padded.grad_fn, type(expected.grad_fn))
