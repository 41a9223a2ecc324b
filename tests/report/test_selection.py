import numpy as np
import pytest

from twostream.report.selection import RULES, Selection, num_occluded, pose_change, select

NAMES = [f"{i:04d}_c1.jpg" for i in range(6)]
PAIRS = [(NAMES[0], name) for name in NAMES[1:]] + [(NAMES[1], NAMES[5])]


def joints_of(index: int) -> np.ndarray:
    """Joints on a line that grows with the index, of which the last ones are missing."""
    joints = np.stack([np.arange(18) * index, np.zeros(18)], axis=1).astype(np.int64) + 1
    joints[18 - index :] = -1
    return joints


JOINTS = {name: joints_of(index) for index, name in enumerate(NAMES)}


def chosen(rule, count=2, scores=None, **arguments):
    return select(Selection(rule=rule, count=count, **arguments), PAIRS, JOINTS, scores)


def test_every_takes_pairs_at_equal_distances():
    assert chosen("every", 3) == PAIRS[::2]
    assert chosen("every", 99) == PAIRS


def test_random_depends_on_its_seed_alone():
    draws = [chosen("random", 3, seed=seed) for seed in (0, 0, 1, 2, 3)]
    assert draws[0] == draws[1]
    assert len({tuple(draw) for draw in draws}) > 1


def test_pose_change_ignores_where_a_person_stands():
    one = joints_of(1)
    assert pose_change(one, np.where(one == -1, -1, one + 5)) == 0
    assert pose_change(one, np.full((18, 2), -1)) == 0
    # Joints k and 3 k, of which 15 are found in both.
    expected = np.abs(2 * (np.arange(15) - 7)).mean()
    assert pose_change(one, joints_of(3)) == pytest.approx(expected)


def test_occlusion_counts_the_joints_that_only_the_target_shows():
    assert num_occluded(joints_of(4), joints_of(1)) == 3
    assert num_occluded(joints_of(1), joints_of(4)) == 0


def test_rankings_show_a_target_once(tmp_path):
    assert chosen("pose_change") == [(NAMES[0], NAMES[5]), (NAMES[0], NAMES[4])]
    scores = tmp_path / "scores.csv"
    rows = [f"x.png,{source},{target},{index / 10}" for index, (source, target) in enumerate(PAIRS)]
    scores.write_text("\n".join(["image,source,target,ssim/standard", *rows]))
    assert chosen("best", scores=scores) == [(NAMES[1], NAMES[5]), (NAMES[0], NAMES[4])]
    assert chosen("worst", scores=scores) == PAIRS[:2]
    with pytest.raises(ValueError, match=r"scores.csv: pairs.metric: expected one of ssim/standard, got lpips$"):
        chosen("best", scores=scores, metric="lpips")
    with pytest.raises(ValueError, match="expected the scores of a run, file not found"):
        chosen("worst", scores=tmp_path / "none.csv")


def test_every_rule_has_a_text():
    assert [Selection(rule, metric="lpips/standard").sign for rule in ("best", "worst")] == [-1, 1]
    assert Selection("best", 2, metric="lpips/standard").text.startswith("the 2 test targets of the lowest LPIPS")
    assert Selection("best", 2).text == "the 2 test targets of the highest SSIM (standard) of the first method"
    assert all(str(Selection(rule=rule, count=7).text).find("7") >= 0 for rule in RULES)


@pytest.mark.parametrize(("arguments", "message"), [({"rule": "nicest"}, "one of every, random"), ({"count": 0}, "1")])
def test_a_wrong_selection_is_refused(arguments, message):
    with pytest.raises(ValueError, match=f"expected .*{message}"):
        Selection(**arguments)
