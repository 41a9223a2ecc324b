import pytest
import torch
from torch import nn

from twostream.nets.blocks import InstanceNorm, ReflectionPad, StreamConv


@pytest.fixture
def deterministic():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_instance_norm_is_torchs_with_its_gradient(memory_format):
    drawn = torch.randn(2, 5, 6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3 + 1
    ours, theirs = (drawn.to(memory_format=memory_format, copy=True).requires_grad_() for _ in range(2))
    normed, expected = InstanceNorm()(ours), nn.InstanceNorm2d(5)(theirs)
    torch.testing.assert_close(normed, expected)
    assert normed.is_contiguous(memory_format=memory_format)
    weights = torch.rand(expected.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (normed * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


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


def test_convolutions_of_the_streams_can_be_padded_by_reflection():
    features = torch.rand(1, 8, 5, 6)
    conv = StreamConv(8, dropout=0.5, num_layers=1, padding_mode="reflect").eval()
    padded = nn.functional.pad(features, (1, 1, 1, 1), mode="reflect")
    expected = nn.functional.instance_norm(nn.functional.conv2d(padded, conv[0].weight, conv[0].bias))
    torch.testing.assert_close(conv(features), expected)
