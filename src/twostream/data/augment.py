"""Augmentation of pose pairs: one pipeline for both pictures of a pair and their joints."""

import os
import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from twostream.data.keypoints import FLIPPED
from twostream.types import ImagePair

# Most that each setting may be.
LIMITS = {
    "flip_probability": 1,
    "affine_probability": 1,
    "scale": 0.5,
    "shift": 0.5,
    "rotation": 180,
    "colour_probability": 1,
    "brightness": 1,
    "contrast": 1,
    "saturation": 1,
    "hue": 0.5,
}


@dataclass(frozen=True)
class Augmentation:
    """Flips, moves and recolours the two pictures of a pair together, and flips and moves their joints with them.

    A part whose probability or ranges are 0 changes nothing; without any part albumentations is not needed.

    Attributes:
        flip_probability: of a horizontal flip; left and right joints change places.
        affine_probability: of scale, shift and rotation about the centre. The pixels at the picture's border are
            repeated into what comes in from outside.
        scale: the factor lies within 1 - `scale` and 1 + `scale`.
        shift: most shift along each axis, as a share of height or width; it is cut to whole pixels.
        rotation: most rotation to either side, in degrees.
        colour_probability: of the four that follow.
        brightness: the factor lies within 1 - `brightness` and 1 + `brightness`.
        contrast: as for brightness.
        saturation: as for brightness.
        hue: most turn of the hue to either side, as a share of the whole circle.

    Raises:
        ValueError: a setting is out of its range.
        ImportError: albumentations is not installed.

    """

    flip_probability: float = 0
    affine_probability: float = 0
    scale: float = 0
    shift: float = 0
    rotation: float = 0
    colour_probability: float = 0
    brightness: float = 0
    contrast: float = 0
    saturation: float = 0
    hue: float = 0
    _pipeline: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, most in LIMITS.items():
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{name}: expected 0 to {most}, got {getattr(self, name)}")
        object.__setattr__(self, "_pipeline", _build_pipeline(self) if self.is_on else None)

    @property
    def is_on(self) -> bool:
        """Whether a pair can be changed at all."""
        return max(self.flip_probability, self.affine_probability, self.colour_probability) > 0

    def __call__(self, pair: ImagePair, seed: int, epoch: int, index: int) -> ImagePair:
        """Augment one pair.

        The draw depends on the three numbers alone, not on the process or on the pairs before: albumentations' own
        draws are the same in every worker and every epoch.

        Args:
            pair: without a batch axis; missing joints (NaN) stay missing, and joints outside the picture are kept.
            seed: of the run, at least 0.
            epoch: pass over the training pairs, at least 0.
            index: of the pair in the pass, at least 0.

        """
        if self._pipeline is None:
            return pair
        sequence = np.random.SeedSequence([seed, epoch, index])
        # Not set_random_seed: it gives all parts the same draw, so that flip, affine and colour come together or not.
        self._pipeline.set_random_state(
            np.random.default_rng(sequence), random.Random(int(sequence.generate_state(1, np.uint64)[0]))
        )
        joints = torch.stack([pair.source_joints, pair.target_joints])
        is_found = joints.isfinite().all(dim=-1)
        done = self._pipeline(
            image=_channels_last(pair.source_image),
            target=_channels_last(pair.target_image),
            keypoints=joints[is_found].numpy(),
        )
        joints[is_found] = torch.from_numpy(done["keypoints"])
        if any(part == "HorizontalFlip" for part, _ in done["applied_transforms"]):
            joints = joints[:, FLIPPED]
        return ImagePair(_channels_first(done["image"]), joints[0], _channels_first(done["target"]), joints[1])


def _build_pipeline(settings: Augmentation) -> Any:
    # Without it the import asks a server for a newer version.
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    try:
        import albumentations
        import cv2
    except ImportError as error:
        raise ImportError("augmentation needs albumentations: pip install 'twostream[augment]'") from error
    shift = (-settings.shift, settings.shift)
    parts = [
        albumentations.HorizontalFlip(p=settings.flip_probability),
        albumentations.Affine(
            scale=(1 - settings.scale, 1 + settings.scale),
            keep_ratio=True,
            translate_percent={"x": shift, "y": shift},
            rotate=(-settings.rotation, settings.rotation),
            border_mode=cv2.BORDER_REPLICATE,
            p=settings.affine_probability,
        ),
        albumentations.ColorJitter(
            brightness=(1 - settings.brightness, 1 + settings.brightness),
            contrast=(1 - settings.contrast, 1 + settings.contrast),
            saturation=(1 - settings.saturation, 1 + settings.saturation),
            hue=(-settings.hue, settings.hue),
            p=settings.colour_probability,
        ),
    ]
    return albumentations.Compose(
        parts,
        # By default joints outside the picture are refused, or dropped, which would move the others up.
        keypoint_params=albumentations.KeypointParams("yx", remove_invisible=False),
        additional_targets={"target": "image"},
        save_applied_params=True,
    )


def _channels_last(picture: UInt8[Tensor, "3 h w"]) -> UInt8[np.ndarray, "h w 3"]:
    return picture.permute(1, 2, 0).contiguous().numpy()


def _channels_first(picture: UInt8[np.ndarray, "h w 3"]) -> UInt8[Tensor, "3 h w"]:
    return torch.from_numpy(picture).permute(2, 0, 1).contiguous()
