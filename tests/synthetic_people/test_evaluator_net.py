import pytest
import torch

from synthetic_people.evaluator_net import EvaluatorNet

CLASSES = (3, 2, 4)


def build(stride=4, **changes) -> EvaluatorNet:
    torch.manual_seed(0)
    return EvaluatorNet(**({"num_joints": 18, "num_classes": CLASSES, "stride": stride, "width": 4} | changes)).eval()


def estimate(net: EvaluatorNet, height=32, width=16):
    return net(torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1)


@pytest.mark.parametrize(
    ("height", "width", "stride", "cells"),
    [(64, 32, 2, (32, 16)), (32, 48, 4, (8, 12)), (256, 176, 8, (32, 22)), (30, 41, 2, (15, 21))],
)
def test_a_joint_is_in_one_cell_or_missing(height, width, stride, cells):
    output = estimate(build(stride), height, width)
    assert output.heatmaps.shape == (2, 18, *cells)
    torch.testing.assert_close(output.heatmaps.exp().sum((2, 3)) + output.missing.exp(), torch.ones(2, 18))
    assert output.logits.isfinite().all()


def test_kinds_of_classes_are_independent():
    net = build(num_features=7)
    output = estimate(net)
    assert output.features.shape == (2, 7)
    heads = [head(output.features) for head in net.to_classes]
    assert [tuple(head.shape) for head in heads] == [(2, 3), (2, 2), (2, 4)]
    products = torch.einsum("bi,bj,bk->bijk", *(head.softmax(1) for head in heads)).flatten(1)
    torch.testing.assert_close(output.logits.softmax(1), products)


def test_heatmaps_move_with_the_image():
    """An image moved by a cell of the coarsest map moves the heatmaps by as much, away from the borders."""
    net = build(2)
    image = torch.zeros(1, 3, 64, 64)
    image[..., 28:36, 28:36] = torch.rand(3, 8, 8)
    still, moved = (net(picked).heatmaps for picked in (image, image.roll(8, dims=3)))
    # The log-probabilities of two images differ by a constant a joint, which a far corner shows.
    still, moved = (heat - heat[..., :1, :1] for heat in (still, moved))
    assert still[..., 8:24, 8:24].std() > 1e-3
    torch.testing.assert_close(moved[..., 8:24, 12:28], still[..., 8:24, 8:24])


def test_every_parameter_gets_a_gradient():
    net = build().train()
    output = estimate(net)
    (output.heatmaps.square().sum() + output.missing.sum() + output.logits.square().sum()).backward()
    assert [name for name, parameter in net.named_parameters() if not parameter.grad.abs().sum()] == []


@pytest.mark.parametrize("stride", [-2, 1, 6])
def test_strides_other_than_powers_of_2_are_refused(stride):
    with pytest.raises(ValueError, match=f"stride: expected a power of 2, at least 2, got {stride}"):
        build(stride)
