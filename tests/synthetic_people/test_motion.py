import json
from pathlib import Path

import numpy as np
import pytest

import twostream
from synthetic_people.clothes import sample_outfit
from synthetic_people.motion import IMAGE_SIZE, PRESETS, SHAPE, presets, sequence_joints, turning, walking
from synthetic_people.raycast import render_view, sample_light
from twostream.data.frame import ANKLES
from twostream.data.keypoints import FLIPPED

NOSE, NECK, RIGHT_ANKLE, LEFT_ANKLE = 0, 1, *ANKLES


@pytest.fixture(scope="module")
def stored():
    return json.loads((Path(twostream.__file__).parent / "data/presets.json").read_text())


def test_the_stored_presets_are_those_of_the_code(stored):
    assert stored == json.loads(json.dumps(presets()))


def test_a_preset_shows_a_whole_person_in_the_frame(stored):
    for name, poses in stored["poses"].items():
        for joints in np.array(poses):
            found = (joints != -1).all(axis=1)
            assert found[[NECK]].all(), name
            assert found[[8, 9, 10]].any(), name
            assert found[[11, 12, 13]].any(), name
            assert ((joints[found] >= 0) & (joints[found] < IMAGE_SIZE)).all()
            # From the head to the feet at least half the frame, less if the person bends.
            assert np.ptp(joints[found][:, 0]) > (0.5 if name != "bend" else 0.45) * IMAGE_SIZE[0]


def test_joints_are_those_of_the_rendered_view():
    rng = np.random.default_rng(0)
    outfit, _ = sample_outfit(rng, SHAPE)
    joints, views = sequence_joints(PRESETS["wave"][:2], (64, 32))
    for found, (figure, camera) in zip(joints, views, strict=True):
        view = render_view(figure, outfit, camera, sample_light(rng), np.zeros((64, 32, 3), np.float32))
        np.testing.assert_array_equal(found, view.joints)


def test_a_turn_shows_the_face_in_front_and_keeps_the_size():
    joints, _ = sequence_joints(turning(8))
    assert [bool((one[NOSE] != -1).all()) for one in joints] == [True, True, True, False, False, False, True, True]
    heights = [one[[RIGHT_ANKLE, LEFT_ANKLE], 0].max() - one[NECK, 0] for one in joints]
    assert np.ptp(heights) <= 0.04 * np.mean(heights)
    assert {int(one[NECK, 1]) for one in joints} <= {63, 64}


def test_a_walk_of_two_equal_steps():
    joints, _ = sequence_joints(walking(8, 0))
    for early, late in zip(joints[:4], joints[4:], strict=True):
        # Half a cycle later it is the other leg's turn: the mirror image of the legs.
        mirrored = late[list(FLIPPED)][8:14]
        mirrored[:, 1] = IMAGE_SIZE[1] - 1 - mirrored[:, 1]
        both = (mirrored != -1).all(axis=1) & (early[8:14] != -1).all(axis=1)
        assert both.sum() >= 3
        assert np.abs(mirrored - early[8:14])[both].max() <= 3
