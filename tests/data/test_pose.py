import numpy as np
import torch
from scipy.ndimage import binary_dilation, binary_erosion

from twostream.data.pose import gaussian_heatmaps, joints_to_tensor, person_mask
from twostream.data.skeleton import JOINT_NAMES, MASK_LIMBS


def joints_of(*points: tuple[int, int, int]) -> np.ndarray:
    joints = np.full((18, 2), -1)
    for index, y, x in points:
        joints[index] = y, x
    return joints


def test_heatmaps_equal_the_formula():
    joints = joints_of((0, 3, 5), (1, 0, 0), (2, 40, -9))
    heatmaps = gaussian_heatmaps(joints_to_tensor(joints)[None], (12, 8), sigma=2.0)[0]
    for index in range(3):
        y, x = joints[index]
        for row in range(12):
            for column in range(8):
                expected = np.exp(-((row - y) ** 2 + (column - x) ** 2) / 8)
                np.testing.assert_allclose(heatmaps[index, row, column], expected, atol=1e-7)


def test_a_missing_joint_has_an_empty_channel_and_one_outside_a_tail():
    heatmaps = gaussian_heatmaps(joints_to_tensor(joints_of((0, 4, -3)))[None], (12, 8), sigma=2.0)[0]
    assert heatmaps[1:].abs().max() == 0
    assert 0 < heatmaps[0].max() < 1
    assert not heatmaps.isnan().any()


def plain_mask(joints: np.ndarray, size: tuple[int, int], radius: int) -> np.ndarray:
    """The same mask by asking every pixel: in a quadrilateral? in a disc?"""
    grid = np.stack(np.meshgrid(np.arange(size[0]), np.arange(size[1]), indexing="ij"), -1).reshape(-1, 2)
    mask = np.zeros(len(grid), dtype=bool)
    for start, end in MASK_LIMBS:
        if (joints[[start, end]] == -1).any() or (joints[start] == joints[end]).all():
            continue
        length = np.linalg.norm(joints[end] - joints[start])
        along = (joints[end] - joints[start]) / length
        from_start = grid - joints[start]
        mask |= (np.abs(from_start @ [-along[1], along[0]]) <= radius) & (
            np.abs(from_start @ along - length / 2) <= length / 2
        )
    for joint in joints[(joints != -1).all(1)]:
        mask |= ((grid - joint) ** 2).sum(1) < radius**2
    padded = np.pad(mask.reshape(size), 4)
    return binary_erosion(binary_dilation(padded, np.ones((5, 5))), np.ones((5, 5)))[4:-4, 4:-4]


def test_mask_equals_a_plain_polygon_fill():
    random = np.random.default_rng(0)
    for _ in range(5):
        joints = random.integers(10, 54, (18, 2))
        joints[random.random(18) < 0.3] = -1
        difference = person_mask(joints, (64, 64)) ^ plain_mask(joints, (64, 64), 4)
        assert difference.mean() < 0.002  # pixels exactly on an edge


def test_mask_of_one_joint_is_a_disc_of_radius_4():
    mask = person_mask(joints_of((0, 10, 12)), (24, 24))
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (7, 13, 9, 15)


def test_mask_of_nobody_is_empty_and_of_coinciding_joints_defined():
    assert not person_mask(joints_of(), (8, 8)).any()
    assert person_mask(joints_of((1, 4, 4), (2, 4, 4)), (8, 8)).any()


def test_joints_become_nan_where_missing():
    tensor = joints_to_tensor(joints_of((0, 3, 5)))
    assert tensor[0].tolist() == [3, 5]
    assert tensor[1:].isnan().all()
    assert tensor.dtype == torch.float32
    assert len(JOINT_NAMES) == 18
