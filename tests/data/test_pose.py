import math

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation, binary_erosion

from twostream.data.keypoints import MASK_LIMBS
from twostream.data.pose import delta_heatmaps, disc_heatmaps, gaussian_heatmaps, joints_to_tensor, person_mask


def joints_of(*points: tuple[int, int, int]) -> np.ndarray:
    joints = np.full((18, 2), -1)
    for index, y, x in points:
        joints[index] = y, x
    return joints


# Two poses: inside, on the border and in the corners, just outside, far outside, missing, between pixels.
POINTS = torch.full((2, 18, 2), torch.nan)
POINTS[0, :8] = torch.tensor([[3, 5], [0, 0], [11, 7], [0, 7], [-1, 4], [12, 4], [4, 8], [40, -9]])
POINTS[1, :7] = torch.tensor([[2.5, 3.5], [3.4, 4.6], [-0.4, 7.4], [-0.6, 7.6], [11.6, 0], [10.5, 5.25], [4.5, -2.1]])
SIZE = (12, 8)


def loop(joints, value):
    """Evaluate `value(y, x, row, column)` at every pixel for every found joint."""
    heatmaps = torch.zeros(len(joints), 18, *SIZE)
    for b, joint in np.argwhere(~joints.isnan().any(-1).numpy()):
        y, x = joints[b, joint].tolist()
        for row in range(SIZE[0]):
            for column in range(SIZE[1]):
                heatmaps[b, joint, row, column] = value(y, x, row, column)
    return heatmaps


def test_a_gaussian_is_the_formula(agree):
    expected = loop(POINTS, lambda y, x, row, column: math.exp(-((row - y) ** 2 + (column - x) ** 2) / 8))
    agree("Data", "heatmaps", "loops over pixels, float32", gaussian_heatmaps(POINTS, SIZE, sigma=2.0), expected, 1e-6)


def test_a_delta_is_the_nearest_pixel():
    expected = loop(POINTS, lambda y, x, row, column: (round(y), round(x)) == (row, column))
    assert torch.equal(delta_heatmaps(POINTS, SIZE), expected)
    assert expected.sum(dim=(2, 3))[0, :9].tolist() == [1, 1, 1, 1, 0, 0, 0, 0, 0]
    assert expected.sum(dim=(2, 3))[1, :8].tolist() == [1, 1, 1, 0, 0, 1, 0, 0]


def test_a_delta_is_what_uint8_leaves_of_a_gaussian():
    stored = gaussian_heatmaps(POINTS[:1], SIZE, sigma=6).to(torch.uint8)
    assert torch.equal(stored.float(), delta_heatmaps(POINTS[:1], SIZE))


@pytest.mark.parametrize("radius", [0.5, 1, 2.5, 4])
def test_a_disc_holds_all_pixels_within_the_radius(radius):
    expected = loop(POINTS, lambda y, x, row, column: (row - y) ** 2 + (column - x) ** 2 <= radius**2)
    assert torch.equal(disc_heatmaps(POINTS, SIZE, radius), expected)


def slow_mask(joints: np.ndarray, size: tuple[int, int], radius: int) -> np.ndarray:
    """The same mask by a test of every pixel: inside a quadrilateral or a disc?"""
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


def test_the_mask_equals_a_test_of_every_pixel():
    random = np.random.default_rng(0)
    for _ in range(5):
        joints = random.integers(10, 54, (18, 2))
        joints[random.random(18) < 0.3] = -1
        difference = person_mask(joints, (64, 64)) ^ slow_mask(joints, (64, 64), 4)
        assert difference.mean() < 0.002  # pixels on an edge


def test_masks_of_few_joints():
    rows, columns = np.nonzero(person_mask(joints_of((0, 10, 12)), (24, 24)))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (7, 13, 9, 15)
    assert not person_mask(joints_of(), (8, 8)).any()
    # Two joints at one point have no limb between them.
    assert person_mask(joints_of((1, 4, 4), (2, 4, 4)), (8, 8)).any()


def test_joints_become_nan_where_missing():
    tensor = joints_to_tensor(joints_of((0, 3, 5)))
    assert tensor[0].tolist() == [3, 5]
    assert tensor[1:].isnan().all()
    assert tensor.dtype == torch.float32
