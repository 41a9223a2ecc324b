from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from twostream.prepare.market1501 import Market1501

NAME = "0002_c1s1_000451_03.jpg"


@pytest.fixture
def market():
    return Market1501("Market-1501")


def picture(size):
    file = BytesIO()
    Image.new("RGB", size).save(file, "JPEG")
    return file.getvalue()


@pytest.mark.parametrize("top", ["", "Market-1501-v15.09.15/", "a/b/"])
def test_pictures_of_the_two_halves_are_found_in_any_wrapping(market, top):
    test = ["-1_c1s1_000401_03.jpg", "0000_c1s1_000151_01.jpg", "1488_c5s3_071862_01.jpg.jpg"]
    names = [f"{top}bounding_box_train/{NAME}", *(f"{top}bounding_box_test/{name}" for name in test)]
    found = market.find(names)
    assert list(found) == [NAME, *test]
    assert market.split(found, {}).names == {"train": [NAME], "test": test}


@pytest.mark.parametrize(
    "name",
    [
        f"query/{NAME}",
        f"gt_bbox/{NAME}",
        f"x_bounding_box_train/{NAME}",
        f"bounding_box_train/deeper/{NAME}",
        "bounding_box_train/Thumbs.db",
        f"bounding_box_train/._{NAME}",
        f"bounding_box_train/{NAME}\n",
    ],
)
def test_all_else_is_ignored(market, name):
    assert market.find([name]) == {}


def test_two_copies_of_a_picture_are_refused(market):
    with pytest.raises(ValueError, match=f"{NAME} is there twice: bounding_box_train/{NAME} and a/bounding"):
        market.find([f"bounding_box_train/{NAME}", f"a/bounding_box_train/{NAME}"])


def test_pictures_stay_as_they_are(market):
    assert market.convert(picture((64, 128))) == picture((64, 128))
    assert market.codec(picture((64, 128))) == "JPEG files as downloaded"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (picture((128, 64)), r"expected 64x128 \(width x height\), got 128x64"),
        (picture((64, 128))[:-300], "the picture can't be read"),
        (b"", "the picture can't be read"),
    ],
)
def test_pictures_of_another_size_and_damaged_ones_are_refused(market, content, message):
    with pytest.raises(ValueError, match=message):
        market.convert(content)


def test_there_is_but_one_frame(market):
    joints = {NAME: np.zeros((18, 2), dtype=int)}
    assert market.to_frame(joints, None, Path("a.csv")) == (joints, None)
    with pytest.raises(ValueError, match="annotation_frame: expected null for Market-1501, got 256"):
        market.to_frame(joints, 256, Path("a.csv"))
