"""Pose estimators, and the annotation of a folder of photos."""

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torchvision.models.detection import KeypointRCNN, KeypointRCNN_ResNet50_FPN_Weights
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d
from tqdm import tqdm

from twostream.data.images import decode_images, read_image
from twostream.data.keypoints import MISSING, NUM_JOINTS, JointArray, write_annotations
from twostream.extras import require
from twostream.files import IMAGE_SUFFIXES, sha256_of
from twostream.weights import MissingWeightsError, WeightFile, WeightStore, display, load_state

NUM_COCO_JOINTS = 17
COCO_SHOULDERS = (5, 6)
# Index of each of the 18 joints among COCO's 17, followed by the neck, which COCO lacks.
COCO_INDEX = (0, NUM_COCO_JOINTS, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
NECK, RIGHT_SHOULDER, LEFT_SHOULDER = 1, 2, 5

KEYPOINT_RCNN = WeightFile(
    "keypointrcnn_resnet50_fpn_coco-fc266e95.pth", KeypointRCNN_ResNet50_FPN_Weights.COCO_V1.url, "fc266e95"
)
# OpenMMLab's exports. The digits in their names are those of the .pth files that they were made from.
ONNX_FOLDER = "https://download.openmmlab.com/mmpose/v1/projects/rtmposev1/onnx_sdk"
RTMPOSE = WeightFile(
    "rtmpose-m_simcc-body7_pt-body7_420e-256x192-e48f03d0_20230504.onnx",
    f"{ONNX_FOLDER}/rtmpose-m_simcc-body7_pt-body7_420e-256x192-e48f03d0_20230504.zip",
    "5c0a4bf67953e6d2ac43ce15e77dc9d5d354ae18430a47d2c5963a7bc5683e3c",
    member="end2end.onnx",
)
YOLOX = WeightFile(
    "yolox_m_8xb8-300e_humanart-c2c7a14a.onnx",
    f"{ONNX_FOLDER}/yolox_m_8xb8-300e_humanart-c2c7a14a.zip",
    "3dea6513388889f0fff4b77bf7a26013600321b9eb9ceb0e9a400a82572f5f23",
    member="end2end.onnx",
)


@runtime_checkable
class PoseEstimator(Protocol):
    """Finds the joints of one person in each image."""

    name: str  # of the method
    weights_hash: str  # SHA-256 of the weight file in hex

    def __call__(self, images: UInt8[Tensor, "b 3 h w"]) -> Int[np.ndarray, "b 18 2"]:
        """Return the joints of RGB images as (y, x) in pixels inside the image, (-1, -1) if not found."""


def coco_to_openpose(
    keypoints: Float[np.ndarray, "17 2"], scores: Float[np.ndarray, "17"], threshold: float, image_size: tuple[int, int]
) -> JointArray:
    """Convert COCO's 17 joints as (x, y) to OpenPose's 18 as (y, x), at the nearest pixel.

    The neck is the centre of the shoulders and found if both are. A joint is not found if its score is below
    `threshold` or if it is outside the image of `image_size` (height, width), where -1 would mean missing.
    """
    points = np.vstack([keypoints, keypoints[list(COCO_SHOULDERS)].mean(axis=0)])
    joints = np.rint(points[list(COCO_INDEX), ::-1]).astype(np.int64)
    is_confident = np.append(scores >= threshold, True)[list(COCO_INDEX)]
    is_found = is_confident & ((joints >= 0) & (joints < image_size)).all(axis=1)
    is_found[NECK] = is_found[RIGHT_SHOULDER] and is_found[LEFT_SHOULDER]
    return np.where(is_found[:, None], joints, MISSING)


class RTMPoseEstimator:
    """RTMPose-m (Jiang et al. 2023) through rtmlib and onnxruntime.

    rtmlib does not reorder channels: RTMPose was trained on RGB (`bgr_to_rgb=True` in mmpose's configs), YOLOX on
    OpenCV's BGR (no such key in mmdetection's), and each receives its own order.

    Args:
        pose_weights: an .onnx file of an RTMPose with COCO's 17 joints; None is the published one.
        detect: find people with YOLOX and use the largest box; without a person no joint is found. False uses the
            image's frame as box, for images that are cropped to a person.
        detector_weights: an .onnx file of YOLOX; None is the published one.
        weights_dir: folder of the published files, of any hash; None is torch.hub's folder of checkpoints.
        download: download the published files (50 and 94 MB) that are needed and missing.
        threshold: least score of a found joint: the mean of its peaks along x and y, about 0 to 1.
        device: auto, cpu, cuda or cuda:1; cuda needs onnxruntime-gpu.

    Raises:
        ImportError: rtmlib, onnxruntime or OpenCV is not installed.
        MissingWeightsError: a weight file is missing and can't be downloaded.
        ValueError: a file holds another model, a file in torch.hub's folder is not the published one, or onnxruntime
            does not have the device.
    """

    def __init__(
        self,
        pose_weights: str | Path | None = None,
        detect: bool = False,
        detector_weights: str | Path | None = None,
        weights_dir: str | Path | None = None,
        download: bool = True,
        threshold: float = 0.3,
        device: str = "auto",
    ) -> None:
        require("RTMPose needs", "pose", "rtmlib", "onnxruntime", "cv2")
        import onnxruntime
        import rtmlib

        if detector_weights is not None and not detect:
            raise ValueError("detector_weights: expected detect=true, got detect=false")
        device = _onnx_device(device, onnxruntime.get_available_providers())
        store = WeightStore(weights_dir, download)
        path = _onnx_file(pose_weights, RTMPOSE, store, "pose_weights")
        self.name = "YOLOX + RTMPose" if detect else "RTMPose"
        self.weights_hash = sha256_of(path)
        self._threshold = threshold
        self._pose, (keypoints, _) = _open_onnx(rtmlib.RTMPose, path, device, width_first=True)
        if keypoints.shape[1] != NUM_COCO_JOINTS:
            raise ValueError(f"{path}: expected a model of COCO's 17 joints, got one of {keypoints.shape[1]}")
        self._detector = None
        if detect:
            path = _onnx_file(detector_weights, YOLOX, store, "detector_weights")
            self._detector, _ = _open_onnx(rtmlib.YOLOX, path, device, width_first=False)

    def __call__(self, images: UInt8[Tensor, "b 3 h w"]) -> Int[np.ndarray, "b 18 2"]:
        """Return joints as `PoseEstimator` describes."""
        return np.stack([self._joints(image) for image in images.permute(0, 2, 3, 1).contiguous().cpu().numpy()])

    def _joints(self, rgb: UInt8[np.ndarray, "h w 3"]) -> JointArray:
        height, width = rgb.shape[:2]
        boxes = [(0, 0, width, height)]
        if self._detector is not None:
            boxes = self._detector(np.ascontiguousarray(rgb[:, :, ::-1]))
        # Without a box, rtmlib would use the image's frame.
        if len(boxes) == 0:
            return np.full((NUM_JOINTS, 2), MISSING)
        largest = max(boxes, key=lambda box: (box[2] - box[0]) * (box[3] - box[1]))
        keypoints, scores = self._pose(rgb, [largest])
        return coco_to_openpose(keypoints[0], scores[0], self._threshold, (height, width))


class KeypointRCNNEstimator:
    """Keypoint R-CNN (He et al. 2017) of torchvision, trained on COCO; uses the person of the highest score.

    Args:
        weights_dir: folder of torchvision's weight file, of any hash; None is torch.hub's folder of checkpoints.
        download: download the file (226 MB) if it is missing.
        threshold: least score of a found joint: the maximum of its heatmap before the softmax, which has no fixed
            range; Detectron draws joints above 2.
        person_threshold: least probability of the person's box, 0 to 1; below it no joint is found.
        device: auto, cpu, cuda or cuda:1.

    Raises:
        MissingWeightsError: the weight file is missing and can't be downloaded.
        ValueError: the weight file is not torchvision's.
    """

    name = "Keypoint R-CNN"

    def __init__(
        self,
        weights_dir: str | Path | None = None,
        download: bool = True,
        threshold: float = 2.0,
        person_threshold: float = 0.5,
        device: str = "auto",
    ) -> None:
        found = WeightStore(weights_dir, download).find(KEYPOINT_RCNN)
        self._threshold = threshold
        self._person_threshold = person_threshold
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self._device = torch.device(device)
        model = keypoint_rcnn()
        try:
            model.load_state_dict(load_state(found.path))
        except RuntimeError as error:
            raise ValueError(
                f"{display(found.path)}: expected the weights of {self.name}, these do not fit it"
            ) from error
        self.name, self.weights_hash = found.mark(self.name), found.sha256
        self._model = model.to(self._device).eval()

    @torch.inference_mode()
    def __call__(self, images: UInt8[Tensor, "b 3 h w"]) -> Int[np.ndarray, "b 18 2"]:
        """Return joints as `PoseEstimator` describes."""
        return np.stack([self._joints(image) for image in images])

    def _joints(self, image: UInt8[Tensor, "3 h w"]) -> JointArray:
        people = self._model([image.to(self._device).float() / 255])[0]
        if len(people["scores"]) == 0 or people["scores"].max() < self._person_threshold:
            return np.full((NUM_JOINTS, 2), MISSING)
        best = people["scores"].argmax()
        # torchvision's origin is the image's corner: the centre of the first pixel is at 0.5.
        keypoints = people["keypoints"][best, :, :2].cpu().numpy() - 0.5
        scores = people["keypoints_scores"][best].cpu().numpy()
        return coco_to_openpose(keypoints, scores, self._threshold, (image.shape[1], image.shape[2]))


def keypoint_rcnn() -> nn.Module:
    """Build torchvision's Keypoint R-CNN for its published weights, without downloading them."""
    # torchvision's constructor sets eps for these weights, but only together with the download.
    norm = partial(FrozenBatchNorm2d, eps=0.0)
    return KeypointRCNN(resnet_fpn_backbone(backbone_name="resnet50", weights=None, norm_layer=norm), num_classes=2)


def annotate(folder: Path, estimator: PoseEstimator, out: Path) -> dict[str, JointArray]:
    """Estimate the joints of every image (`IMAGE_SUFFIXES`) directly in `folder`, write them to `out` and return them.

    Images are in the order of their names, with their EXIF orientation applied. All are checked before the first
    estimate.

    Raises:
        ValueError: there is no image, images can't be used, or the annotation file can't hold a name.
    """
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise ValueError(f"{folder}: expected images ({', '.join(IMAGE_SUFFIXES)}), got none")
    unwritable = [path.name for path in paths if ":" in path.name or path.name.splitlines() != [path.name.strip()]]
    if unwritable:
        raise ValueError(
            f"{folder}: expected names without ':', line breaks and spaces at either end, got {unwritable}"
        )
    decode_images(paths)
    joints = {}
    for path in tqdm(paths, desc="Annotate", unit="image", disable=None):
        image = torch.from_numpy(read_image(path))
        joints[path.name] = estimator(image.permute(2, 0, 1)[None])[0]
    write_annotations(out, joints)
    return joints


def _onnx_device(name: str, providers: list[str]) -> str:
    has_cuda = "CUDAExecutionProvider" in providers
    if name == "auto":
        return "cuda" if has_cuda else "cpu"
    if name != "cpu" and not (has_cuda and name.startswith("cuda")):
        raise ValueError(f"device: expected auto, cpu, or with onnxruntime-gpu cuda, got {name!r}")
    return name


def _onnx_file(given: str | Path | None, published: WeightFile, store: WeightStore, key: str) -> Path:
    if given is None:
        return store.find(published).path
    if not Path(given).is_file():
        raise MissingWeightsError(f"{key}: expected an .onnx file, file not found: {given}")
    return Path(given)


def _open_onnx(tool: Callable[..., Any], path: Path, device: str, width_first: bool) -> tuple[Any, Any]:
    """Open an .onnx file as a model of rtmlib and return it with its output for a black image."""
    try:
        with redirect_stdout(sys.stderr):
            model = tool(str(path), device=device)
        size = tuple(model.session.get_inputs()[0].shape[2:])
        if all(isinstance(length, int) for length in size):
            model.model_input_size = size[::-1] if width_first else size
        return model, model(np.zeros((8, 8, 3), dtype=np.uint8))
    # onnxruntime and rtmlib raise errors of many kinds for other files.
    except Exception as error:
        raise ValueError(f"{path}: expected a model for rtmlib's {tool.__name__}, got: {error}") from error
