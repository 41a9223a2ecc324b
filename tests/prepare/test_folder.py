"""Joints and pairs that are made, and the report."""

import numpy as np
import pytest
from PIL import Image

from twostream.data.keypoints import write_annotations
from twostream.prepare import folder
from twostream.prepare.folder import estimate_joints, make_pairs, report

ONES = np.ones((18, 2), dtype=int)
PUBLISHED = {"num_train_images": 2_936, "num_train_pairs": 63_632, "num_test_images": 732, "num_test_pairs": 12_000}


class FirstPixelReader:
    """A pose estimator that finds all joints at (0, red of the first pixel)."""

    name = "pixel reader"
    weights_hash = "abc"

    def __init__(self):
        self.num_calls = 0

    def __call__(self, images):
        self.num_calls += len(images)
        red = images[:, 0, 0, 0].numpy().astype(int)
        return np.stack([np.tile([0, value], (18, 1)) for value in red])


@pytest.fixture
def images(tmp_path):
    for value in (1, 2, 3):
        Image.new("RGB", (4, 4), (value, 0, 0)).save(tmp_path / f"{value}.png")
    return tmp_path


def test_joints_are_estimated_in_the_order_of_the_names(images):
    joints = estimate_joints(images, ["2.png", "1.png"], FirstPixelReader(), images / "a.csv")
    assert [(name, array[0].tolist()) for name, array in joints.items()] == [("2.png", [0, 2]), ("1.png", [0, 1])]


def test_estimation_resumes(images, monkeypatch):
    write_annotations(images / "a.csv", {"1.png": ONES * 7, "gone.png": ONES})
    monkeypatch.setattr(folder, "IMAGES_PER_SAVE", 1)
    content = (images / "3.png").read_bytes()
    (images / "3.png").write_bytes(b"broken")
    names = ["1.png", "2.png", "3.png"]
    with pytest.raises(ValueError, match=r"3\.png: expected an image"):
        estimate_joints(images, names, FirstPixelReader(), images / "a.csv")
    (images / "3.png").write_bytes(content)
    estimator = FirstPixelReader()
    joints = estimate_joints(images, names, estimator, images / "a.csv")
    assert {name: array[0].tolist() for name, array in joints.items()} == {
        "1.png": [7, 7],
        "2.png": [0, 2],
        "3.png": [0, 3],
    }
    assert estimator.num_calls == 1


def identities(*counts):
    """`counts[i]` images of identity i + 1, all joints found."""
    return {f"{identity}_{i}.jpg": ONES for identity, count in enumerate(counts, start=1) for i in range(count)}


def test_all_pairs_of_the_rule_are_made():
    pairs, origin = make_pairs(identities(3, 1), None, 0, "")
    assert len(pairs) == 6
    assert origin == "rule: all ordered pairs of one identity with both shoulders and both hips found"


def test_a_draw_depends_on_its_seed_and_keeps_the_order():
    all_pairs, _ = make_pairs(identities(5), None, 0, "")
    drawn, origin = make_pairs(identities(5), 7, 1, "")
    assert origin == "drawn: 7 of the 20 pairs of the rule with seed 1, not the published draw"
    assert len(set(drawn)) == 7
    assert drawn == [pair for pair in all_pairs if pair in set(drawn)]
    assert drawn == make_pairs(identities(5), 7, 1, "")[0]
    assert drawn != make_pairs(identities(5), 7, 2, "")[0]


def test_fewer_pairs_than_the_draw_are_all_kept():
    pairs, origin = make_pairs(identities(3), 6, 0, "")
    assert len(pairs) == 6
    assert origin == "rule: all 6 pairs, not the published draw of 6"


def test_joints_without_any_pair_are_refused():
    with pytest.raises(ValueError, match=r"a\.csv: expected two images of one identity with both shoulders"):
        make_pairs(identities(1, 1), None, 0, "a.csv")


@pytest.fixture
def manifest():
    others = {f"num_{s}_{count}": 1234 for s in ("train", "test") for count in ("annotated", "joints", "torsos")}
    words = {"annotated_by": {"train": "file a.csv", "test": "b"}, "pairs": {"train": "rule", "test": "drawn"}}
    return {"label": "Market-1501", "codec": "JPEG files as downloaded", "notes": ["n"], **words, **others, **PUBLISHED}


def test_the_report_shows_published_counts(manifest):
    assert report(manifest, PUBLISHED).splitlines() == [
        "Market-1501",
        "                               train   published        test   published",
        "images                         2,936       2,936         732         732",
        "annotated images               1,234                   1,234",
        "joints found                   1,234                   1,234",
        "with shoulders and hips        1,234                   1,234",
        "pairs                         63,632      63,632      12,000      12,000",
        "files: JPEG files as downloaded",
        "train joints: file a.csv",
        "train pairs: rule",
        "test joints: b",
        "test pairs: drawn",
        "note: n",
        "counts of images and pairs: as published",
    ]


def test_the_report_lists_differences(manifest):
    lines = report({**manifest, "num_train_images": 2_937, "num_test_pairs": 0}, PUBLISHED).splitlines()
    assert lines[-2:] == [
        "difference: train images: 2,937 here, 2,936 published (1 more)",
        "difference: test pairs: 0 here, 12,000 published (12,000 fewer)",
    ]
