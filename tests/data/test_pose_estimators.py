import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from onnx import helper
from PIL import Image
from rtmlib.tools.pose_estimation.post_processings import convert_coco_to_openpose
from torchvision.models.detection import KeypointRCNN_ResNet50_FPN_Weights, keypointrcnn_resnet50_fpn

from onnx_models import constant, save_detector, save_onnx, save_rtmpose
from twostream.data import pose_estimators as estimators
from twostream.data.keypoints import ANY_FRAME, found, read_annotations
from twostream.data.pose_estimators import (
    KeypointRCNNEstimator,
    PoseEstimator,
    RTMPoseEstimator,
    annotate,
    coco_to_openpose,
    keypoint_rcnn,
)
from twostream.files import sha256_of
from twostream.weights import MissingWeightsError, WeightFile

COCO_NOSE, COCO_LEFT_SHOULDER, COCO_RIGHT_SHOULDER, COCO_LEFT_WRIST = 0, 5, 6, 9
NOSE, NECK, RIGHT_SHOULDER, LEFT_SHOULDER, LEFT_WRIST = 0, 1, 2, 5, 7
MISSING = [-1, -1]


def save_brightest(path, channel):
    """A model of 96x128 that finds every joint where a channel of its input is brightest."""
    nodes = [
        *(constant("channel", np.int64([channel])), constant("twice", np.float32([1, 1, 2]))),
        helper.make_node("Gather", ["input", "channel"], ["image"], axis=1),
    ]
    for name, length, other in (("simcc_x", 96, 2), ("simcc_y", 128, 3)):
        nodes += [
            constant(f"{name}_shape", np.array([1, 17, length])),
            helper.make_node("ReduceMax", ["image"], [f"{name}_max"], axes=[other], keepdims=0),
            helper.make_node("Expand", [f"{name}_max", f"{name}_shape"], [f"{name}_joints"]),
            helper.make_node("Resize", [f"{name}_joints", "", "twice"], [name], mode="nearest"),
        ]
    return save_onnx(path, [1, 3, 128, 96], nodes, {"simcc_x": [1, 17, 192], "simcc_y": [1, 17, 256]})


def black(height, width, count=1):
    return torch.zeros(count, 3, height, width, dtype=torch.uint8)


PEAKS = {COCO_NOSE: (24, 16), COCO_LEFT_SHOULDER: (32, 24), COCO_RIGHT_SHOULDER: (16, 24), COCO_LEFT_WRIST: (0, 24)}


@pytest.fixture
def pose_file(tmp_path):
    """A model of input 24x32 (width x height)."""
    return save_rtmpose(tmp_path / "pose.onnx", PEAKS)


def test_the_order_is_that_of_rtmlibs_own_conversion():
    random = np.random.default_rng(0)
    keypoints, scores = random.uniform(0, 99, (17, 2)), random.uniform(0, 1, 17)
    points, expected_scores = convert_coco_to_openpose(keypoints[None], scores[None])
    joints = coco_to_openpose(keypoints, scores, 0.3, (100, 100))
    is_found = expected_scores[0] >= 0.3
    assert 8 < is_found.sum() < 18
    assert (found(joints) == is_found).all()
    assert (joints[is_found] == np.rint(points[0][is_found])[:, ::-1]).all()


@pytest.mark.parametrize("unsure", [COCO_LEFT_SHOULDER, COCO_RIGHT_SHOULDER])
def test_the_neck_is_the_middle_of_two_found_shoulders(unsure):
    keypoints, scores = np.zeros((17, 2)), np.full(17, 0.5)
    keypoints[COCO_LEFT_SHOULDER], keypoints[COCO_RIGHT_SHOULDER] = (20, 31), (11, 36.2)
    assert coco_to_openpose(keypoints, scores, 0.5, (64, 32))[NECK].tolist() == [34, 16]
    scores[unsure] = 0.4
    assert coco_to_openpose(keypoints, scores, 0.5, (64, 32))[NECK].tolist() == MISSING


def test_a_joint_outside_the_image_is_not_found():
    keypoints = np.zeros((17, 2))
    keypoints[[0, 1, 2, 3, 4]] = [(-0.6, 5), (5, -0.6), (31.6, 5), (5, 63.6), (31.4, 63.4)]
    keypoints[COCO_LEFT_SHOULDER], keypoints[COCO_RIGHT_SHOULDER] = (-4, 10), (20, 10)
    joints = coco_to_openpose(keypoints, np.ones(17), 0.3, (64, 32))
    of_coco = {0: 0, 1: 15, 2: 14, 3: 17, 4: 16}
    assert [joints[of_coco[i]].tolist() for i in range(5)] == [MISSING] * 4 + [[63, 31]]
    assert joints[NECK].tolist() == MISSING
    assert joints[RIGHT_SHOULDER].tolist() == [10, 20]


def test_rtmpose_uses_the_frame_of_the_image_as_box(pose_file):
    estimator = RTMPoseEstimator(pose_file, device="cpu")
    joints = estimator(black(64, 48, count=2))
    # The box of 48x64, padded by 1.25, is 60x80 around (24, 32): a bin is 60 / 24 / 2 = 1.25 pixels along both axes,
    # and bin 0 is at (-6, -8).
    expected = {NOSE: [12, 24], LEFT_SHOULDER: [22, 34], RIGHT_SHOULDER: [22, 14], NECK: [22, 24]}
    for array in joints:
        assert {i: array[i].tolist() for i in np.flatnonzero(found(array))} == expected
    assert joints[0, LEFT_WRIST].tolist() == MISSING  # at x = -6
    assert isinstance(estimator, PoseEstimator)
    assert (estimator.name, estimator.weights_hash) == ("RTMPose", sha256_of(pose_file))
    assert not found(RTMPoseEstimator(pose_file, threshold=0.95, device="cpu")(black(64, 48))[0]).any()


def test_a_model_of_any_input_size_receives_rtmposes(tmp_path):
    path = save_rtmpose(tmp_path / "pose.onnx", {COCO_NOSE: (48, 64)}, (192, 256), [1, 3, "height", "width"])
    # 192x256 padded is 240x320: a bin is 0.625 pixels, and bin 0 is at (-24, -32).
    assert RTMPoseEstimator(path, device="cpu")(black(256, 192))[0, NOSE].tolist() == [8, 6]


@pytest.mark.parametrize(("height", "width", "y", "x"), [(64, 48, 50, 9), (64, 48, 3, 40), (40, 40, 20, 33)])
def test_rtmpose_receives_rgb_and_its_joints_are_mapped_back_to_the_image(tmp_path, height, width, y, x):
    estimator = RTMPoseEstimator(save_brightest(tmp_path / "pose.onnx", channel=2), device="cpu")
    image = black(height, width)
    image[:, 0, 30, 20] = 255
    assert not found(estimator(image)[0]).any()
    image[:, 2, y, x] = 255
    assert estimator(image)[0, NOSE].tolist() == [y, x]


def test_rtmpose_crops_to_the_largest_person_that_yolox_finds(pose_file, tmp_path):
    # Boxes (left, top, right, bottom, score) in the detector's 32x32, half the image's size.
    boxes = [(0, 0, 4, 4, 0.9), (4, 8, 16, 24, 0.6), (0, 0, 32, 32, 0.2)]
    detector = save_detector(tmp_path / "yolox.onnx", *boxes)
    estimator = RTMPoseEstimator(pose_file, detect=True, detector_weights=detector, device="cpu")
    # (8, 16) to (32, 48) padded is 30x40 around (20, 32): a bin is 0.625 pixels, and bin 0 is at (5, 12).
    for joints in estimator(black(64, 48, count=2)):
        assert joints[[NOSE, LEFT_SHOULDER, LEFT_WRIST]].tolist() == [[22, 20], [27, 25], [27, 5]]
    assert estimator.name == "YOLOX + RTMPose"


def test_without_a_person_there_are_no_joints(pose_file, tmp_path):
    detector = save_detector(tmp_path / "yolox.onnx", (0, 0, 32, 32, 0.2))
    estimator = RTMPoseEstimator(pose_file, detect=True, detector_weights=detector, device="cpu")
    assert (estimator(black(64, 48)) == -1).all()


def test_rtmlib_does_not_print_to_stdout(pose_file, capsys):
    RTMPoseEstimator(pose_file, device="cpu")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert f"load {pose_file} with onnxruntime backend" in printed.err


@pytest.fixture
def archive(pose_file, tmp_path, monkeypatch):
    """An archive in place of the published one, and an empty cache."""
    path = tmp_path / "published.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.write(pose_file, "20230504/rtmpose/end2end.onnx")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    published = replace(estimators.RTMPOSE, url=path.as_uri(), sha256=sha256_of(pose_file))
    monkeypatch.setattr(estimators, "RTMPOSE", published)
    return path


def test_the_published_file_is_downloaded_once_and_hashed(archive, pose_file):
    estimator = RTMPoseEstimator(device="cpu")
    assert estimator.weights_hash == sha256_of(pose_file)
    assert estimator(black(64, 48))[0, NOSE].tolist() == [12, 24]
    archive.unlink()
    assert RTMPoseEstimator(device="cpu").weights_hash == sha256_of(pose_file)


def test_a_published_file_of_another_hash_is_not_used(archive, pose_file, tmp_path, monkeypatch):
    monkeypatch.setattr(estimators, "RTMPOSE", replace(estimators.RTMPOSE, sha256="0" * 64))
    with pytest.raises(
        MissingWeightsError, match=r"\.onnx is missing and can't be downloaded \(expected .* got \w{64}\)"
    ):
        RTMPoseEstimator(device="cpu")
    assert not any(path.is_file() for path in (tmp_path / "cache").rglob("*"))


@pytest.mark.parametrize("key", ["pose_weights", "detector_weights"])
def test_a_given_file_that_is_missing(pose_file, tmp_path, key):
    files = {"pose_weights": pose_file, "detector_weights": pose_file, key: tmp_path / "nothere.onnx"}
    with pytest.raises(MissingWeightsError, match=rf"{key}: expected an \.onnx file, file not found: .*nothere\.onnx"):
        RTMPoseEstimator(**files, detect=True, device="cpu")


def test_a_model_of_another_kind_is_refused(pose_file, tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"broken")
    detector = save_detector(tmp_path / "yolox.onnx", (0, 0, 32, 32, 0.2))
    for path in (broken, detector):
        with pytest.raises(ValueError, match=rf"{path}: expected a model for rtmlib's RTMPose, got: .*"):
            RTMPoseEstimator(path, device="cpu")
    with pytest.raises(ValueError, match=r"pose\.onnx: expected a model for rtmlib's YOLOX"):
        RTMPoseEstimator(pose_file, detect=True, detector_weights=pose_file, device="cpu")
    hand = save_rtmpose(tmp_path / "hand.onnx", {}, num_joints=21)
    with pytest.raises(ValueError, match=r"hand\.onnx: expected a model of COCO's 17 joints, got one of 21"):
        RTMPoseEstimator(hand, device="cpu")


def test_weights_of_a_detector_that_is_off_are_refused(pose_file):
    with pytest.raises(ValueError, match="detector_weights: expected detect=true, got detect=false"):
        RTMPoseEstimator(pose_file, detector_weights=pose_file, device="cpu")


@pytest.mark.parametrize("package", ["rtmlib", "onnxruntime"])
def test_without_the_packages(pose_file, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r"pip install 'twostream\[pose\]'"):
        RTMPoseEstimator(pose_file)


def test_the_device_must_be_available_to_onnxruntime(pose_file, monkeypatch):
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    assert found(RTMPoseEstimator(pose_file, device="auto")(black(64, 48))[0])[NOSE]
    for device in ("cuda:0", "gpu"):
        with pytest.raises(
            ValueError, match=f"device: expected auto, cpu, or with onnxruntime-gpu cuda, got '{device}'"
        ):
            RTMPoseEstimator(pose_file, device=device)


class TinyRCNN(torch.nn.Module):
    """Returns its weights, and remembers its input."""

    def __init__(self, weights):
        super().__init__()
        for name, tensor in weights.items():
            self.register_buffer(name, torch.zeros_like(tensor))

    def forward(self, images):
        assert not self.training
        self.images = images
        return [dict(self.named_buffers())]


@pytest.fixture
def save_people(tmp_path, monkeypatch):
    """Replaces torchvision's model by a tiny one with this output."""

    def save(**output):
        path = tmp_path / "tiny.pth"
        torch.save(output, path)
        monkeypatch.setattr(estimators, "KEYPOINT_RCNN", WeightFile(path.name, "https://nowhere", sha256_of(path)))
        monkeypatch.setattr(estimators, "keypoint_rcnn", lambda: TinyRCNN(output))
        return tmp_path

    return save


@pytest.fixture
def two_people(save_people):
    """The second has the higher score: its nose is at the centre of pixel (y 7, x 4), its left wrist's is low."""
    keypoints = torch.full((2, 17, 3), 1.0)
    keypoints[1, :, :2] = torch.tensor([20.9, 30.9])
    keypoints[1, COCO_NOSE, :2] = torch.tensor([4.5, 7.5])
    scores = torch.full((2, 17), 5.0)
    scores[1, COCO_LEFT_WRIST] = 1.9
    return save_people(scores=torch.tensor([0.6, 0.8]), keypoints=keypoints, keypoints_scores=scores)


def test_keypoint_rcnn_uses_the_person_of_the_highest_score(two_people):
    estimator = KeypointRCNNEstimator(two_people, device="cpu")
    joints = estimator(torch.full((2, 3, 64, 48), 51, dtype=torch.uint8))
    assert joints.shape == (2, 18, 2)
    assert joints[1, [NOSE, NECK, LEFT_WRIST]].tolist() == [[7, 4], [30, 20], MISSING]
    (image,) = estimator._model.images
    torch.testing.assert_close(image, torch.full((3, 64, 48), 0.2))
    assert isinstance(estimator, PoseEstimator)
    assert estimator.weights_hash == sha256_of(two_people / "tiny.pth")


def test_keypoint_rcnn_takes_an_own_file_of_the_right_form(two_people):
    path = two_people / "tiny.pth"
    state = torch.load(path, weights_only=True)
    torch.save(state | {"scores": torch.tensor([0.9, 0.6])}, path)
    estimator = KeypointRCNNEstimator(two_people, device="cpu")
    assert (estimator.name, estimator.weights_hash) == ("Keypoint R-CNN (own file)", sha256_of(path))
    assert estimator(black(64, 48))[0, NOSE].tolist() == [0, 0]
    torch.save({"scores": state["scores"]}, path)
    with pytest.raises(ValueError, match=rf"^{path}: expected the weights of Keypoint R-CNN, these do not fit it$"):
        KeypointRCNNEstimator(two_people, device="cpu")


def test_keypoint_rcnn_omits_joints_and_people_below_the_thresholds(two_people):
    assert not found(KeypointRCNNEstimator(two_people, threshold=5.1, device="cpu")(black(64, 48))[0]).any()
    assert found(KeypointRCNNEstimator(two_people, person_threshold=0.79, device="cpu")(black(64, 48))[0]).any()
    assert (KeypointRCNNEstimator(two_people, person_threshold=0.81)(black(64, 48)) == -1).all()


def test_keypoint_rcnn_finds_nobody(save_people):
    people = {"scores": torch.zeros(0), "keypoints": torch.zeros(0, 17, 3), "keypoints_scores": torch.zeros(0, 17)}
    folder = save_people(**people)
    assert not found(KeypointRCNNEstimator(folder, device="cpu")(black(64, 48))[0]).any()


def test_keypoint_rcnn_without_weights_says_where_to_put_them(tmp_path):
    message = r"keypointrcnn_resnet50_fpn_coco-fc266e95\.pth is missing: put it into .*, from https://download\.pytorch"
    with pytest.raises(MissingWeightsError, match=message):
        KeypointRCNNEstimator(tmp_path, download=False)


def test_keypoint_rcnn_is_built_as_torchvision_does_for_its_weights(monkeypatch):
    ours = keypoint_rcnn()
    state = ours.state_dict()
    monkeypatch.setattr(KeypointRCNN_ResNet50_FPN_Weights, "get_state_dict", lambda *args, **kwargs: state)
    theirs = keypointrcnn_resnet50_fpn(weights=KeypointRCNN_ResNet50_FPN_Weights.COCO_V1)
    assert "eps=0.0" in repr(theirs)
    assert repr(ours) == repr(theirs)


@pytest.mark.slow
def test_keypoint_rcnn_runs(tmp_path, monkeypatch):
    path = tmp_path / "random.pth"
    torch.manual_seed(0)
    torch.save(keypoint_rcnn().state_dict(), path)
    monkeypatch.setattr(estimators, "KEYPOINT_RCNN", WeightFile(path.name, "https://nowhere", sha256_of(path)))
    estimator = KeypointRCNNEstimator(tmp_path, threshold=-1e9, person_threshold=0, device="cpu")
    path.unlink()
    joints = estimator(torch.randint(0, 256, (1, 3, 64, 48), dtype=torch.uint8))
    assert found(joints[0]).any()


class Corners:
    """Finds shoulders and hips at the last pixel of an image."""

    name = "corners"
    weights_hash = "0"

    def __call__(self, images):
        joints = np.full((len(images), 18, 2), -1)
        joints[:, [2, 5, 8, 11]] = images.shape[2] - 1, images.shape[3] - 1
        return joints


def test_a_folder_is_annotated_in_the_order_of_names(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the orientation: an image of 20x30 in the file is shown as 30x20
    Image.new("RGB", (20, 30)).save(tmp_path / "b.JPG", exif=exif)
    (tmp_path / "deeper").mkdir()
    for name in ("a.png", "deeper/c.png"):
        Image.new("RGB", (40, 50)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not an image")
    out = tmp_path / "new" / "annotation.csv"
    joints = annotate(tmp_path, Corners(), out)
    assert list(joints) == list(read_annotations(out, ANY_FRAME)) == ["a.png", "b.JPG"]
    assert all((array == joints[name]).all() for name, array in read_annotations(out, ANY_FRAME).items())
    assert joints["a.png"][[NOSE, RIGHT_SHOULDER]].tolist() == [MISSING, [49, 39]]
    assert joints["b.JPG"][RIGHT_SHOULDER].tolist() == [19, 29]


def test_unreadable_images_are_named_before_anything_is_estimated(tmp_path, monkeypatch):
    monkeypatch.setattr(Corners, "__call__", lambda *_: pytest.fail("estimated too early"))
    Image.new("RGB", (40, 50)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    (tmp_path / "c.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r": 2 of 3 images can't be used:\n.*b\.png: expected .*\n.*c\.jpg: expected"):
        annotate(tmp_path, Corners(), tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("name", ["12:30.png", " a.png", "a\nb.png"])
def test_a_name_that_the_file_format_excludes_is_refused(tmp_path, name):
    Image.new("RGB", (40, 50)).save(tmp_path / name)
    with pytest.raises(ValueError, match=r"expected names without ':', line breaks and spaces at either end, got \["):
        annotate(tmp_path, Corners(), tmp_path / "out.csv")


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"expected images \(.png, .jpg, .jpeg, .webp\), got none"):
        annotate(tmp_path, Corners(), tmp_path / "out.csv")
