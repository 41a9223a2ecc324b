import math

import numpy as np
import pytest
import torch
from torch import nn

from synthetic_people.evaluator import (
    Evaluator,
    LabelledImages,
    Predictions,
    draw_batch,
    evaluator_loss,
    find_joints,
    measure_accuracy,
)
from synthetic_people.evaluator_net import EvaluatorNet, EvaluatorOutput
from synthetic_people.wardrobe import GARMENT_CLASSES
from twostream.data.dataset import to_unit_range
from twostream.data.keypoints import JOINT_NAMES, NUM_JOINTS
from twostream.data.pose import gaussian_heatmaps

SIZE = (32, 16)
CPU = torch.device("cpu")
RIGHT_WRIST, LEFT_WRIST = JOINT_NAMES.index("right wrist"), JOINT_NAMES.index("left wrist")


@pytest.fixture
def labelled():
    """Eight pictures of noise with random joints, a few of them missing."""
    random = np.random.default_rng(0)
    joints = random.integers(0, SIZE, (8, 18, 2)).astype(np.float32)
    joints[random.random((8, 18)) < 0.2] = np.nan
    return LabelledImages(
        torch.from_numpy(random.integers(0, 256, (8, 3, *SIZE), dtype=np.uint8)),
        torch.from_numpy(joints),
        torch.from_numpy(random.integers(0, 2, (8, 1, *SIZE), dtype=np.uint8)),
        torch.from_numpy(random.integers(0, GARMENT_CLASSES, (8, 3))),
    )


def small_net():
    torch.manual_seed(0)
    return EvaluatorNet(NUM_JOINTS, GARMENT_CLASSES, 2, width=8)


def evaluatorment(heat, missing=None):
    """What is seen of one joint in one picture, from probabilities."""
    heat = torch.as_tensor(heat, dtype=torch.float32)
    missing = 1 - heat.sum() if missing is None else torch.tensor(missing)
    return EvaluatorOutput(heat.log()[None, None], missing.log()[None, None], torch.zeros(1, 1), torch.zeros(1, 1))


def find_one(heat, stride=4, image_size=(32, 16), **others):
    """The only joint's place, of the 18 that are seen alike."""
    seen = evaluatorment(heat, **others)
    seen = seen._replace(heatmaps=seen.heatmaps.repeat(1, 18, 1, 1), missing=seen.missing.repeat(1, 18))
    joints = find_joints(seen, stride, image_size)
    assert joints.shape == (1, 18, 2)
    assert (joints == joints[:, :1]).all()
    return joints[0, 0].tolist()


def heat_of(shares, size=(8, 4)):
    heat = torch.zeros(size)
    for cell, share in shares.items():
        heat[cell] = share
    return heat


# Cell k of 4 pixels has its middle at pixel 4 k + 1.5.
@pytest.mark.parametrize(
    ("shares", "place"),
    [
        ({(3, 2): 0.6, (3, 3): 0.2}, (14, 10.5)),
        ({(3, 2): 0.4, (4, 2): 0.4}, (15.5, 9.5)),
        ({(3, 2): 0.5, (2, 1): 0.25}, (4 * (8 / 3) + 1.5, 4 * (5 / 3) + 1.5)),
        ({(3, 2): 0.3, (2, 1): 0.1, (4, 3): 0.1, (2, 3): 0.1, (4, 1): 0.1}, (13.5, 9.5)),
    ],
)
def test_a_joint_is_the_mean_place_around_the_peak(shares, place):
    found = find_one(heat_of(shares))
    assert np.abs(np.subtract(found, place)).max() <= 0.5


@pytest.mark.parametrize("far", [(4, 0), (2, 0), (5, 3), (0, 2), (3, 0)])
def test_what_is_two_cells_away_does_not_move_a_joint(far):
    near = {(3, 2): 0.4, (3, 3): 0.2}
    assert find_one(heat_of(near | {far: 0.35})) == find_one(heat_of(near)) == [14, 11]


def test_a_joint_that_is_rather_missing_is_not_found():
    assert find_one(heat_of({(3, 2): 0.49})) == [-1, -1]
    assert find_one(heat_of({(3, 2): 0.51})) == [14, 10]
    assert find_one(heat_of({(0, 0): 0.26, (7, 3): 0.25})) == [2, 2]


def test_a_joint_without_any_probability_is_not_found():
    seen = EvaluatorOutput(torch.full((1, 18, 8, 4), -500.0), torch.zeros(1, 18), torch.zeros(1, 1), torch.zeros(1, 1))
    assert (find_joints(seen, 4, SIZE) == -1).all()


def test_a_joint_lies_in_the_picture():
    # The last of 8 rows of 4 pixels has its middle at 29.5, the last column at 13.5.
    last = heat_of({(7, 3): 0.9})
    assert np.abs(np.subtract(find_one(last), (29.5, 13.5))).max() <= 0.5
    assert find_one(last, image_size=(29, 13)) == [28, 12]


@pytest.mark.parametrize(("stride", "tolerance"), [(2, 0), (4, 0), (8, 1)])
def test_joints_are_found_where_training_puts_them(stride, tolerance):
    cells, size = (12, 7), (12 * stride, 7 * stride)
    joints = torch.from_numpy(np.random.default_rng(0).integers(0, size, (20, 18, 2))).float()
    heat = gaussian_heatmaps((joints + 0.5) / stride - 0.5, cells, sigma=0.7)
    heat = heat / heat.sum((2, 3), keepdim=True)
    seen = EvaluatorOutput(heat.log(), torch.full((20, 18), -20.0), torch.zeros(20, 1), torch.zeros(20, 1))
    found = find_joints(seen, stride, size)
    error = np.abs(found - joints.numpy())
    # In a cell at the border the mean lacks the half of the Gaussian that lies outside, and with it its balance.
    is_inside = ((found >= stride) & (found < np.subtract(size, stride))).all(axis=2)
    assert is_inside.sum() > 100
    assert error[is_inside].max() <= tolerance
    assert error.max() <= 5 / 8 * stride


@pytest.fixture
def lit():
    """A picture with a red right wrist, which is the person, and a green left wrist, which is not."""
    image, mask = torch.zeros(1, 3, *SIZE, dtype=torch.uint8), torch.zeros(1, 1, *SIZE, dtype=torch.uint8)
    joints = torch.full((1, 18, 2), torch.nan)
    joints[0, RIGHT_WRIST], joints[0, LEFT_WRIST] = torch.tensor([5.0, 3.0]), torch.tensor([9.0, 14.0])
    image[0, 0, 5, 3] = image[0, 1, 9, 14] = 255
    mask[0, 0, 4:7, 2:5] = 1
    return LabelledImages(image, joints, mask, torch.tensor([[4, 2, 1]]))


def test_pictures_are_flipped_and_cut_with_their_joints(lit):
    batch = draw_batch(lit, np.zeros(600, dtype=np.int64), np.random.default_rng(0))
    kinds = []
    for image, joints, mask in zip(batch.images, batch.joints, batch.masks, strict=True):
        red, green = ([tuple(place) for place in image[channel].nonzero().tolist()] for channel in (0, 1))
        is_flipped, is_cut = red == [(5, 12)], not green
        # A mirror makes a left wrist of the right one.
        first, second = (LEFT_WRIST, RIGHT_WRIST) if is_flipped else (RIGHT_WRIST, LEFT_WRIST)
        assert red == [tuple(joints[first].int().tolist())] == [(5, 12 if is_flipped else 3)]
        assert joints[second].tolist() == [9, 1 if is_flipped else 14]
        assert green in ([], [tuple(joints[second].int().tolist())])
        assert joints.isnan().sum() == 2 * 16
        assert mask[0].nonzero().float().mean(0).tolist() == list(red[0])
        kinds.append((is_flipped, is_cut))
    shares = [kinds.count(kind) / 600 for kind in ((False, False), (True, False), (False, True), (True, True))]
    assert shares == pytest.approx([1 / 3, 1 / 3, 1 / 6, 1 / 6], abs=0.06)
    assert (batch.garments == lit.garments).all()


def test_a_batch_holds_the_drawn_pictures(labelled):
    batch = draw_batch(labelled, np.array([5, 0, 5]), np.random.default_rng(0))
    assert torch.equal(batch.garments, labelled.garments[[5, 0, 5]])
    assert all(len(tensor) == 3 for tensor in batch)


class FixedNet(EvaluatorNet):
    """Sees the same whatever it is shown."""

    def __init__(self, seen, stride):
        nn.Module.__init__(self)
        self.seen, self.stride = seen, stride

    def forward(self, image):
        return self.seen


def test_the_loss_is_the_cross_entropy(labelled):
    batch = labelled.part(slice(0, 3))
    random = torch.Generator().manual_seed(0)
    places = torch.randn(3, 18, 16 * 8 + 1, generator=random).log_softmax(2)
    logits = torch.randn(3, math.prod(GARMENT_CLASSES), generator=random)
    seen = EvaluatorOutput(places[..., :-1].unflatten(2, (16, 8)), places[..., -1], torch.zeros(3, 1), logits)
    terms = []
    for i, j in np.ndindex(3, 18):
        y, x = ((batch.joints[i, j] + 0.5) / 2 - 0.5).tolist()
        if math.isnan(y):
            terms.append(-seen.missing[i, j].item())
            continue
        weights = {cell: math.exp(-(math.dist(cell, (y, x)) ** 2) / (2 * 0.7**2)) for cell in np.ndindex(16, 8)}
        terms.append(-sum(w * seen.heatmaps[i, j][c].item() for c, w in weights.items()) / sum(weights.values()))
    classes = []
    for i in range(3):
        combined = logits[i].softmax(0).view(GARMENT_CLASSES)
        classes.append(-math.log(combined[tuple(batch.garments[i].tolist())].item()))
    expected = np.mean(terms) + np.mean(classes)
    assert evaluator_loss(FixedNet(seen, 2), batch).item() == pytest.approx(expected, rel=1e-5)


def test_the_loss_goes_down(labelled):
    net = small_net()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    losses = []
    for _ in range(15):
        loss = evaluator_loss(net, labelled)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0], losses


def test_a_missing_joint_pushes_missing(labelled):
    joints = labelled.joints.clone()
    joints[:, LEFT_WRIST], joints[:, RIGHT_WRIST] = torch.nan, 8.0
    net = small_net()
    evaluator_loss(net, labelled._replace(joints=joints)).backward()
    gradient = net.to_missing.bias.grad
    assert gradient[LEFT_WRIST] < 0 < gradient[RIGHT_WRIST]
    assert net.to_heatmaps.bias.grad[LEFT_WRIST] > 0


class KnownEvaluator(Evaluator):
    """Says of each picture what it is told to say."""

    def __init__(self, joints, logits):
        self.joints, self.logits, self.given = joints, logits, 0

    def __call__(self, images):
        some = slice(self.given, self.given + len(images))
        self.given = some.stop
        return Predictions(self.joints[some], np.zeros((len(images), 1), np.float32), self.logits[some])


def logits_of(*pictures):
    """Log-probabilities from the classes' combinations, as `{(colour, pattern, legwear): probability}`."""
    logits = np.full((len(pictures), *GARMENT_CLASSES), -30, dtype=np.float32)
    for picture, shares in enumerate(pictures):
        for classes, share in shares.items():
            logits[(picture, *classes)] = math.log(share)
    return logits.reshape(len(pictures), -1)


@pytest.fixture
def four(labelled):
    garments = torch.tensor([[3, 1, 0], [3, 2, 1], [0, 6, 2], [19, 0, 0]])
    joints = torch.from_numpy(np.random.default_rng(0).integers(0, 16, (4, 18, 2))).float()
    joints[0, 4:7] = torch.nan
    return LabelledImages(labelled.images[:4], joints, labelled.masks[:4], garments)


def true_joints(labelled):
    return np.nan_to_num(labelled.joints.numpy(), nan=-1).astype(np.int64)


def test_a_evaluator_that_is_right_has_accuracy_1(four):
    right = logits_of(*({tuple(classes): 1.0} for classes in four.garments.tolist()))
    accuracy = measure_accuracy(KnownEvaluator(true_joints(four), right), four)
    assert accuracy == {"PCKh": 1, "colour": 1, "pattern": 1, "legwear": 1}


def test_accuracy_counts_each_kind_of_class_and_the_joints_apart(four):
    logits = logits_of(
        {(3, 1, 1): 1.0},  # legwear wrong
        {(4, 3, 1): 1.0},  # colour and pattern wrong
        # The likeliest combination is of another colour, but this colour is the likelier one.
        {(1, 6, 2): 0.4, (0, 6, 2): 0.3, (0, 6, 1): 0.3},
        {(19, 5, 0): 1.0},  # pattern wrong
    )
    joints = true_joints(four)
    joints[1] = -1
    accuracy = measure_accuracy(KnownEvaluator(joints, logits), four)
    assert accuracy == {"PCKh": (15 + 18 + 18) / (15 + 3 * 18), "colour": 3 / 4, "pattern": 2 / 4, "legwear": 3 / 4}


def test_accuracy_is_measured_on_many_pictures_in_their_order(four):
    many = LabelledImages(*(tensor.repeat(20, *[1] * (tensor.ndim - 1)) for tensor in four))
    right = logits_of(*({tuple(classes): 1.0} for classes in many.garments.tolist()))
    accuracy = measure_accuracy(KnownEvaluator(true_joints(many), right), many)
    assert set(accuracy.values()) == {1}


def test_a_evaluator_looks_with_its_net(labelled):
    evaluator = Evaluator(small_net(), {}, CPU)
    predictions = evaluator(labelled.images)
    with torch.inference_mode():
        seen = evaluator.net(to_unit_range(labelled.images))
    assert not evaluator.net.training
    assert predictions.joints.shape == (8, 18, 2)
    assert (predictions.joints == find_joints(seen, 2, SIZE)).all()
    assert ((predictions.joints >= -1) & (predictions.joints < SIZE)).all()
    np.testing.assert_array_equal(predictions.features, seen.features.numpy())
    np.testing.assert_array_equal(predictions.logits, seen.logits.numpy())


def test_the_hash_is_that_of_the_weights():
    first, second = small_net(), small_net().to(memory_format=torch.channels_last)
    assert Evaluator(first, {}, CPU).weights_hash == Evaluator(second, {}, CPU).weights_hash
    with torch.no_grad():
        second.to_missing.bias[0] += 1e-6
    assert Evaluator(first, {}, CPU).weights_hash != Evaluator(second, {}, CPU).weights_hash


def test_a_evaluator_tells_its_accuracy():
    evaluator = Evaluator(small_net(), {"PCKh": 0.91234, "colour": 1.0}, CPU)
    assert evaluator.describe() == (
        f"evaluator {evaluator.weights_hash[:12]} on true images of people not seen in training: "
        "PCKh 0.912, colour 1.000"
    )
