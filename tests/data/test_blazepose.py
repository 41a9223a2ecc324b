import sys

import numpy as np
import pytest
import torch

from tflite_models import save_constant, save_landmarks
from twostream.data.blazepose import BlazePoseEstimator, to_canvas
from twostream.data.keypoints import JOINT_NAMES, found
from twostream.data.pose_estimators import PoseEstimator
from twostream.files import sha256_of
from twostream.weights import MissingWeightsError

# MediaPipe's names of the 33 landmarks of the body, in their order.
SIDED = ["shoulder", "elbow", "wrist", "pinky", "index", "thumb", "hip", "knee", "ankle", "heel", "foot_index"]
LANDMARKS = [
    *("nose", "left eye inner", "left eye", "left eye outer", "right eye inner", "right eye", "right eye outer"),
    *("left ear", "right ear", "mouth left", "mouth right"),
    *(f"{side} {name}" for name in SIDED for side in ("left", "right")),
]
MISSING = [-1, -1]


@pytest.fixture
def landmarks():
    """Different positions for all landmarks, all of them visible: (x, y, z, logit of visibility, logit of presence)."""
    array = np.zeros((39, 5))
    array[:, 0], array[:, 1], array[:, 3:] = 100 + np.arange(39), 60 + 3 * np.arange(39), 9
    return array


@pytest.fixture
def estimate(tmp_path, landmarks):
    """Returns the joints of a black image by a network that finds the landmarks, with changes to single ones."""

    def estimate(height, width, person=1.0, options=None, **changes):
        array = landmarks.copy()
        for name, values in changes.items():
            array[LANDMARKS.index(name.replace("_", " "))] = values
        model = save_landmarks(tmp_path / "tiny.tflite", array, person)
        image = torch.zeros(1, 3, height, width, dtype=torch.uint8)
        return BlazePoseEstimator(model, **options or {})(image)[0]

    return estimate


def test_each_joint_is_the_landmark_of_its_name(estimate, landmarks):
    joints = estimate(256, 256, options={"threshold": 0.0})
    by_name = {name: landmarks[i, 1::-1] for i, name in enumerate(LANDMARKS)}
    by_name["neck"] = (by_name["left shoulder"] + by_name["right shoulder"]) / 2
    # The image's side of 256 is 208 on the canvas, with margins of 24.
    expected = {name: np.rint((by_name[name] - 24) * 256 / 208 - 0.5).tolist() for name in JOINT_NAMES}
    assert dict(zip(JOINT_NAMES, joints.tolist(), strict=True)) == expected


@pytest.mark.parametrize(
    ("size", "x", "y", "expected"),
    [
        # 128x64 is scaled by 1.625 to 208x104; its corner is at (24, 76) on the canvas.
        ((128, 64), 75, 24 + 1.625 * 20.5, MISSING),
        ((128, 64), 76 + 1.625 * 10.5, 24 + 1.625 * 20.5, [20, 10]),
        ((128, 64), 76 + 1.625 * 63.4, 24 + 1.625 * 127.4, [127, 63]),
        ((128, 64), 76 + 1.625 * 64.1, 24 + 1.625 * 20.5, MISSING),
        # 832x416 is scaled by 1/4 to the same frame, 104x208 lies on its side.
        ((832, 416), 76 + 10.1, 24 + 20.1, [80, 40]),
        ((104, 208), 24 + 10.5, 76 + 20.5, [20, 10]),
    ],
)
def test_joints_are_mapped_back_from_the_canvas(estimate, size, x, y, expected):
    assert estimate(*size, nose=(x, y, 0, 9, 9))[0].tolist() == expected


@pytest.mark.parametrize(("height", "width", "top", "left"), [(128, 64, 24, 76), (52, 104, 76, 24), (300, 300, 24, 24)])
def test_the_image_is_scaled_to_208_pixels_on_a_black_canvas(height, width, top, left):
    image = torch.full((3, height, width), 51, dtype=torch.uint8)
    image[2] = 255
    canvas, frame = to_canvas(image)
    assert canvas.dtype == np.float32
    assert (frame.top, frame.left, max(frame.height, frame.width)) == (top, left, 208)
    inside = np.zeros((1, 256, 256, 1), dtype=bool)
    inside[:, top : 256 - top, left : 256 - left] = True
    np.testing.assert_allclose(canvas, np.where(inside, [0.2, 0.2, 1], 0), atol=1e-6)


def test_the_network_receives_the_canvas_of_each_image(tmp_path, landmarks):
    estimator = BlazePoseEstimator(save_landmarks(tmp_path / "tiny.tflite", landmarks))
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 3, 64, 48), dtype=torch.uint8, generator=random)
    received = []
    invoke = estimator._interpreter.invoke
    estimator._interpreter.invoke = lambda: received.append(estimator._interpreter.get_tensor(0)) or invoke()
    assert estimator(images).shape == (2, 18, 2)
    np.testing.assert_array_equal(received, [to_canvas(image)[0] for image in images])


def test_joints_of_low_visibility_or_presence_are_not_found(estimate):
    logit = np.log(0.4 / 0.6)
    unsure = {"nose": (128, 128, 0, logit, 9), "left_wrist": (128, 128, 0, 9, logit)}
    unsure["right_shoulder"] = (128, 128, 0, -9, -9)
    joints = estimate(256, 256, **unsure)
    assert [JOINT_NAMES[i] for i in np.flatnonzero(~found(joints))] == ["nose", "neck", "right shoulder", "left wrist"]
    joints = estimate(256, 256, options={"threshold": 0.39}, **unsure)
    assert [JOINT_NAMES[i] for i in np.flatnonzero(~found(joints))] == ["neck", "right shoulder"]


def test_without_a_person_there_are_no_joints(estimate):
    assert (estimate(256, 256, person=0.4) == -1).all()
    assert found(estimate(256, 256, person=0.4, options={"person_threshold": 0.3})).all()


def test_it_is_a_pose_estimator_with_the_hash_of_its_file(tmp_path, landmarks):
    path = save_landmarks(tmp_path / "tiny.tflite", landmarks)
    estimator = BlazePoseEstimator(path)
    assert isinstance(estimator, PoseEstimator)
    assert (estimator.name, estimator.weights_hash) == ("BlazePose", sha256_of(path))


@pytest.mark.parametrize(("name", "got"), [(None, "got none"), ("nothere.tflite", "file not found: nothere.tflite")])
def test_a_file_is_required_and_the_message_says_where_to_get_it(name, got):
    where = r".*pose_landmark_full\.tflite in .* mediapipe 0\.10\.21$"
    message = rf"pose_estimator\.model: expected a \.tflite file, {got}; {where}"
    with pytest.raises(MissingWeightsError, match=message):
        BlazePoseEstimator(name)


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "other.tflite"
    path.write_bytes(b"no model")
    with pytest.raises(ValueError, match=r"other\.tflite: expected MediaPipe's pose landmark network, got: \S"):
        BlazePoseEstimator(path)
    save_constant(path, (1, 256, 256, 3), np.zeros((1, 195)))
    with pytest.raises(ValueError, match=r"landmark network, got: no tensor of shape \(1, 1\)$"):
        BlazePoseEstimator(path)


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    with pytest.raises(ImportError, match=r"pip install 'twostream\[blazepose\]'"):
        BlazePoseEstimator()
