"""Poses as the networks and the metrics see them: joint heatmaps and person masks."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from skimage.draw import disk, polygon
from skimage.morphology import closing, footprint_rectangle
from torch import Tensor

from twostream.data.annotations import JointArray, found
from twostream.data.skeleton import MASK_LIMBS


def joints_to_tensor(joints: JointArray) -> Float[Tensor, "18 2"]:
    """Turn annotated joints into floats (y, x) in pixels, NaN where a joint was not found."""
    return torch.from_numpy(np.where(found(joints)[:, None], joints, np.nan).astype(np.float32))


def gaussian_heatmaps(
    joints: Float[Tensor, "b 18 2"], image_size: tuple[int, int], sigma: float
) -> Float[Tensor, "b 18 h w"]:
    """Draw each joint as exp(-d^2 / (2 sigma^2)), d in pixels, peak 1; the channel of a missing joint is zero.

    A joint outside the picture is drawn by the tail of its Gaussian.
    """
    height, width = image_size
    rows, columns = (torch.arange(size, device=joints.device, dtype=joints.dtype) for size in (height, width))
    # A Gaussian is separable: two short exponentials in place of one a pixel.
    along_y, along_x = (
        torch.exp(-((axis - joints[..., i, None]) ** 2) / (2 * sigma**2)) for i, axis in enumerate((rows, columns))
    )
    return torch.nan_to_num(along_y[..., :, None] * along_x[..., None, :])


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
