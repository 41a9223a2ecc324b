import numpy as np
import torch
from PIL import Image, ImageColor

from twostream.data.visualize import (
    GAP,
    LINE_HEIGHT,
    POINT_COLOURS,
    View,
    correspondence_strip,
    paint_attention,
    points_of,
    stacked,
    warp_by_matches,
)
from twostream.types import ImagePair


def test_patches_move_to_where_they_match():
    image = torch.randint(0, 256, (3, 8, 12), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    assert torch.equal(warp_by_matches(image, torch.arange(6), (2, 3)), image)
    # The map is 2 x 3; all but the last position look at the patch in row 1, column 0.
    warped = warp_by_matches(image, torch.tensor([3, 3, 3, 3, 3, 2]), (2, 3))
    expected = image[:, 4:8, 0:4].repeat(1, 2, 3)
    expected[:, 4:8, 8:12] = image[:, 0:4, 8:12]
    assert torch.equal(warped, expected)


def test_points_are_joints_found_inside_the_image():
    joints = torch.full((18, 2), 3.0)
    assert points_of(joints, (32, 16)) == [0, 1, 4, 7, 9, 13]
    joints[0] = torch.nan
    joints[1] = torch.tensor([31.4, 15.4])
    joints[4] = torch.tensor([31.6, 3.0])
    joints[7] = torch.tensor([3.0, -0.6])
    assert points_of(joints, (32, 16)) == [1, 9, 13]


def test_colour_is_proportional_to_attention_up_to_saturation():
    grey = torch.full((3, 8, 128), 100, dtype=torch.uint8)
    # 64 positions: one with 32 times uniform attention, one with 8 times, the others without any.
    row = torch.zeros(64)
    row[0], row[1] = 32 / 64, 8 / 64
    painted = paint_attention(grey, row[None], ["#ff0000"], (2, 32))
    assert painted[:, 0, 0].tolist() == painted[:, 3, 3].tolist() == [50 + 0.8 * 205, 10, 10]
    assert painted[:, 0, 4].tolist() == [50 + 0.8 * 0.5 * 205, 30, 30]
    assert painted[:, 4, 0].tolist() == [50, 50, 50]


def pair_of(source_joints, target_joints):
    sources = torch.zeros(3, 32, 16, dtype=torch.uint8)
    targets = torch.full((3, 32, 16), 200, dtype=torch.uint8)
    return ImagePair(sources, source_joints, targets, target_joints)


def test_a_strip_marks_points_and_the_maximum_of_their_attention():
    missing = torch.full((18, 2), torch.nan)
    source_joints, target_joints = missing.clone(), missing.clone()
    source_joints[0], target_joints[0] = torch.tensor([20.0, 5.0]), torch.tensor([8.0, 10.0])
    attention = torch.zeros(1, 32)
    attention[0, 9] = 1  # row 2, column 1 of the 8 x 4 map: its centre is y 9.5, x 5.5
    matches = {"block_1": torch.arange(32), "warp": torch.zeros(32, dtype=torch.long)}
    views = {name: View(attention, found, (8, 4)) for name, found in matches.items()}
    generated = torch.full((3, 32, 16), 90, dtype=torch.uint8)
    strip = np.asarray(correspondence_strip(pair_of(source_joints, target_joints), generated, [0], views))
    # Two rows of four images, enlarged 6 times.
    cell, row = 16 * 6 + GAP, 32 * 6 + LINE_HEIGHT + GAP
    assert strip.shape == (2 * row, 4 * cell, 3)
    red = ImageColor.getrgb(POINT_COLOURS[0])

    def at(line, column, y, x):
        return tuple(strip[line * row + LINE_HEIGHT + round((y + 0.5) * 6), column * cell + round((x + 0.5) * 6)])

    assert at(0, 1, 8, 10) == red
    assert at(0, 1, 20, 5) == (200, 200, 200)
    for column in (2, 3):
        assert at(0, column, 9.5, 5.5) == red
        # The source is inside the ring.
        assert at(0, column, 20, 5) == (0, 0, 0)
        assert at(0, column, 20, 5 + 5 / 6) == red
    assert at(1, 0, 8, 10) == (90, 90, 90)
    assert at(1, 1, 8, 10) == (200, 200, 200)
    assert at(1, 2, 8, 10) == (0, 0, 0)


def test_a_pair_without_points_is_drawn_without_them():
    nowhere = torch.full((18, 2), torch.nan)
    view = View(torch.zeros(0, 32), torch.arange(32), (8, 4))
    generated = torch.zeros(3, 32, 16, dtype=torch.uint8)
    strip = correspondence_strip(pair_of(nowhere, nowhere), generated, [], {"block_1": view})
    assert strip.width == 3 * (16 * 6 + GAP)


def test_images_are_stacked_with_a_footnote():
    images = [Image.new("RGB", (10, 5), "red"), Image.new("RGB", (20, 7), "blue")]
    sheet = stacked(images)
    assert sheet.size == (20, 12)
    assert [sheet.getpixel(at) for at in ((5, 2), (15, 2), (15, 8))] == [(255, 0, 0), (255, 255, 255), (0, 0, 255)]
    noted = stacked(images, "note")
    assert noted.size == (20, 12 + LINE_HEIGHT)
    assert np.asarray(noted)[12:].min() < 128
