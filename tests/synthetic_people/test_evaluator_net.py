import pytest
import torch

from synthetic_people.evaluator_net import EvaluatorNet

CLASSES = (3, 2, 4)


def make(stride=4, **changes) -> EvaluatorNet:
    torch.manual_seed(0)
    return EvaluatorNet(**({"num_joints": 18, "num_classes": CLASSES, "stride": stride, "width": 4} | changes)).eval()


def look(net: EvaluatorNet, height=32, width=16):
    return net(torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1)


def test_a_joint_is_in_one_cell_or_missing():
    seen = look(make())
    assert seen.heatmaps.shape == (2, 18, 8, 4)
    assert seen.missing.shape == (2, 18)
    torch.testing.assert_close(seen.heatmaps.exp().sum((2, 3)) + seen.missing.exp(), torch.ones(2, 18))
    assert (seen.heatmaps.exp().sum((2, 3)) > 0.5).all()


@pytest.mark.parametrize("stride", [2, 4, 8])
@pytest.mark.parametrize(("height", "width"), [(64, 32), (32, 48)])
def test_a_cell_has_the_stride_as_its_side(stride, height, width):
    assert look(make(stride), height, width).heatmaps.shape == (2, 18, height // stride, width // stride)


@pytest.mark.parametrize(("height", "width", "stride", "cells"), [(256, 176, 8, (32, 22)), (30, 41, 2, (15, 21))])
def test_sizes_that_do_not_halve_evenly(height, width, stride, cells):
    seen = look(make(stride), height, width)
    assert seen.heatmaps.shape == (2, 18, *cells)
    assert seen.logits.isfinite().all()


def test_classes_of_several_kinds_are_independent():
    net = make()
    seen = look(net)
    heads = [head(seen.features) for head in net.to_classes]
    assert [tuple(head.shape) for head in heads] == [(2, 3), (2, 2), (2, 4)]
    sums = heads[0][:, :, None, None] + heads[1][:, None, :, None] + heads[2][:, None, None, :]
    torch.testing.assert_close(seen.logits.view(2, *CLASSES), sums)
    products = torch.einsum("bi,bj,bk->bijk", *(head.softmax(1) for head in heads)).flatten(1)
    torch.testing.assert_close(seen.logits.softmax(1), products)
    torch.testing.assert_close(seen.logits.softmax(1).view(2, *CLASSES).sum((1, 3)), heads[1].softmax(1))


def test_features_have_the_asked_width():
    assert look(make(num_features=7)).features.shape == (2, 7)


def test_a_joint_follows_the_picture():
    """A picture moved by a cell of the coarsest map moves the heatmaps by as much, away from the borders."""
    net = make(2)
    image = torch.zeros(1, 3, 64, 64)
    image[..., 28:36, 28:36] = torch.rand(3, 8, 8)
    still, moved = (net(picture).heatmaps for picture in (image, image.roll(8, dims=3)))
    # The log-probabilities of two pictures are comparable but for a constant a joint: take it from a far corner.
    still, moved = (heat - heat[..., :1, :1] for heat in (still, moved))
    assert still[..., 8:24, 8:24].std() > 1e-3
    torch.testing.assert_close(moved[..., 8:24, 12:28], still[..., 8:24, 8:24])


def test_every_parameter_gets_a_gradient():
    net = make().train()
    seen = look(net)
    (seen.heatmaps.square().sum() + seen.missing.sum() + seen.logits.square().sum()).backward()
    assert [name for name, parameter in net.named_parameters() if not parameter.grad.abs().sum()] == []


@pytest.mark.parametrize("stride", [-2, 0, 1, 3, 6])
def test_refuses_a_stride_that_is_no_power_of_2(stride):
    with pytest.raises(ValueError, match=f"stride: expected a power of 2, at least 2, got {stride}"):
        make(stride)
