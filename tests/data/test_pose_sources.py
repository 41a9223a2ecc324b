import json

import numpy as np
import pytest
import torch
from PIL import Image

from twostream.data.pose_sources import fill_gaps, find_poses, load_presets
from twostream.data.videos import write_video

NETWORK = (64, 32)


class Estimator:
    """Finds a person whose nose is at the brightest pixel; nobody in a black image."""

    name, weights_hash = "stand-in", ""

    def __call__(self, images):
        joints = np.full((len(images), 18, 2), -1)
        for one, image in zip(joints, images[:, 0], strict=True):
            if image.max() > 100:
                one[0] = np.unravel_index(int(image.argmax()), image.shape)
        return joints


def photo(nose, size=(128, 64)):
    pixels = np.zeros((*size, 3), np.uint8)
    pixels[nose] = 255
    return pixels


def test_presets_are_in_the_frame_of_the_network():
    presets = load_presets(NETWORK)
    assert {"front", "back", "walk", "turn"} <= presets.keys()
    assert {name: len(poses) for name, poses in presets.items() if len(poses) > 1} == {
        "walk": 16,
        "wave": 12,
        "turn": 24,
    }
    (front,) = presets["front"]
    assert not np.isnan(front).any()
    assert ((front >= 0) & (front < NETWORK)).all()
    assert np.isnan(presets["back"][0][0]).all(), "the nose is hidden"
    poses = find_poses("walk", NETWORK)
    assert poses.in_network_frame
    assert list(poses.joints)[:2] == ["walk_0000", "walk_0001"]
    np.testing.assert_array_equal(poses.joints["walk_0003"], presets["walk"][3])


def test_a_file_comes_before_a_preset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    row = [5.0, 9.0, 1.0] * 17
    (tmp_path / "walk").mkdir()
    (tmp_path / "walk/b.json").write_text(json.dumps({"keypoints": row}))
    (tmp_path / "walk/a.json").write_text(json.dumps([{"keypoints": row}] * 2))
    poses = find_poses("walk", NETWORK)
    assert (list(poses.joints), poses.in_network_frame) == (["a_0000", "a_0001", "b"], False)
    np.testing.assert_array_equal(poses.joints["b"], np.tile([9.0, 5.0], (18, 1)))
    scaled = find_poses("walk", NETWORK, pose_size=(128, 64))
    assert scaled.in_network_frame
    np.testing.assert_allclose(scaled.joints["b"][0], [(9.5 / 2) - 0.5, (5.5 / 2) - 0.5], atol=1e-5)


def test_poses_are_estimated_in_photos_and_videos(tmp_path):
    (tmp_path / "photos").mkdir()
    Image.fromarray(photo((20, 30))).save(tmp_path / "photos/one.png")
    Image.fromarray(photo((40, 10))).save(tmp_path / "photos/two.png")
    one = find_poses(str(tmp_path / "photos/one.png"), NETWORK, Estimator())
    both = find_poses(str(tmp_path / "photos"), NETWORK, Estimator())
    assert list(both.joints) == ["one", "two"]
    np.testing.assert_allclose(one.joints["one"][0], [9.75, 14.75])
    np.testing.assert_array_equal(both.joints["one"], one.joints["one"])
    write_video(tmp_path / "dance.gif", [photo((20, 30)), photo((40, 10)), np.zeros((128, 64, 3), np.uint8)], 5)
    video = find_poses(str(tmp_path / "dance.gif"), NETWORK, Estimator())
    assert list(video.joints) == ["dance_0000", "dance_0001", "dance_0002"]
    np.testing.assert_allclose(video.joints["dance_0001"][0], [19.75, 4.75])
    assert np.isnan(video.joints["dance_0002"]).all()


def test_what_is_missing_is_named_in_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((64, 32, 3), np.uint8)).save("nobody.png")
    (tmp_path / "empty").mkdir()
    for source, estimator, message in (
        ("nobody.png", None, r"^pose_estimator: expected an estimator for the pose in nobody\.png, got none$"),
        ("nobody.png", Estimator(), r"^nobody\.png: expected a person, stand-in found none$"),
        ("empty", None, "^empty: expected a folder of JSON files or photos, got neither$"),
        ("wlak", None, r"^pose: expected a file, a folder or a preset \(front, .*walk, .*\), got 'wlak'$"),
    ):
        with pytest.raises(ValueError, match=message):
            find_poses(source, NETWORK, estimator)
    write_video(tmp_path / "nobody.gif", [np.zeros((64, 32, 3), np.uint8)] * 2, 5)
    with pytest.raises(ValueError, match=r"nobody\.gif: expected a person, stand-in found none in \d frames"):
        find_poses("nobody.gif", NETWORK, Estimator())


def test_short_gaps_are_interpolated():
    poses = np.full((8, 18, 2), np.nan)
    poses[[0, 3, 7], 4] = [[0, 0], [3, 6], [7, 6]]
    filled = fill_gaps(poses, max_gap=2)
    np.testing.assert_allclose(filled[:4, 4], [[0, 0], [1, 2], [2, 4], [3, 6]])
    assert np.isnan(filled[4:7, 4]).all(), "a gap of three"
    assert np.isnan(filled[:, 5]).all()
    np.testing.assert_allclose(fill_gaps(poses, 3)[5, 4], [5, 6])
    assert np.isnan(poses[1, 4]).all(), "the argument is not changed"
    assert torch.from_numpy(filled).isnan().sum() == 2 * (8 * 17 + 3)
