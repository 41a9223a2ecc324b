"""Augmentation of pose pairs: one albumentations pipeline for both images of a pair and their joints."""

import os
import random
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from twostream.data.keypoints import FLIPPED
from twostream.extras import require
from twostream.types import ImagePair


class Augmentation:
    """Transforms both images of a pair and their joints alike.

    Args:
        transforms: name of an albumentations transform -> its arguments, in the order of application. If empty, pairs
            stay unchanged and albumentations is not needed. A `HorizontalFlip` also swaps left and right joints.

    Raises:
        ValueError: albumentations has no such transform or refuses an argument.
        ImportError: albumentations is not installed.
    """

    def __init__(self, transforms: Mapping[str, Mapping[str, Any]]) -> None:
        self.transforms = transforms
        self._pipeline = _build_pipeline(transforms) if transforms else None

    @property
    def is_on(self) -> bool:
        """Whether pairs can change."""
        return self._pipeline is not None

    def __call__(self, pair: ImagePair, seed: int, epoch: int, position: int) -> ImagePair:
        """Augment a pair without batch axis, as a function of the seed, the epoch and the position in the epoch.

        Missing joints (NaN) stay missing; joints may be moved outside the image.
        """
        if self._pipeline is None:
            return pair
        sequence = np.random.SeedSequence([seed, epoch, position])
        # set_random_seed would give every transform the same draws.
        self._pipeline.set_random_state(
            np.random.default_rng(sequence), random.Random(int(sequence.generate_state(1, np.uint64)[0]))
        )
        joints = torch.stack([pair.source_joints, pair.target_joints])
        is_found = joints.isfinite().all(dim=-1)
        source, target = (
            image.permute(1, 2, 0).contiguous().numpy() for image in (pair.source_image, pair.target_image)
        )
        done = self._pipeline(image=source, target=target, keypoints=joints[is_found].numpy())
        joints[is_found] = torch.from_numpy(done["keypoints"])
        if any(name == "HorizontalFlip" for name, _ in done["applied_transforms"]):
            joints = joints[:, FLIPPED]
        images = [torch.from_numpy(done[key]).permute(2, 0, 1).contiguous() for key in ("image", "target")]
        return ImagePair(images[0], joints[0], images[1], joints[1])


def _build_pipeline(transforms: Mapping[str, Mapping[str, Any]]) -> Any:
    # Otherwise the import asks a server for a newer version.
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    require("augmentation needs", "augment", "albumentations")
    import albumentations

    steps = []
    for name, arguments in transforms.items():
        transform = getattr(albumentations, name, None)
        if not (isinstance(transform, type) and issubclass(transform, albumentations.BasicTransform)):
            raise ValueError(f"data.augmentation.transforms: expected names of albumentations transforms, got {name!r}")
        try:
            # Albumentations only warns about arguments that it does not know.
            with warnings.catch_warnings(action="error", category=UserWarning):
                steps.append(transform(**arguments))
        except (ValueError, TypeError, UserWarning) as error:
            message = str(error).partition(" [type=")[0]  # without pydantic's details
            raise ValueError(f"data.augmentation.transforms.{name}: {' '.join(message.split())}") from error
    # A pipeline of colour transforms alone warns that it leaves joints unchanged.
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        return albumentations.Compose(
            steps,
            # By default joints outside the image are removed, which would change the order of the others.
            keypoint_params=albumentations.KeypointParams("yx", remove_invisible=False),
            additional_targets={"target": "image"},
            save_applied_params=True,
        )
