"""Pose estimators, pictures -> the 18 joints, and the annotation of a folder of photos by one of them."""

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image, ImageOps
from torch import Tensor, nn
from torchvision.models.detection import KeypointRCNN, KeypointRCNN_ResNet50_FPN_Weights
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d
from tqdm import tqdm

from twostream.data.keypoints import MISSING, NUM_JOINTS, TORSO, JointArray, found, write_annotations
from twostream.files import IMAGE_SUFFIXES, sha256_of
from twostream.weights import MissingWeightsError, WeightFile, WeightStore, load_state

NUM_COCO_JOINTS = 17
COCO_SHOULDERS = (5, 6)
# Where each of the 18 joints stands among COCO's 17; the neck, which COCO lacks, is put after them.
COCO_INDEX = (0, NUM_COCO_JOINTS, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
NECK, RIGHT_SHOULDER, LEFT_SHOULDER = 1, 2, 5

KEYPOINT_RCNN = WeightFile(
    "keypointrcnn_resnet50_fpn_coco-fc266e95.pth", KeypointRCNN_ResNet50_FPN_Weights.COCO_V1.url, "fc266e95"
)


@runtime_checkable
class PoseEstimator(Protocol):
    """Finds one person's joints in each picture.

    Attributes:
        name: of the method.
        weights_hash: SHA-256 of its weight file.

    """

    name: str
    weights_hash: str

    def __call__(self, images: UInt8[Tensor, "b 3 h w"]) -> Int[np.ndarray, "b 18 2"]:
        """Return the joints of RGB pictures as (y, x) in pixels, inside the picture; (-1, -1) where not found."""


def coco_to_openpose(
    keypoints: Float[np.ndarray, "17 2"],
    scores: Float[np.ndarray, "17"],
    threshold: float,
    image_size: tuple[int, int],
) -> JointArray:
    """Turn COCO's 17 joints as (x, y) into the 18 of OpenPose's COCO order as (y, x), at the nearest pixel.

    The neck is the middle of the shoulders, found where both are. A joint counts as not found where its score is below
    `threshold`, or outside the picture of `image_size` (height, width): there a coordinate of -1 would read as missing.
    """
    points = np.vstack([keypoints, keypoints[list(COCO_SHOULDERS)].mean(axis=0)])
    joints = np.rint(points[list(COCO_INDEX), ::-1]).astype(np.int64)
    is_sure = np.append(scores >= threshold, True)[list(COCO_INDEX)]
    is_found = is_sure & ((joints >= 0) & (joints < image_size)).all(axis=1)
    is_found[NECK] = is_found[RIGHT_SHOULDER] and is_found[LEFT_SHOULDER]
    return np.where(is_found[:, None], joints, MISSING)


class RTMPoseEstimator:
    """RTMPose-m (Jiang et al. 2023) through rtmlib and onnxruntime.

    rtmlib passes the channels on as they come: RTMPose was trained on RGB (`bgr_to_rgb=True` in mmpose's configs),
    YOLOX on OpenCV's BGR (no such key in mmdetection's), and each gets its own.

    Args:
        pose_weights: an .onnx file of an RTMPose with COCO's 17 joints; None downloads that of rtmlib's balanced Body.
        detect: find people with YOLOX first and take the one of the largest box; where there is none, no joint is
            found. Without it the whole picture is the person's box, as pictures cropped to a person want it.
        detector_weights: an .onnx file of YOLOX; None downloads that of rtmlib's balanced Body.
        download: let rtmlib fetch a file that is not named, on its first use.
        threshold: least score of a found joint: the mean of its peaks along x and y, about 0 to 1.
        device: auto, cpu, cuda or cuda:1; cuda needs onnxruntime-gpu.

    Raises ImportError without rtmlib or onnxruntime, MissingWeightsError where a file can't be had, ValueError for a
    file that is no such model and for a device that onnxruntime does not have.

    """

    def __init__(
        self,
        pose_weights: str | Path | None = None,
        detect: bool = False,
        detector_weights: str | Path | None = None,
        download: bool = True,
        threshold: float = 0.3,
        device: str = "auto",
    ) -> None:
        try:
            import onnxruntime
            from rtmlib import YOLOX, Body, RTMPose
        except ImportError as error:
            raise ImportError("RTMPose needs rtmlib and onnxruntime: pip install twostream[pose]") from error
        if detector_weights is not None and not detect:
            raise ValueError("detector_weights: expected detect=true beside it, got detect=false")
        device = _onnx_device(device, onnxruntime.get_available_providers())
        published = Body.MODE["balanced"]
        path = _onnx_file(pose_weights, published["pose"], download, "pose_weights")
        self.name = "YOLOX + RTMPose" if detect else "RTMPose"
        self.weights_hash = sha256_of(path)
        self._threshold = threshold
        self._pose, (keypoints, _) = _open_onnx(RTMPose, path, device, width_first=True)
        if keypoints.shape[1] != NUM_COCO_JOINTS:
            raise ValueError(f"{path}: expected a model of COCO's 17 joints, got one of {keypoints.shape[1]}")
        self._detector = None
        if detect:
            path = _onnx_file(detector_weights, published["det"], download, "detector_weights")
            self._detector, _ = _open_onnx(YOLOX, path, device, width_first=False)

    def __call__(self, images: UInt8[Tensor, "b 3 h w"]) -> Int[np.ndarray, "b 18 2"]:
        """Return the joints of RGB pictures, as `PoseEstimator` says."""
        pictures = images.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        return np.stack([self._joints(picture) for picture in pictures])

    def _joints(self, rgb: UInt8[np.ndarray, "h w 3"]) -> JointArray:
        height, width = rgb.shape[:2]
        boxes = (
            [(0, 0, width, height)] if self._detector is None else self._detector(np.ascontiguousarray(rgb[:, :, ::-1]))
        )
        # Given no box, rtmlib would take the whole picture.
        if len(boxes) == 0:
            return _no_joints()
        largest = max(boxes, key=lambda box: (box[2] - box[0]) * (box[3] - box[1]))
        keypoints, scores = self._pose(rgb, [largest])
        return coco_to_openpose(keypoints[0], scores[0], self._threshold, (height, width))


class KeypointRCNNEstimator:
    """Keypoint R-CNN (He et al. 2017) of torchvision, trained on COCO; takes the person of the highest score.

    Args:
        weights_dir: holds torchvision's file of weights; None is torch.hub's own folder of checkpoints.
        download: fetch the file (226 MB) where it is not there.
        threshold: least score of a found joint, the height of its heatmap before the softmax, which has no fixed range;
            2 is what Detectron draws from.
        person_threshold: least probability of the person's box, 0 to 1; below it no joint is found.
        device: auto, cpu, cuda or cuda:1.

    Raises MissingWeightsError where the file can't be had, ValueError for a wrong one.

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
        path = WeightStore(None if weights_dir is None else Path(weights_dir), download).find(KEYPOINT_RCNN)
        self.weights_hash = sha256_of(path)
        self._threshold = threshold
        self._person_threshold = person_threshold
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self._device = torch.device(device)
        model = keypoint_rcnn()
        model.load_state_dict(load_state(path))
        self._model = model.to(self._device).eval()

    @torch.inference_mode()
    def __call__(self, images: UInt8[Tensor, "b 3 h w"]) -> Int[np.ndarray, "b 18 2"]:
        """Return the joints of RGB pictures, as `PoseEstimator` says."""
        return np.stack([self._joints(image) for image in images])

    def _joints(self, image: UInt8[Tensor, "3 h w"]) -> JointArray:
        people = self._model([image.to(self._device).float() / 255])[0]
        if len(people["scores"]) == 0 or people["scores"].max() < self._person_threshold:
            return _no_joints()
        best = people["scores"].argmax()
        # torchvision counts from the picture's corner, where the middle of the first pixel is at 0.5.
        keypoints = people["keypoints"][best, :, :2].cpu().numpy() - 0.5
        scores = people["keypoints_scores"][best].cpu().numpy()
        return coco_to_openpose(keypoints, scores, self._threshold, (image.shape[1], image.shape[2]))


def keypoint_rcnn() -> nn.Module:
    """Build torchvision's Keypoint R-CNN as it is for its published weights, without fetching any."""
    model = KeypointRCNN(resnet_fpn_backbone(backbone_name="resnet50", weights=None), num_classes=2)
    # torchvision's own constructor does so for these weights, but only while it downloads them.
    for module in model.modules():
        if isinstance(module, FrozenBatchNorm2d):
            module.eps = 0.0
    return model


@dataclass(frozen=True)
class AnnotationReport:
    """What the annotation of a folder found; `num_torsos` counts the pictures with both shoulders and both hips."""

    num_images: int
    num_found_joints: int
    num_torsos: int


def annotate(folder: Path, estimator: PoseEstimator, out: Path) -> AnnotationReport:
    """Write the joints of every picture (jpg, jpeg, png) directly in `folder` to `out`, in the field's format.

    The pictures come in the order of their names, turned as their EXIF says. Raises ValueError where there is no
    picture, and naming all that are unreadable or whose name the format can't hold, before anything is estimated.
    """
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise ValueError(f"{folder}: expected pictures ({', '.join(IMAGE_SUFFIXES)}), there are none")
    unwritable = [path.name for path in paths if ":" in path.name or path.name.splitlines() != [path.name.strip()]]
    if unwritable:
        raise ValueError(f"{folder}: expected names without ':', line breaks and spaces at an end, got {unwritable}")
    unreadable = []
    for path in paths:
        try:
            _read_picture(path)
        except ValueError as error:
            unreadable.append(str(error))
    if unreadable:
        raise ValueError(f"{folder}: {len(unreadable)} of {len(paths)} pictures can't be read: {'; '.join(unreadable)}")
    bar = tqdm(paths, desc="Annotate", unit="image", disable=None)
    joints = {path.name: estimator(_read_picture(path))[0] for path in bar}
    write_annotations(out, joints)
    are_found = np.stack([found(array) for array in joints.values()])
    return AnnotationReport(len(paths), int(are_found.sum()), int(are_found[:, list(TORSO)].all(axis=1).sum()))


def _read_picture(path: Path) -> UInt8[Tensor, "1 3 h w"]:
    try:
        with Image.open(path) as file:
            picture = np.array(ImageOps.exif_transpose(file).convert("RGB"))
    # Pillow's decoders raise errors of many kinds on a broken file.
    except Exception as error:
        raise ValueError(f"{path.name} ({error})") from error
    return torch.from_numpy(picture).permute(2, 0, 1)[None]


def _no_joints() -> JointArray:
    return np.full((NUM_JOINTS, 2), MISSING)


def _onnx_device(name: str, providers: list[str]) -> str:
    has_cuda = "CUDAExecutionProvider" in providers
    if name == "auto":
        return "cuda" if has_cuda else "cpu"
    if name != "cpu" and not (has_cuda and name.startswith("cuda")):
        raise ValueError(f"device: expected auto, cpu, or with onnxruntime-gpu cuda, got {name!r}")
    return name


def _onnx_file(given: str | Path | None, url: str, download: bool, key: str) -> Path:
    """Return the given file, or rtmlib's own copy of `url`, fetched on its first use."""
    from rtmlib.tools.file import download_checkpoint

    if given is not None:
        if not Path(given).is_file():
            raise MissingWeightsError(f"{key}: expected an .onnx file, there is none at {given}; rtmlib's own is {url}")
        return Path(given)
    if not download:
        raise MissingWeightsError(f"{key}: expected an .onnx file, none is named; rtmlib's own is {url}")
    try:
        return Path(download_checkpoint(url))
    # rtmlib lets through what the network, the disk and the archive raise.
    except Exception as error:
        name = url.rpartition("/")[2]
        raise MissingWeightsError(
            f"{name} can't be downloaded ({error}): fetch {url} and name the .onnx file in it with {key}"
        ) from error


def _open_onnx(tool: Callable[..., Any], path: Path, device: str, width_first: bool) -> tuple[Any, Any]:
    """Open an .onnx file as one of rtmlib's models and try it on a black picture; return the model and its answer."""
    try:
        with redirect_stdout(sys.stderr):
            model = tool(str(path), device=device)
        size = tuple(model.session.get_inputs()[0].shape[2:])
        if all(isinstance(length, int) for length in size):
            model.model_input_size = size[::-1] if width_first else size
        return model, model(np.zeros((8, 8, 3), dtype=np.uint8))
    # onnxruntime and rtmlib raise errors of many kinds on a foreign file.
    except Exception as error:
        raise ValueError(f"{path}: expected a model that rtmlib runs as its {tool.__name__}, got: {error}") from error
