"""Joints and pairs that are made, and the report."""

import numpy as np
import pytest
from PIL import Image

from twostream.data.keypoints import write_annotations
from twostream.data.pairs import matching_pairs
from twostream.prepare import folder
from twostream.prepare.folder import differences_to_published, estimate_joints, make_pairs, report

ONES = np.ones((18, 2), dtype=int)
PUBLISHED = {"num_train_images": 2_936, "num_train_pairs": 63_632, "num_test_images": 732, "num_test_pairs": 12_000}


@pytest.fixture
def images(tmp_path):
    for value in (1, 2, 3):
        Image.new("RGB", (4, 4), (value, 0, 0)).save(tmp_path / f"{value}.png")
    return tmp_path


def test_joints_are_estimated_in_the_order_of_the_names(images, estimator):
    joints = estimate_joints(images, ["2.png", "1.png"], estimator, images / "a.csv", (8, 8))
    assert [(name, array[0].tolist()) for name, array in joints.items()] == [("2.png", [0, 2]), ("1.png", [0, 1])]


def test_estimation_resumes(images, estimator, monkeypatch):
    monkeypatch.setattr(folder, "IMAGES_PER_SAVE", 1)
    write_annotations(images / "a.csv", {"1.png": ONES * 7, "gone.png": ONES})
    names = ["1.png", "2.png", "3.png"]
    (images / "3.png").rename(images / "later.png")
    with pytest.raises(ValueError, match=r"3\.png: file not found"):
        estimate_joints(images, names, estimator, images / "a.csv", (8, 8))
    (images / "later.png").rename(images / "3.png")
    joints = estimate_joints(images, names, estimator, images / "a.csv", (8, 8))
    assert {name: array[0].tolist() for name, array in joints.items()} == {
        "1.png": [7, 7],
        "2.png": [0, 2],
        "3.png": [0, 3],
    }
    assert estimator.num_calls == 2


def identities(*counts):
    """`counts[i]` images of identity i + 1, all joints found."""
    return {f"{identity}_{i}.jpg": ONES for identity, count in enumerate(counts, start=1) for i in range(count)}


@pytest.mark.parametrize(
    ("num_drawn", "origin"),
    [
        (None, "rule: all ordered pairs of one identity with both shoulders and both hips found"),
        (6, "rule: all 6 pairs, not the published draw of 6"),
    ],
)
def test_all_pairs_of_the_rule_are_made_if_the_draw_is_not_smaller(num_drawn, origin):
    joints = identities(3, 1)
    assert make_pairs(joints, num_drawn, 0, "") == (matching_pairs(joints), origin)


def test_a_draw_depends_on_its_seed():
    drawn, origin = make_pairs(identities(5), 7, 1, "")
    assert origin == "drawn: 7 of the 20 pairs of the rule with seed 1, not the published draw"
    assert len(set(drawn)) == 7
    assert set(drawn) < set(matching_pairs(identities(5)))
    assert drawn == make_pairs(identities(5), 7, 1, "")[0]
    assert drawn != make_pairs(identities(5), 7, 2, "")[0]


def test_the_report_shows_published_counts_and_lists_differences():
    others = {f"num_{s}_{count}": 1234 for s in ("train", "test") for count in ("annotated", "joints", "torsos")}
    words = {"annotated_by": {"train": "file a.csv", "test": "b"}, "pairs": {"train": "rule", "test": "drawn"}}
    manifest = {"label": "Market-1501", "codec": "JPEG files as downloaded", "notes": ["n"], **words, **others}
    lines = report(manifest | PUBLISHED | {"differences": []}, PUBLISHED).splitlines()
    assert lines == [
        "Market-1501",
        "                               train   published        test   published",
        "images                         2,936       2,936         732         732",
        "annotated images               1,234                   1,234",
        "keypoints found                1,234                   1,234",
        "with shoulders and hips        1,234                   1,234",
        "pairs                         63,632      63,632      12,000      12,000",
        "files: JPEG files as downloaded",
        "train keypoints: file a.csv",
        "train pairs: rule",
        "test keypoints: b",
        "test pairs: drawn",
        "note: n",
        "counts of images and pairs: as published",
    ]
    counts = PUBLISHED | {"num_train_images": 2_937, "num_test_pairs": 0}
    differences = differences_to_published(others | counts, PUBLISHED)
    report_of_others = report(manifest | counts | {"differences": differences}, PUBLISHED)
    assert report_of_others.splitlines()[len(lines) - 1 :] == [
        "difference: train images: 2,937 here, 2,936 published (1 more)",
        "difference: test pairs: 0 here, 12,000 published (12,000 fewer)",
    ]
