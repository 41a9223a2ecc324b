"""What the page asks for: the content it opens with, a photo's joints, images of people in poses, correspondences."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import numpy as np
import torch
from PIL import Image

from twostream.data.frame import ABOVE, BELOW, MARGIN
from twostream.data.keypoints import FLIPPED, JOINT_NAMES, LIMBS
from twostream.data.pose_estimators import PoseEstimator
from twostream.data.pose_files import Joints
from twostream.data.pose_sources import load_presets
from twostream.data.visualize import COLOURS
from twostream.demo.checked_input import BadRequest, Limits, decode_image, parse_image, parse_joints, parse_object
from twostream.demo.examples import STANDING, plain_joints, render_examples
from twostream.files import data_uri
from twostream.inference import PoseTransfer
from twostream.nets.inspection import correspondences, strongest_matches


class DemoService:
    """Answers requests one at a time; keeps nothing of them.

    Args:
        models: trained networks by their labels on the page, at least one.
        estimator: finds the joints of photos; without one, the page asks its user to place them.
        limits: of photos.

    """

    def __init__(
        self, models: Mapping[str, PoseTransfer], estimator: PoseEstimator | None = None, limits: Limits | None = None
    ) -> None:
        self.models = dict(models)
        self.estimator = estimator
        self.limits = limits or Limits()
        height, width = max(model.image_size for model in self.models.values())
        people, poses = render_examples((height, width))
        presets = {name: list(map(plain_joints, poses)) for name, poses in load_presets((height, width)).items()}
        self.content: dict[str, Any] = {
            "backend": "server",
            "models": [{"name": name, "views": _views(model)} for name, model in self.models.items()],
            "people": [{"image": _png(Image.fromarray(image)), "joints": joints} for image, joints in people],
            "poses": [sequence[0] for sequence in presets.values() if len(sequence) == 1] + poses,
            "sequences": {name: sequence for name, sequence in presets.items() if len(sequence) > 1},
            "size": [height, width],
            "standing": STANDING,
            "margins": [ABOVE, BELOW, MARGIN],
            "joint_names": JOINT_NAMES,
            "limbs": LIMBS,
            "flipped": FLIPPED,
            "colours": COLOURS,
            "estimator": estimator.name if estimator else None,
            "max_megabytes": self.limits.max_megabytes,
        }

    def photo(self, content: bytes) -> dict[str, Any]:
        """Return a photo as the page shows it, and the joints that the estimator finds, null without one.

        Raises BadRequest if the content is not that of an image file, or too large.
        """
        image = decode_image(content, "photo", self.limits.max_megapixels * 1e6)
        joints = None
        if self.estimator is not None:
            batch = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
            joints = plain_joints(self.estimator(batch)[0])
        return {"image": _png(image), "size": [image.height, image.width], "joints": joints}

    def generate(self, content: bytes) -> dict[str, Any]:
        """Generate the person of an image in a pose with some of the models.

        The content is JSON of `models`, a list of labels; `image`, a data URI; `source_joints` and `target_joints`, 18
        of [y, x] in pixels of the image or null. Returns `results`: for each model the `image` as a data URI of the
        size of the given one, and `milliseconds`. Raises BadRequest for another content.
        """
        request = parse_object(content, ("models", "image", "source_joints", "target_joints"))
        names = request["models"]
        if not isinstance(names, list) or not 1 <= len(names) <= 2:
            raise BadRequest(f"models: expected a list of one or two models, got {names!r:.60}")
        models = [self._model(name) for name in names]
        image, source, target = _image_and_joints(request)
        results = []
        for model in models:
            start = time.perf_counter()
            with _far_joints_refused():
                generated = model(image, target, source)
            milliseconds = round(1000 * (time.perf_counter() - start))
            results.append({"image": _png(generated), "milliseconds": milliseconds})
        return {"results": results}

    def correspondence(self, content: bytes) -> dict[str, Any]:
        """Return where the positions of a generated image come from.

        The content is JSON as for `generate`, but of one `model`, and with a `view`, one of the model's. Returns `map`,
        `sources` and `weights` of `strongest_matches` for one image, and `extent`: top, left, height and width of the
        map in pixels of the given image. Raises BadRequest for another content.
        """
        request = parse_object(content, ("model", "view", "image", "source_joints", "target_joints"))
        model = self._model(request["model"])
        if request["view"] not in (views := _views(model)):
            expected = " or ".join(views) or "no request, for the model has none"
            raise BadRequest(f"view: expected {expected}, got {request['view']!r:.60}", 404)
        image, source, target = _image_and_joints(request)
        with _far_joints_refused():
            matrix = torch.from_numpy(model.correspondence(image, target, source)[request["view"]])
        matches = strongest_matches(matrix[None], model.image_size)
        frame = model.view(image, source).frame
        corner = [start - offset / frame.scale for start, offset in zip(frame.start, frame.offset, strict=True)]
        extent = [*corner, *(side / frame.scale for side in model.image_size)]
        return {"map": matches["map"], "sources": matches["sources"][0], "weights": matches["weights"][0]} | {
            "extent": extent
        }

    def _model(self, name: Any) -> PoseTransfer:
        if not isinstance(name, str) or name not in self.models:
            raise BadRequest(f"model: expected {' or '.join(self.models)}, got {name!r:.60}", 404)
        return self.models[name]


@contextmanager
def _far_joints_refused() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise BadRequest(str(error)) from None


def _image_and_joints(request: dict[str, Any]) -> tuple[Image.Image, Joints, Joints]:
    source, target = (parse_joints(request[name], name) for name in ("source_joints", "target_joints"))
    return parse_image(request["image"]), source, target


def _views(model: PoseTransfer) -> list[str]:
    """Return the names of a model's correspondences: a warp first, then AT-blocks from the last to the first."""
    return list(correspondences(model.generator))[::-1]


def _png(image: Image.Image) -> str:
    file = BytesIO()
    image.save(file, "PNG", compress_level=1)
    return data_uri(file.getvalue(), "image/png")
