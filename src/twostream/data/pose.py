"""Poses as the networks and the metrics see them: joint heatmaps and person masks."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from skimage.draw import disk, polygon
from skimage.morphology import closing, footprint_rectangle
from torch import Tensor

from twostream.data.keypoints import MASK_LIMBS, JointArray, found

Heatmaps = Callable[[Float[Tensor, "b 18 2"], tuple[int, int]], Float[Tensor, "b 18 h w"]]
"""Draws joints (y, x in pixels, NaN where missing) at an image size (height, width); values in [0, 1]."""


def joints_to_tensor(joints: JointArray) -> Float[Tensor, "18 2"]:
    """Turn annotated joints into floats (y, x) in pixels, NaN where a joint was not found."""
    return torch.from_numpy(np.where(found(joints)[:, None], joints, np.nan).astype(np.float32))


def gaussian_heatmaps(
    joints: Float[Tensor, "b 18 2"], image_size: tuple[int, int], sigma: float
) -> Float[Tensor, "b 18 h w"]:
    """Draw each joint as exp(-d^2 / (2 sigma^2)), d in pixels, peak 1; the channel of a missing joint is zero.

    A joint outside the picture is drawn by the tail of its Gaussian.
    """
    # A Gaussian is separable: two short exponentials in place of one a pixel.
    along_y, along_x = (torch.exp(-(d**2) / (2 * sigma**2)) for d in _distances(joints, image_size))
    return torch.nan_to_num(along_y[..., :, None] * along_x[..., None, :])


def delta_heatmaps(joints: Float[Tensor, "b 18 2"], image_size: tuple[int, int]) -> Float[Tensor, "b 18 h w"]:
    """Draw each joint as one pixel of 1, the nearest (halves to the even one); none for a joint outside the picture.

    It is what PATN's Gaussians became when they were stored as uint8 for DeepFashion.
    """
    at_y, at_x = (d == 0 for d in _distances(joints.round(), image_size))
    return (at_y[..., :, None] & at_x[..., None, :]).to(joints.dtype)


def disc_heatmaps(
    joints: Float[Tensor, "b 18 2"], image_size: tuple[int, int], radius: float
) -> Float[Tensor, "b 18 h w"]:
    """Draw each joint as a disc of 1: the pixels at most `radius` away, also from a joint outside the picture."""
    along_y, along_x = (d**2 for d in _distances(joints, image_size))
    return (along_y[..., :, None] + along_x[..., None, :] <= radius**2).to(joints.dtype)


def _distances(
    joints: Float[Tensor, "b 18 2"], image_size: tuple[int, int]
) -> tuple[Float[Tensor, "b 18 h"], Float[Tensor, "b 18 w"]]:
    """Return the signed distance in pixels of each row and of each column from each joint, NaN from a missing one."""
    rows, columns = (torch.arange(size, device=joints.device, dtype=joints.dtype) for size in image_size)
    return rows - joints[..., 0, None], columns - joints[..., 1, None]


@dataclass(frozen=True)
class Gaussian:
    """Draws joints as Gaussians; `size` is their sigma in pixels."""

    size: float

    def __call__(self, joints: Float[Tensor, "b 18 2"], image_size: tuple[int, int]) -> Float[Tensor, "b 18 h w"]:
        """Draw the joints as `gaussian_heatmaps` does."""
        return gaussian_heatmaps(joints, image_size, self.size)


@dataclass(frozen=True)
class Delta:
    """Draws joints as single pixels, whatever the `size`."""

    size: float

    def __call__(self, joints: Float[Tensor, "b 18 2"], image_size: tuple[int, int]) -> Float[Tensor, "b 18 h w"]:
        """Draw the joints as `delta_heatmaps` does."""
        return delta_heatmaps(joints, image_size)


@dataclass(frozen=True)
class Disc:
    """Draws joints as discs; `size` is their radius in pixels."""

    size: float

    def __call__(self, joints: Float[Tensor, "b 18 2"], image_size: tuple[int, int]) -> Float[Tensor, "b 18 h w"]:
        """Draw the joints as `disc_heatmaps` does."""
        return disc_heatmaps(joints, image_size, self.size)


def person_mask(joints: JointArray, image_size: tuple[int, int], radius: int = 4) -> Bool[np.ndarray, "h w"]:
    """Fill the person's outline: bars of 2 x `radius` pixels along the limbs, discs at the joints, closed by 5 x 5.

    The mask of Mask-SSIM and Mask-IS as the field computes it (Ma et al. 2017, Siarohin et al. 2018).
    """
    mask = np.zeros(image_size, dtype=bool)
    is_found = found(joints)
    for start, end in MASK_LIMBS:
        along = (joints[end] - joints[start]).astype(float)
        if not (is_found[start] and is_found[end] and along.any()):
            continue
        across = radius * np.array([along[1], -along[0]]) / np.linalg.norm(along)
        corners = np.stack([joints[start] + across, joints[start] - across, joints[end] - across, joints[end] + across])
        mask[polygon(corners[:, 0], corners[:, 1], image_size)] = True
    for joint in joints[is_found]:
        mask[disk(tuple(joint), radius, shape=image_size)] = True
    return closing(mask, footprint_rectangle((5, 5)))
