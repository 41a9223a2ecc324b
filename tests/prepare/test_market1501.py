from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from twostream.data.images import read_image
from twostream.prepare.market1501 import Market1501

NAME = "0002_c1s1_000451_03.jpg"


@pytest.fixture
def market():
    return Market1501("Market-1501")


@pytest.mark.parametrize("top", ["", "Market-1501-v15.09.15/", "a/b/"])
def test_images_of_both_splits_are_found_in_any_folder(market, top):
    test = ["-1_c1s1_000401_03.jpg", "0000_c1s1_000151_01.jpg", "1488_c5s3_071862_01.jpg.jpg"]
    found = market.find_images(
        [f"{top}bounding_box_train/{NAME}", *(f"{top}bounding_box_test/{name}" for name in test)]
    )
    assert list(found) == [NAME, *test]
    assert market.split(found, {}) == {"train": [NAME], "test": test}


@pytest.mark.parametrize(
    "name",
    [
        f"query/{NAME}",
        f"x_bounding_box_train/{NAME}",
        f"bounding_box_train/deeper/{NAME}",
        "bounding_box_train/Thumbs.db",
        f"bounding_box_train/._{NAME}",
        f"bounding_box_train/{NAME}\n",
    ],
)
def test_other_files_are_ignored(market, name):
    assert market.find_images([name]) == {}


def test_two_copies_of_an_image_are_refused(market):
    with pytest.raises(ValueError, match=f"{NAME} exists twice: bounding_box_train/{NAME} and a/bounding"):
        market.find_images([f"bounding_box_train/{NAME}", f"a/bounding_box_train/{NAME}"])


def test_a_reduction_makes_means_of_squares_and_moves_joints_to_their_pixels(tmp_path):
    market = Market1501("Market-1501", reduction=2)
    assert (market.label, market.image_size) == ("Market-1501 at 64x32", (64, 32))
    pixels = np.random.default_rng(0).integers(0, 256, (16, 8, 3), np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    original = BytesIO()
    Image.fromarray(pixels).save(original, "PNG")
    content, how = market.convert(original.getvalue())
    assert how == "means of 2x2 pixels; JPEG of quality 95 without chroma subsampling"
    reduced = read_image(BytesIO(content), (64, 32)).astype(int)
    assert np.abs(reduced - pixels[::2, ::2]).max() < 25
    joints = np.full((18, 2), -1)
    joints[:3] = [[0, 1], [127, 63], [10, 21]]
    moved, frame = market.to_frame({NAME: joints}, None, tmp_path)
    assert frame is None
    assert moved[NAME][:3].tolist() == [[0, 0], [63, 31], [5, 10]]
    assert (moved[NAME][3:] == -1).all()


def test_an_image_of_another_size_or_reduction_is_refused():
    small = BytesIO()
    Image.new("RGB", (32, 64)).save(small, "PNG")
    with pytest.raises(ValueError, match="expected an image of height x width 128x64, got 64x32"):
        Market1501("Market-1501", reduction=2).convert(small.getvalue())
    with pytest.raises(ValueError, match="reduction: expected 1, 2, 4, got 3"):
        Market1501("Market-1501", reduction=3)
