import numpy as np
import pytest
import torch
from PIL import Image

from twostream.data.frame import Frame

NETWORK = (64, 32)


def person(top, height, centre):
    """Joints of an upright person: the nose at `top`, the ankles `height` below."""
    joints = torch.full((18, 2), float("nan"))
    joints[0] = torch.tensor([top, centre])
    joints[1] = torch.tensor([top + 0.15 * height, centre])
    joints[10] = torch.tensor([top + height, centre - 0.1 * height])
    joints[13] = torch.tensor([top + height, centre + 0.1 * height])
    return joints


def test_a_small_person_is_cropped_and_fills_the_frame():
    joints = person(200, 100, 70)
    frame = Frame((400, 300), NETWORK, joints)
    inside = frame.joints_to_network(joints[None])[0]
    tall = (inside[10, 0] - inside[0, 0]).item()
    assert 0.75 * NETWORK[0] < tall < 0.85 * NETWORK[0]
    assert abs((inside[0, 1] + 0.5).item() - NETWORK[1] / 2) < 1
    np.testing.assert_allclose(frame.joints_from_network(inside[None])[0], joints, atol=1e-4)


def test_the_result_is_put_back_in_the_place_of_the_crop():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (400, 300, 3), np.uint8))
    frame = Frame((400, 300), NETWORK, person(200, 100, 70))
    result = np.array(frame.from_network(torch.full((3, *NETWORK), 7, dtype=torch.uint8), image))
    inner, outer = (np.zeros((400, 300), bool) for _ in range(2))
    (top, left), (rows, columns) = frame.start, frame.part
    assert (rows, columns) == (124, 62)
    outer[top : top + rows, left : left + columns] = True
    inner[top + 3 : top + rows - 3, left + 3 : left + columns - 3] = True
    assert (result[inner] == 7).all()
    np.testing.assert_array_equal(result[~outer], np.array(image)[~outer])


@pytest.mark.parametrize("centre", [70, 4])
def test_a_crop_is_blended_linearly_where_the_image_goes_on(centre):
    image = Image.new("RGB", (300, 400), (200, 200, 200))
    frame = Frame((400, 300), NETWORK, person(200, 100, centre))
    result = np.array(frame.from_network(torch.zeros(3, *NETWORK, dtype=torch.uint8), image))[..., 0]
    (top, left), (rows, columns) = frame.start, frame.part
    middle = result[top + rows // 2, max(0, left - 1) : left + columns + 1].tolist()
    assert middle[-5:] == [0, 50, 100, 150, 200]
    assert middle[:5] == ([200, 150, 100, 50, 0] if centre == 70 else [0] * 5), "the image ends there"
    assert result[top - 1 : top + 4, left + columns // 2].tolist() == [200, 150, 100, 50, 0]


@pytest.mark.parametrize(("y", "x"), [(240, 130), (240, 10), (150, 70), (150, 40)])
def test_a_hand_beyond_a_wrist_is_replaced_with_the_person(y, x):
    """Nothing of a hand, a tenth of the person's height long, stays at the border of the crop."""
    joints = person(200, 100, 70)
    joints[4] = torch.tensor([y, x])
    inside = Frame((400, 300), NETWORK, joints)
    image = Image.new("RGB", (300, 400), (200, 200, 200))
    result = np.array(inside.from_network(torch.zeros(3, *NETWORK, dtype=torch.uint8), image))[..., 0]
    assert result[y - 8 : y + 9, x - 8 : x + 9].max() == 0


def test_a_crop_at_the_border_is_padded_by_the_edge():
    image = Image.new("RGB", (300, 400), (10, 200, 30))
    joints = person(295, 90, 4)
    frame = Frame((400, 300), NETWORK, joints)
    network = frame.to_network(image)
    assert network.shape == (1, 3, *NETWORK)
    assert (network[0, 1] == 200).all()
    assert frame.offset[1] > 0
    inside = frame.joints_to_network(joints[None])[0]
    assert abs((inside[0, 1] + 0.5).item() - NETWORK[1] / 2) < 1
    assert frame.from_network(network[0], image).getcolors() == [(300 * 400, (10, 200, 30))]


@pytest.mark.parametrize(
    "joints",
    [
        None,
        person(15, 375, 150),  # large already
        torch.full((18, 2), float("nan")),
        person(200, 100, 70).index_fill(0, torch.tensor([10, 13]), float("nan")),  # no feet
        person(200, 100, 70).index_fill(0, torch.tensor([0]), float("nan")),  # no head
    ],
)
def test_another_image_is_seen_whole(joints):
    frame = Frame((400, 300), NETWORK, joints)
    assert (frame.start, frame.part) == ((0, 0), (400, 300))
    assert frame.size == (43, 32)


def test_a_crop_contains_all_frames_of_a_video():
    moving = torch.stack([person(200, 100, 70), person(190, 100, 90)])
    inside = Frame((400, 300), NETWORK, moving).joints_to_network(moving)
    found = inside[~inside.isnan().any(dim=2)]
    assert ((found >= 0) & (found < torch.tensor(NETWORK))).all()


def test_pixels_follow_their_joints():
    """A white square at a joint is where the joint is in the network's frame."""
    pixels = np.zeros((400, 300, 3), np.uint8)
    joints = person(200, 100, 70)
    y, x = joints[13].int().tolist()
    pixels[y - 2 : y + 3, x - 2 : x + 3] = 255
    frame = Frame((400, 300), NETWORK, joints)
    network = frame.to_network(Image.fromarray(pixels))[0, 0].float()
    grid = torch.stack(torch.meshgrid(torch.arange(64.0), torch.arange(32.0), indexing="ij"), dim=-1)
    centre = (grid * network[..., None]).sum(dim=(0, 1)) / network.sum()
    torch.testing.assert_close(centre, frame.joints_to_network(joints[None])[0, 13], atol=0.3, rtol=0)
