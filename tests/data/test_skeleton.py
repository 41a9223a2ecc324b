from twostream.data.keypoints import FLIPPED, JOINT_NAMES, LIMBS, NUM_JOINTS


def other_side(name: str) -> str:
    side, _, part = name.partition(" ")
    return {"right": f"left {part}", "left": f"right {part}"}.get(side, name)


def test_flipping_swaps_left_and_right_by_name():
    assert [JOINT_NAMES[i] for i in FLIPPED] == [other_side(name) for name in JOINT_NAMES]


def test_flipping_twice_changes_nothing():
    assert [FLIPPED[i] for i in FLIPPED] == list(range(NUM_JOINTS))


def test_a_flipped_limb_is_a_limb():
    assert {frozenset(FLIPPED[i] for i in limb) for limb in LIMBS} == {frozenset(limb) for limb in LIMBS}
