import numpy as np
import pytest

from stand_ins import Corner, draw_batch
from twostream.data.keypoints import JOINT_NAMES, found
from twostream.metrics.pckh import HEAD, PCKh, pckh, pckh_counts
from twostream.metrics.protocols import PATN

RIGHT_ELBOW = 3


def joints(**by_index: tuple[int, int]) -> np.ndarray:
    """Joints of which some are found, given as `j3=(y, x)`."""
    array = np.full((18, 2), -1)
    for name, joint in by_index.items():
        array[int(name.removeprefix("j"))] = joint
    return array


# The head box is 20 high (nose to neck) and 10 wide (nose to left ear): correct is |dy| < 10 and |dx| < 5.
TARGET = joints(j0=(10, 30), j1=(30, 34), j17=(12, 40), j2=(50, 20), j3=(70, 20))


# Nose and right shoulder are near; the neck is 10 too low and the ear 5 too far left, which is not less;
# the elbow is not found; the wrist is not annotated.
MIXED = joints(j0=(19, 34), j1=(40, 34), j17=(12, 35), j2=(41, 16), j4=(70, 20))
ONE_JOINT_OF_THE_HEAD = joints(j0=(10, 30), j2=(50, 20), j3=(70, 20))
HEAD_BOX_OF_NO_WIDTH = joints(j0=(10, 30), j1=(30, 30))


@pytest.mark.parametrize(
    ("detected", "target", "counts"),
    [
        (MIXED, TARGET, (2, 5)),
        (joints(j2=(59, 20)), TARGET, (1, 5)),
        (joints(j2=(50, 29)), TARGET, (0, 5)),
        (TARGET, TARGET, (5, 5)),
        (ONE_JOINT_OF_THE_HEAD, ONE_JOINT_OF_THE_HEAD, (0, 0)),
        (HEAD_BOX_OF_NO_WIDTH, HEAD_BOX_OF_NO_WIDTH, (0, 2)),
    ],
    ids=["mixed", "near in y", "far in x", "equal", "one joint of the head", "head box of no width"],
)
def test_hand_worked_counts(detected, target, counts):
    assert pckh_counts(detected, target) == counts


def counts_by_loops(detected, target):
    """The rule of PATN's evaluation, a joint at a time."""

    def exists(joint):
        return joint[0] != -1 and joint[1] != -1

    head = [target[i] for i in (0, 1, 14, 15, 16, 17) if exists(target[i])]
    if len(head) < 2:
        return 0, 0
    height, width = (max(joint[axis] for joint in head) - min(joint[axis] for joint in head) for axis in (0, 1))
    right = total = 0
    for joint, true in zip(detected, target, strict=True):
        if exists(true):
            total += 1
            near = abs(joint[0] - true[0]) < 0.5 * height and abs(joint[1] - true[1]) < 0.5 * width
            right += exists(joint) and near
    return right, total


def test_counts_equal_loops_over_joints(agree):
    random = np.random.default_rng(0)
    target = random.integers(0, 40, (500, 18, 2))
    detected = target + random.integers(-12, 13, target.shape)
    target[random.random((500, 18)) < 0.4] = -1
    detected[random.random((500, 18)) < 0.2] = -1
    expected = [counts_by_loops(*pair) for pair in zip(detected.tolist(), target.tolist(), strict=True)]
    counts = [pckh_counts(*pair) for pair in zip(detected, target, strict=True)]
    agree("Metrics", "PCKh: right and all joints of an image", "loops over joints", counts, expected, 0)
    assert (0, 0) in counts


@pytest.mark.parametrize("joint", [(-1, 2), (2, -1), (-1, -1), (0, 0), (-2, 2)])
def test_joints_count_if_they_are_found(joint):
    annotated = TARGET.copy()
    annotated[RIGHT_ELBOW] = joint
    is_found = int(found(annotated)[RIGHT_ELBOW])
    assert pckh_counts(annotated, annotated) == (4 + is_found, 4 + is_found)
    target, detected = joints(j0=(1, 1), j1=(21, 21)), joints(j0=joint)
    assert pckh_counts(detected, target) == (is_found, 2)


def test_the_head_is_nose_neck_eyes_and_ears():
    assert [JOINT_NAMES[i] for i in HEAD] == ["nose", "neck", "right eye", "left eye", "right ear", "left ear"]


def test_pckh_is_the_ratio_of_the_sums():
    assert pckh([(2, 5), (0, 0), (15, 15)]) == 17 / 20


@pytest.mark.parametrize("counts", [[], [(0, 0), (0, 0)]])
def test_no_target_that_counts_is_an_error(counts):
    with pytest.raises(ValueError, match=f"two found joints of the head, got {len(counts)} without"):
        pckh(counts)


def test_the_metric_counts_the_joints_that_the_estimator_finds():
    annotated = np.full((2, 18, 2), -1)
    # The head box of the first is 10x10, so a joint is correct less than 5 pixels from (0, 0).
    annotated[0, :3] = [4, 4], [14, 14], [4, 5]
    annotated[1, 2] = 0, 0  # no head
    metric = PCKh(PATN, (40, 32), Corner())
    columns = metric.update(draw_batch((40, 32), count=2)._replace(joints=list(annotated)))
    assert {name: column.tolist() for name, column in columns.items()} == {
        "pckh_right/patn": [1, 0],
        "pckh_total/patn": [3, 0],
    }
    assert (metric.name, metric.protocol) == ("pckh", "patn")
    assert metric.compute(columns, np.arange(2)) == pytest.approx(1 / 3)
    assert metric.details == {"version": 2, "frame": "40x32", "estimator": "corner", "estimator_hash": "123"}
    assert PCKh(PATN, (256, 176), Corner()).details["frame"] == "256x176"
    with pytest.raises(ValueError, match="got 1 without"):
        metric.compute(columns, np.array([1]))
