import json

import numpy as np
import pytest

from twostream.data.keypoints import JOINT_NAMES, write_annotations
from twostream.data.pose_estimators import COCO_INDEX
from twostream.data.pose_files import read_poses


def write(path, content):
    path.write_text(json.dumps(content))
    return path


def flat(rows):
    return [float(number) for row in rows for number in row]


def body(count, score=0.9):
    """Joint k at x = k, y = 100 + k."""
    return [(k, 100 + k, score) for k in range(count)]


def test_rows_of_an_annotation_file_are_read_by_name(tmp_path):
    joints = np.arange(36).reshape(18, 2) + 1
    joints[4] = -1
    write_annotations(tmp_path / "a.csv", {"one.jpg": joints})
    poses = read_poses(tmp_path / "a.csv")
    assert list(poses) == ["one.jpg"]
    assert np.isnan(poses["one.jpg"][4]).all()
    np.testing.assert_array_equal(np.delete(poses["one.jpg"], 4, 0), np.delete(joints, 4, 0))


def test_openpose_joints_are_y_and_x_of_the_person_with_the_highest_scores(tmp_path):
    rows = body(18)
    rows[3] = (0, 0, 0)
    people = [{"pose_keypoints_2d": flat(body(18, 0.2))}, {"pose_keypoints_2d": flat(rows)}]
    (pose,) = read_poses(write(tmp_path / "frame.json", {"people": people})).values()
    assert np.isnan(pose[3]).all()
    np.testing.assert_array_equal(np.delete(pose, 3, 0), [(100 + k, k) for k in range(18) if k != 3])


def test_body_25_has_a_hip_centre_in_between(tmp_path):
    (pose,) = read_poses(write(tmp_path / "a.json", {"people": [{"pose_keypoints_2d": flat(body(25))}]})).values()
    assert pose[:, 1].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18]


@pytest.mark.parametrize("wrap", [lambda e: e, lambda e: [e], lambda e: {"annotations": [e]}])
def test_cocos_joints_are_reordered_and_the_neck_is_between_the_shoulders(tmp_path, wrap):
    poses = read_poses(write(tmp_path / "a.json", wrap({"keypoints": flat(body(17, 2))})))
    assert list(poses) == ["a"]
    neck = JOINT_NAMES.index("neck")
    assert poses["a"][neck].tolist() == [105.5, 5.5]
    others = [k for k in range(18) if k != neck]
    assert poses["a"][others, 1].tolist() == [COCO_INDEX[k] for k in others]


def test_a_file_of_several_poses_numbers_them(tmp_path):
    entries = [{"keypoints": flat(body(17, 2))}, {"keypoints": flat(body(17, 0))}]
    poses = read_poses(write(tmp_path / "walk.json", entries))
    assert list(poses) == ["walk_0000", "walk_0001"]
    assert np.isnan(poses["walk_0001"]).all()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "", "expected an annotation file"),
        ("a.json", "{", "expected JSON"),
        ("a.json", "[]", "expected `people` of OpenPose, or `annotations` or `keypoints` of COCO"),
        ("a.json", "3", "expected `people` of OpenPose"),
        ("a.json", '{"people": []}', "people: expected at least one person, got none"),
        (
            "a.json",
            '{"people": [{"pose_keypoints_2d": [1, 2, 3]}]}',
            "expected 54 or 75 finite .* got 3 values",
        ),
        ("a.json", '{"people": [4]}', "pose_keypoints_2d: expected .* got none"),
        ("a.json", '{"keypoints": ["a"]}', "keypoints: expected 51 finite numbers"),
        ("a.json", json.dumps({"keypoints": [1e999] * 51}), "expected JSON, got: Infinity, which is no finite number"),
        ("a.json", f'{{"keypoints": [{", ".join(["1e999"] * 51)}]}}', "expected JSON, got: 1e999, which is no finite"),
        ("a.json", json.dumps({"keypoints": [True] * 51}), "keypoints: expected 51 finite numbers"),
    ],
)
def test_another_content_is_refused_in_one_line_with_the_file(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=f"{name}: .*{message}") as error:
        read_poses(tmp_path / name)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"none.json: file not found"):
        read_poses(tmp_path / "none.json")
