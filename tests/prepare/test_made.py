import numpy as np
import pytest
from PIL import Image

from twostream.data.keypoints import write_annotations
from twostream.prepare.made import estimate_joints, make_pairs

WHOLE = np.ones((18, 2), dtype=int)


class ReadsTheFirstPixel:
    """Finds all joints at (0, red of the first pixel)."""

    name = "pixel reader"
    weights_hash = "abc"

    def __init__(self):
        self.num_calls = 0

    def __call__(self, images):
        self.num_calls += len(images)
        red = images[:, 0, 0, 0].numpy().astype(int)
        return np.stack([np.tile([0, value], (18, 1)) for value in red])


@pytest.fixture
def pictures(tmp_path):
    for value in (1, 2, 3):
        Image.new("RGB", (4, 4), (value, 0, 0)).save(tmp_path / f"{value}.png")
    return tmp_path


def test_joints_are_estimated_in_the_order_of_the_names(pictures):
    joints = estimate_joints(pictures, ["2.png", "1.png"], ReadsTheFirstPixel(), pictures / "a.csv")
    assert {name: array[0].tolist() for name, array in joints.items()} == {"2.png": [0, 2], "1.png": [0, 1]}
    assert list(joints) == ["2.png", "1.png"]


def test_what_an_earlier_call_estimated_is_kept(pictures):
    write_annotations(pictures / "a.csv", {"1.png": WHOLE * 7, "gone.png": WHOLE})
    estimator = ReadsTheFirstPixel()
    joints = estimate_joints(pictures, ["1.png", "3.png"], estimator, pictures / "a.csv")
    assert {name: array[0].tolist() for name, array in joints.items()} == {"1.png": [7, 7], "3.png": [0, 3]}
    assert estimator.num_calls == 1


def test_a_call_that_is_stopped_leaves_what_it_saved(pictures, monkeypatch):
    monkeypatch.setattr("twostream.prepare.made.PICTURES_A_SAVE", 2)
    (pictures / "3.png").write_bytes(b"broken")
    with pytest.raises(OSError, match="cannot identify image file"):
        estimate_joints(pictures, ["1.png", "2.png", "3.png"], ReadsTheFirstPixel(), pictures / "a.csv")
    estimator = ReadsTheFirstPixel()
    Image.new("RGB", (4, 4), (3, 0, 0)).save(pictures / "3.png")
    assert len(estimate_joints(pictures, ["1.png", "2.png", "3.png"], estimator, pictures / "a.csv")) == 3
    assert estimator.num_calls == 1


def persons(*counts):
    """`counts[i]` pictures of person i + 1, all joints found."""
    return {f"{person}_{i}.jpg": WHOLE for person, count in enumerate(counts, start=1) for i in range(count)}


def test_all_pairs_of_the_rule():
    pairs, words = make_pairs(persons(3, 1), None, seed=0)
    assert len(pairs) == 6
    assert words == "rule: all ordered pairs of one identity with both shoulders and both hips found"


def test_a_draw_is_of_its_seed_and_keeps_the_rules_order():
    everything, _ = make_pairs(persons(5), None, seed=0)
    drawn, words = make_pairs(persons(5), 7, seed=1)
    assert words == "drawn: 7 of the 20 pairs of the rule with seed 1, not the published draw"
    assert len(set(drawn)) == 7
    assert drawn == [pair for pair in everything if pair in set(drawn)]
    assert drawn == make_pairs(persons(5), 7, seed=1)[0]
    assert drawn != make_pairs(persons(5), 7, seed=2)[0]


def test_fewer_pairs_than_the_draw_are_all_taken_and_said():
    pairs, words = make_pairs(persons(3), 6, seed=0)
    assert len(pairs) == 6
    assert words == "rule: all 6 pairs, not the published draw of 6"


def test_no_pair_at_all_is_refused():
    with pytest.raises(ValueError, match="expected two pictures of one person with both shoulders and both hips found"):
        make_pairs(persons(1, 1), None, seed=0)
