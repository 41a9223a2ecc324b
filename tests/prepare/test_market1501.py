import pytest

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
