"""BlazePose (Bazarevsky et al. 2020): the landmark network of MediaPipe's pose pipeline, through LiteRT."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from scipy.special import expit
from torch import Tensor

from twostream.data.keypoints import MISSING, NUM_JOINTS, JointArray
from twostream.data.pose_estimators import coco_to_openpose
from twostream.extras import require
from twostream.files import sha256_of
from twostream.weights import MissingWeightsError, display

CANVAS = 256  # height and width of the network's input in pixels
LONGER_SIDE = 208  # of an image on the canvas in pixels; the network expects a margin around the person
# Index of each of COCO's 17 joints among the network's 39 landmarks.
COCO_LANDMARKS = (0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)
INPUT_SHAPE = (1, CANVAS, CANVAS, 3)
LANDMARKS_SHAPE = (1, 39 * 5)  # x, y and z in pixels of the canvas, logits of visibility and presence
PERSON_SHAPE = (1, 1)  # probability of a person
SOURCE = "mediapipe/modules/pose_landmark/pose_landmark_full.tflite in the wheel mediapipe 0.10.21"


class Frame(NamedTuple):
    """The rectangle that an image fills on the canvas, in pixels of the canvas."""

    top: int
    left: int
    height: int
    width: int


class BlazePoseEstimator:
    """BlazePose without MediaPipe's detector, for images that are cropped to a person. Runs on one CPU thread.

    Args:
        model: the .tflite file, required; nothing is downloaded.
        threshold: least visibility and least presence of a found joint, probabilities.
        person_threshold: least probability of a person, 0 to 1; below it no joint is found.

    Raises:
        ImportError: ai-edge-litert is not installed.
        MissingWeightsError: no file is named, or it is missing.
        ValueError: the file holds another model.
    """

    name = "BlazePose"

    def __init__(self, model: str | Path | None = None, threshold: float = 0.5, person_threshold: float = 0.5) -> None:
        require("BlazePose needs", "blazepose", "ai_edge_litert")
        from ai_edge_litert.interpreter import Interpreter

        if model is None or not Path(model).is_file():
            got = "got none" if model is None else f"file not found: {model}"
            raise MissingWeightsError(f"pose_estimator.model: expected a .tflite file, {got}; MediaPipe's is {SOURCE}")
        self.weights_hash = sha256_of(Path(model))
        self._threshold = threshold
        self._person_threshold = person_threshold
        try:
            self._interpreter = Interpreter(model_path=str(model), num_threads=1)
            self._interpreter.allocate_tensors()
            inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
            indices = {tuple(map(int, tensor["shape"])): tensor["index"] for tensor in [*inputs, *outputs]}
            self._input, self._landmarks, self._person = (
                indices[shape] for shape in (INPUT_SHAPE, LANDMARKS_SHAPE, PERSON_SHAPE)
            )
        except (ValueError, RuntimeError, KeyError) as error:
            reason = f"no tensor of shape {error}" if isinstance(error, KeyError) else error
            raise ValueError(
                f"{display(Path(model))}: expected MediaPipe's pose landmark network, got: {reason}"
            ) from error

    def __call__(self, images: UInt8[Tensor, "b 3 h w"]) -> Int[np.ndarray, "b 18 2"]:
        """Return joints as `PoseEstimator` describes."""
        return np.stack([self._joints(image) for image in images.cpu()])

    def _joints(self, image: UInt8[Tensor, "3 h w"]) -> JointArray:
        canvas, frame = to_canvas(image)
        self._interpreter.set_tensor(self._input, canvas)
        self._interpreter.invoke()
        if self._interpreter.get_tensor(self._person).item() < self._person_threshold:
            return np.full((NUM_JOINTS, 2), MISSING)
        landmarks = self._interpreter.get_tensor(self._landmarks).reshape(-1, 5)[list(COCO_LANDMARKS)]
        height, width = image.shape[1:]
        # The canvas' origin is its corner: the centre of the first pixel is at 0.5.
        scale = (width / frame.width, height / frame.height)
        keypoints = (landmarks[:, :2] - (frame.left, frame.top)) * scale - 0.5
        scores = expit(landmarks[:, 3:].min(axis=1))
        return coco_to_openpose(keypoints, scores, self._threshold, (height, width))


def to_canvas(image: UInt8[Tensor, "3 h w"]) -> tuple[Float[np.ndarray, "1 256 256 3"], Frame]:
    """Scale an RGB image to [0, 1] and to 208 pixels along its longer side, centred on black; return its frame too."""
    scale = LONGER_SIDE / max(image.shape[1:])
    height, width = (max(1, round(length * scale)) for length in image.shape[1:])
    frame = Frame((CANVAS - height) // 2, (CANVAS - width) // 2, height, width)
    canvas = torch.zeros(1, 3, CANVAS, CANVAS)
    resized = F.interpolate(image[None] / 255, (height, width), mode="bilinear", antialias=True)
    canvas[:, :, frame.top : frame.top + height, frame.left : frame.left + width] = resized
    return canvas.permute(0, 2, 3, 1).contiguous().numpy(), frame
