import numpy as np
import pytest
import torch

from synthetic_people.clothes import GARMENT_CLASSES
from synthetic_people.evaluator import Evaluator, EvaluatorNet, EvaluatorOutput, build_net, locate_joints
from twostream.data.dataset import to_unit_range
from twostream.data.pose import gaussian_heatmaps

SIZE = (32, 16)
CPU = torch.device("cpu")


def small_net(stride=2):
    torch.manual_seed(0)
    return EvaluatorNet(stride, width=4).eval()


def estimate(net, height=32, width=16):
    return net(torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1)


@pytest.mark.parametrize(
    ("height", "width", "stride", "cells"),
    [(64, 32, 2, (32, 16)), (32, 48, 4, (8, 12)), (256, 176, 8, (32, 22)), (30, 41, 2, (15, 21))],
)
def test_a_joint_is_in_one_cell_or_missing(height, width, stride, cells):
    output = estimate(small_net(stride), height, width)
    assert output.heatmaps.shape == (2, 18, *cells)
    torch.testing.assert_close(output.heatmaps.exp().sum((2, 3)) + output.missing.exp(), torch.ones(2, 18))
    assert output.logits.isfinite().all()


def test_kinds_of_classes_are_independent():
    net = small_net()
    output = estimate(net)
    heads = [head(output.features) for head in net.to_classes]
    assert tuple(head.shape[1] for head in heads) == GARMENT_CLASSES
    products = torch.einsum("bi,bj,bk->bijk", *(head.softmax(1) for head in heads)).flatten(1)
    torch.testing.assert_close(output.logits.softmax(1), products)


def test_heatmaps_move_with_the_image():
    """An image moved by a cell of the coarsest map moves the heatmaps by as much, away from the borders."""
    net = small_net()
    image = torch.zeros(1, 3, 64, 64)
    image[..., 28:36, 28:36] = torch.rand(3, 8, 8)
    still, moved = (net(picked).heatmaps for picked in (image, image.roll(8, dims=3)))
    # The log-probabilities of two images differ by a constant a joint, which a far corner shows.
    still, moved = (heat - heat[..., :1, :1] for heat in (still, moved))
    assert still[..., 8:24, 8:24].std() > 1e-3
    torch.testing.assert_close(moved[..., 8:24, 12:28], still[..., 8:24, 8:24])


def test_every_parameter_gets_a_gradient():
    net = small_net().train()
    output = estimate(net)
    (output.heatmaps.square().sum() + output.missing.sum() + output.logits.square().sum()).backward()
    assert [name for name, parameter in net.named_parameters() if not parameter.grad.abs().sum()] == []


def locate(probabilities, image_size=SIZE):
    """The joint's position from its probabilities by cell of 8 rows and 4 columns, at stride 4."""
    heat = torch.zeros(8, 4)
    for cell, probability in probabilities.items():
        heat[cell] = probability
    missing = (1 - heat.sum()).log().expand(1, 18)
    output = EvaluatorOutput(heat.log().expand(1, 18, 8, 4), missing, torch.zeros(1, 1), torch.zeros(1, 1))
    joints = locate_joints(output, 4, image_size)
    assert (joints == joints[:, :1]).all()
    return joints[0, 0].tolist()


# The centre of cell k of 4 pixels is pixel 4 k + 1.5.
@pytest.mark.parametrize(
    ("probabilities", "position"),
    [
        ({(3, 2): 0.6, (3, 3): 0.2}, (14, 10.5)),
        ({(3, 2): 0.4, (4, 2): 0.4}, (15.5, 9.5)),
        ({(3, 2): 0.5, (2, 1): 0.25}, (4 * (8 / 3) + 1.5, 4 * (5 / 3) + 1.5)),
        ({(3, 2): 0.3, (2, 1): 0.1, (4, 3): 0.1, (2, 3): 0.1, (4, 1): 0.1}, (13.5, 9.5)),
        ({(7, 3): 0.9}, (29.5, 13.5)),
    ],
)
def test_a_joint_is_the_mean_around_the_likeliest_cell(probabilities, position):
    assert np.abs(np.subtract(locate(probabilities), position)).max() <= 0.5


@pytest.mark.parametrize("far", [(4, 0), (5, 3), (0, 2)])
def test_cells_two_away_do_not_move_a_joint(far):
    near = {(3, 2): 0.4, (3, 3): 0.2}
    assert locate(near | {far: 0.35}) == locate(near) == [14, 11]


def test_a_joint_that_is_rather_missing_is_not_found():
    assert locate({(3, 2): 0.49}) == [-1, -1]
    assert locate({(3, 2): 0.51}) == [14, 10]
    assert locate({(0, 0): 0.26, (7, 3): 0.25}) == [2, 2]
    nothing = EvaluatorOutput(
        torch.full((1, 18, 8, 4), -500.0), torch.zeros(1, 18), torch.zeros(1, 1), torch.zeros(1, 1)
    )
    assert (locate_joints(nothing, 4, SIZE) == -1).all()


def test_a_joint_is_inside_the_image():
    assert locate({(7, 3): 0.9}, image_size=(29, 13)) == [28, 12]


@pytest.mark.parametrize(("stride", "tolerance"), [(2, 0), (4, 0), (8, 1)])
def test_joints_are_located_where_training_has_them(stride, tolerance):
    cells, size = (12, 7), (12 * stride, 7 * stride)
    joints = torch.from_numpy(np.random.default_rng(0).integers(0, size, (20, 18, 2))).float()
    heat = gaussian_heatmaps((joints + 0.5) / stride - 0.5, cells, sigma=0.7)
    heat = heat / heat.sum((2, 3), keepdim=True)
    output = EvaluatorOutput(heat.log(), torch.full((20, 18), -20.0), torch.zeros(20, 1), torch.zeros(20, 1))
    located = locate_joints(output, stride, size)
    error = np.abs(located - joints.numpy())
    # At the border half of the Gaussian is outside, which moves the mean.
    is_inside = ((located >= stride) & (located < np.subtract(size, stride))).all(axis=2)
    assert is_inside.sum() > 100
    assert error[is_inside].max() <= tolerance
    assert error.max() <= 5 / 8 * stride


def test_an_evaluator_applies_its_network():
    images = torch.randint(0, 256, (8, 3, *SIZE), dtype=torch.uint8)
    evaluator = Evaluator(small_net(), {}, CPU)
    predictions = evaluator(images)
    with torch.inference_mode():
        output = evaluator.net(to_unit_range(images))
    assert not evaluator.net.training
    assert (predictions.joints == locate_joints(output, 2, SIZE)).all()
    np.testing.assert_array_equal(predictions.features, output.features.numpy())
    np.testing.assert_array_equal(predictions.logits, output.logits.numpy())


def test_the_hash_depends_on_the_weights_alone():
    first, second = small_net(), small_net().to(memory_format=torch.channels_last)
    assert Evaluator(first, {}, CPU).weights_hash == Evaluator(second, {}, CPU).weights_hash
    with torch.no_grad():
        second.to_missing.bias[0] += 1e-6
    assert Evaluator(first, {}, CPU).weights_hash != Evaluator(second, {}, CPU).weights_hash


def test_an_evaluator_states_its_accuracy():
    evaluator = Evaluator(small_net(), {"PCKh": 0.91234, "colour": 1.0}, CPU)
    assert evaluator.describe() == (
        f"evaluator {evaluator.weights_hash[:12]} on true images of people not seen in training: "
        "PCKh 0.912, colour 1.000"
    )


@pytest.mark.parametrize(("size", "stride"), [((32, 16), 2), ((64, 32), 2), ((128, 64), 4), ((256, 176), 8)])
def test_heatmaps_have_at_most_32_rows(size, stride):
    assert build_net(size).stride == stride
