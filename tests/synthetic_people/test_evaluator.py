import numpy as np
import pytest
import torch

from synthetic_people.clothes import GARMENT_CLASSES
from synthetic_people.evaluator import Evaluator, build_net, locate_joints
from synthetic_people.evaluator_net import EvaluatorNet, EvaluatorOutput
from twostream.data.dataset import to_unit_range
from twostream.data.keypoints import NUM_JOINTS
from twostream.data.pose import gaussian_heatmaps

SIZE = (32, 16)
CPU = torch.device("cpu")


def small_net():
    torch.manual_seed(0)
    return EvaluatorNet(NUM_JOINTS, GARMENT_CLASSES, 2, width=8)


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
