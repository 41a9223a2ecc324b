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


def encoded(size):
    file = BytesIO()
    Image.new("RGB", size).save(file, "JPEG")
    return file.getvalue()


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


def test_images_are_copied(market):
    assert market.convert(encoded((64, 128))) == (encoded((64, 128)), "JPEG files as downloaded")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (encoded((128, 64)), "expected an image of height x width 128x64, got 64x128"),
        (encoded((64, 128))[:-300], "expected an image: "),
        (b"", "expected an image: "),
    ],
)
def test_damaged_images_and_other_sizes_are_refused(market, content, message):
    with pytest.raises(ValueError, match=message):
        market.convert(content)


def test_there_is_a_single_annotation_frame(market):
    joints = {NAME: np.zeros((18, 2), dtype=int)}
    assert market.to_frame(joints, None, Path("a.csv")) == (joints, None)
    with pytest.raises(ValueError, match="annotation_frame: expected null for Market-1501, got 256"):
        market.to_frame(joints, 256, Path("a.csv"))
