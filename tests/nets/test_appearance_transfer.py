import math

import pytest
import torch

from twostream.nets.appearance_transfer import AppearanceTransfer, DenseAppearanceTransfer, NoAppearanceTransfer


def equations_by_loops(module: AppearanceTransfer, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Eq. 1 to 6 for one sample, element by element."""
    channels, height, width = source.shape
    positions = [(y, x) for y in range(height) for x in range(width)]

    def linear(layer: torch.nn.Conv2d, vector: list[float]) -> list[float]:
        biases = [0.0] * layer.out_channels if layer.bias is None else layer.bias.tolist()
        return [
            sum(weight * value for weight, value in zip(row, vector, strict=True)) + bias
            for row, bias in zip(layer.weight[:, :, 0, 0].tolist(), biases, strict=True)
        ]

    def column(features: torch.Tensor, y: int, x: int) -> list[float]:
        return features[:, y, x].tolist()

    keys = [linear(module.to_keys, column(source, *position)) for position in positions]
    values = [linear(module.to_values, column(source, *position)) for position in positions]
    result = torch.zeros_like(target)
    for y, x in positions:
        query = linear(module.to_queries, column(target, y, x))
        scores = [math.exp(sum(q * k for q, k in zip(query, key, strict=True))) for key in keys]
        row = [score / sum(scores) for score in scores]
        retrieved = [sum(d * v[c] for d, v in zip(row, values, strict=True)) for c in range(channels // 2)]
        appearance = linear(module.to_appearance, retrieved)
        for c in range(channels):
            result[c, y, x] = module.sigma.item() * appearance[c] + target[c, y, x].item()
    return result


@pytest.fixture
def module() -> AppearanceTransfer:
    torch.manual_seed(0)
    return AppearanceTransfer(16, sigma=0.7).double()


@pytest.mark.parametrize("bias", [True, False])
def test_it_equals_the_equations(agree, bias):
    torch.manual_seed(0)
    module = AppearanceTransfer(16, bias, sigma=0.7).double()
    source, target = torch.randn(2, 1, 16, 3, 2, dtype=torch.float64)
    expected = equations_by_loops(module, source[0], target[0])
    what, against = "AT-module (Eq. 1 to 6)", "loops over positions, float64"
    agree("Networks", what, against, module(source, target)[0], expected, 1e-12)


def test_gradients(module):
    source, target = torch.randn(2, 1, 16, 2, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(module, (source.requires_grad_(), target.requires_grad_()), fast_mode=True)


def test_it_starts_as_the_identity_of_the_target_stream():
    source, target = torch.randn(2, 1, 8, 2, 2)
    torch.testing.assert_close(AppearanceTransfer(8)(source, target), target)


def test_without_it_the_target_stream_is_returned():
    source, target = torch.randn(2, 1, 8, 2, 2)
    module = NoAppearanceTransfer(8)
    assert torch.equal(module(source, target), target)
    assert list(module.parameters()) == []


def test_too_few_channels_are_refused():
    with pytest.raises(ValueError, match="channels: expected at least 8, got 4"):
        AppearanceTransfer(4)


def test_the_dense_module_is_equal(module):
    dense = DenseAppearanceTransfer(16).double()
    dense.load_state_dict(module.state_dict())
    source, target = torch.randn(2, 2, 16, 4, 3, dtype=torch.float64)
    torch.testing.assert_close(dense(source, target), module(source, target))
