"""Photos of one's own people, in a folder for each, as the data folder that training reads."""

import numpy as np
import pytest
from PIL import Image

from twostream.data.dataset import read_split
from twostream.data.images import read_image
from twostream.data.keypoints import JointFrame, read_annotations
from twostream.files import read_json
from twostream.prepare.own import OwnPhotos, prepare_own

SIZE = (64, 32)
PRESET = OwnPhotos("own photos", SIZE)


class Estimator:
    """Finds an upright person where an image is white: its head at the top, its ankles at the bottom."""

    name, weights_hash = "stand-in", "0" * 64

    def __init__(self):
        self.calls = 0

    def __call__(self, images):
        self.calls += 1
        (image,) = images
        joints = np.full((1, 18, 2), -1)
        rows, columns = np.nonzero(image[0].numpy() > 200)
        if len(rows):
            top, height, left, width = rows.min(), np.ptp(rows), columns.min(), np.ptp(columns)
            for joint in range(18):
                y = {0: 0, 1: 0.15, 10: 1, 13: 1}.get(joint, 0.4)
                joints[0, joint] = top + y * height, left + width * (0.3 if joint % 2 else 0.7)
        return joints


def photo(path, size=(120, 100), box=(40, 100, 45, 60)):
    """Write a photo with a white figure in the box top, bottom, left, right; without one if it is None."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((*size, 3), 60, np.uint8)
    if box is not None:
        top, bottom, left, right = box
        pixels[top:bottom, left:right] = 255
    Image.fromarray(pixels).save(path)


@pytest.fixture
def photos(tmp_path):
    for person in ("anna", "ben", "carla", "dev_2", "emil"):
        for number in range(3):
            suffix = "webp" if number == 2 else "png"
            photo(tmp_path / "photos" / person / f"IMG {number}.{suffix}", box=(20 + 5 * number, 100, 30, 50))
    photo(tmp_path / "photos/anna/empty.png", box=None)
    (tmp_path / "photos/anna/notes.txt").write_text("not a photo")
    photo(tmp_path / "photos/alone/only.png")
    return tmp_path / "photos"


def prepare(photos, tmp_path, **options):
    return prepare_own(OwnPhotos("own photos", SIZE, **options), photos, Estimator(), {}, tmp_path / "own")


def test_a_folder_per_person_becomes_a_data_folder(photos, tmp_path):
    manifest = prepare(photos, tmp_path)
    assert manifest["people"] == {"0001": "anna", "0002": "ben", "0003": "carla", "0004": "dev_2", "0005": "emil"}
    assert manifest["notes"] == ["anna/empty.png: no person found, left out"]
    assert (manifest["num_train_images"], manifest["num_test_images"]) == (12, 3)
    assert (manifest["num_train_pairs"], manifest["num_test_pairs"]) == (4 * 6, 6)
    people = {}
    for split in ("train", "test"):
        joints, pairs = read_split(tmp_path / "own", split, SIZE)
        people[split] = {name.split("_")[0] for pair in pairs for name in pair}
        for name, array in joints.items():
            image = read_image(tmp_path / "own" / split / name, SIZE)
            # The figure fills the frame from its head to its feet, and the joints are on it.
            assert 0.7 * SIZE[0] < array[10, 0] - array[0, 0] < 0.9 * SIZE[0]
            assert all(image[tuple(joint)].min() > 150 for joint in array[[1, 2, 5, 8, 11]])
    assert not people["train"] & people["test"]
    assert len(people["test"]) == 1


def test_an_interrupted_preparation_resumes(photos, tmp_path, monkeypatch):
    prepare(photos, tmp_path)
    expected = read_json(tmp_path / "own/manifest.json")
    (tmp_path / "own").rename(tmp_path / "whole")
    monkeypatch.setattr("twostream.prepare.own.IMAGES_PER_SAVE", 4)

    class Stops(Estimator):
        def __call__(self, images):
            if self.calls == 9:
                raise KeyboardInterrupt
            return super().__call__(images)

    with pytest.raises(KeyboardInterrupt):
        prepare_own(PRESET, photos, Stops(), {}, tmp_path / "own")
    again = Estimator()
    manifest = prepare_own(PRESET, photos, again, {}, tmp_path / "own")
    assert again.calls == 16 - 8
    assert manifest["data_hash"] == expected["data_hash"]
    finished = Estimator()
    assert prepare_own(PRESET, photos, finished, {}, tmp_path / "own") == manifest
    assert finished.calls == 0
    assert read_annotations(tmp_path / "own/annotation-test.csv", JointFrame(None, SIZE[1]))


def test_other_photos_settings_and_files_are_refused(photos, tmp_path):
    prepare(photos, tmp_path)
    with pytest.raises(ValueError, match=r"own: was prepared with other settings .*test_fraction: 0\.2 on disk, 0\.5"):
        prepare(photos, tmp_path, test_fraction=0.5)
    (image, *_) = (tmp_path / "own/train").iterdir()
    image.write_bytes(b"changed")
    with pytest.raises(ValueError, match="own: has changed since it was prepared"):
        prepare(photos, tmp_path)
    photo(photos / "anna/one more.png")
    with pytest.raises(ValueError, match=r"own: was prepared with other settings \(photos"):
        prepare(photos, tmp_path)
    with pytest.raises(ValueError, match="photos: expected a new folder, got one with other files"):
        prepare_own(PRESET, photos, Estimator(), {}, photos)


def test_too_few_people_and_no_pairs_are_refused(photos, tmp_path):
    for person in ("carla", "dev_2", "emil"):
        (photos / person).rename(tmp_path / person)
    with pytest.raises(
        ValueError, match="photos: expected folders of at least 3 people with two photos or more, got 2"
    ):
        prepare(photos, tmp_path)
    with pytest.raises(
        ValueError, match="source: expected a folder with a folder of photos for each person, folder not"
    ):
        prepare(photos / "nowhere", tmp_path)
    for person in ("one", "two", "three"):
        for number in range(2):
            photo(tmp_path / f"nobody/{person}/{number}.png", box=None if number else (40, 100, 45, 60))
    with pytest.raises(
        ValueError, match="train: expected two images of one identity with both shoulders and both hips"
    ):
        prepare(tmp_path / "nobody", tmp_path)
    with pytest.raises(ValueError, match=r"preparation\.test_fraction: expected more than 0 and less than 1, got 1"):
        OwnPhotos("own photos", SIZE, test_fraction=1)
