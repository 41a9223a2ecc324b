"""Representations of a pose: heatmaps of joints for the networks, person masks for the metrics."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike
from skimage.draw import disk, polygon
from skimage.morphology import closing, footprint_rectangle
from torch import Tensor

from twostream.data.keypoints import JOINT_NAMES, MASK_LIMBS, MISSING, NUM_JOINTS, JointArray, found

MASK_RADIUS = 4  # pixels

Heatmaps = Callable[[Float[Tensor, "b 18 2"], tuple[int, int]], Float[Tensor, "b 18 h w"]]
"""Draws joints (y, x in pixels, NaN if missing) for an image size (height, width); values in [0, 1]."""


def joints_to_tensor(joints: JointArray) -> Float[Tensor, "18 2"]:
    """Convert annotated joints to floats (y, x) in pixels, NaN if missing."""
    return torch.from_numpy(np.where(found(joints)[:, None], joints, np.nan).astype(np.float32))


def gaussian_heatmaps(
    joints: Float[Tensor, "b 18 2"], image_size: tuple[int, int], sigma: float
) -> Float[Tensor, "b 18 h w"]:
    """Draw each joint as exp(-d^2 / (2 sigma^2)), with d and sigma in pixels; the channel of a missing joint is zero.

    The tail of a joint outside the image is drawn too.
    """
    # A Gaussian is separable: one exponential for each row and column instead of each pixel.
    along_y, along_x = (torch.exp(-(d**2) / (2 * sigma**2)) for d in _distances(joints, image_size))
    return torch.nan_to_num(along_y[..., :, None] * along_x[..., None, :])


def delta_heatmaps(joints: Float[Tensor, "b 18 2"], image_size: tuple[int, int]) -> Float[Tensor, "b 18 h w"]:
    """Draw each joint as one pixel of 1, the nearest (halves to even); nothing for a joint outside the image.

    PATN's Gaussians for DeepFashion became this when they were stored as uint8.
    """
    at_y, at_x = (d == 0 for d in _distances(joints.round(), image_size))
    return (at_y[..., :, None] & at_x[..., None, :]).to(joints.dtype)


def disc_heatmaps(
    joints: Float[Tensor, "b 18 2"], image_size: tuple[int, int], radius: float
) -> Float[Tensor, "b 18 h w"]:
    """Draw each joint as a disc of 1: all pixels at a distance of at most `radius` pixels."""
    along_y, along_x = (d**2 for d in _distances(joints, image_size))
    return (along_y[..., :, None] + along_x[..., None, :] <= radius**2).to(joints.dtype)


def _distances(
    joints: Float[Tensor, "b 18 2"], image_size: tuple[int, int]
) -> tuple[Float[Tensor, "b 18 h"], Float[Tensor, "b 18 w"]]:
    """Return the signed distance in pixels of rows and of columns from each joint, NaN for a missing joint."""
    rows, columns = (torch.arange(size, device=joints.device, dtype=joints.dtype) for size in image_size)
    return rows - joints[..., 0, None], columns - joints[..., 1, None]


def person_mask(joints: JointArray, image_size: tuple[int, int], has_edges: bool = True) -> Bool[np.ndarray, "h w"]:
    """Draw bars of width 8 pixels along the limbs and discs of radius 4 at the joints, closed by a 5x5 square.

    This is the usual mask of Mask-SSIM and Mask-IS (Ma et al. 2017, Siarohin et al. 2018). `has_edges` includes the
    pixels on all edges of a bar, as scikit-image does now; without, those on its right and lower edges are left out.
    """
    fill = polygon if has_edges else polygon_without_edges
    mask = np.zeros(image_size, dtype=bool)
    is_found = found(joints)
    for start, end in MASK_LIMBS:
        along = (joints[end] - joints[start]).astype(float)
        if not (is_found[start] and is_found[end] and along.any()):
            continue
        across = MASK_RADIUS * np.array([along[1], -along[0]]) / np.linalg.norm(along)
        corners = np.stack([joints[start] + across, joints[start] - across, joints[end] - across, joints[end] + across])
        mask[fill(corners[:, 0], corners[:, 1], image_size)] = True
    for joint in joints[is_found]:
        mask[disk(tuple(joint), MASK_RADIUS, shape=image_size)] = True
    return closing(mask, footprint_rectangle((5, 5)))


def polygon_without_edges(
    rows: Float[np.ndarray, "n"], columns: Float[np.ndarray, "n"], image_size: tuple[int, int]
) -> tuple[np.ndarray, ...]:
    """Return the pixels inside a polygon by the even-odd rule, as `skimage.draw.polygon` of scikit-image 0.14 did.

    A pixel is inside if a ray to its right crosses the outline an odd number of times; those on right and lower edges
    are outside.
    """
    (top, bottom), (left, right) = (
        np.clip((int(np.floor(values.min())), int(np.ceil(values.max())) + 1), 0, size)
        for values, size in zip((rows, columns), image_size, strict=True)
    )
    row, column = np.ogrid[top:bottom, left:right]
    is_inside = np.zeros((bottom - top, right - left), dtype=bool)
    for r0, c0, r1, c1 in zip(np.roll(rows, 1), np.roll(columns, 1), rows, columns, strict=True):
        if r0 != r1:
            is_crossed = (np.minimum(r0, r1) <= row) & (row < np.maximum(r0, r1))
            is_inside ^= is_crossed & (column < (c0 - c1) * (row - r1) / (r0 - r1) + c1)
    inner_rows, inner_columns = np.nonzero(is_inside)
    return inner_rows + top, inner_columns + left


def as_joints(joints: ArrayLike, count: Sequence[int], name: str) -> Float[Tensor, "*count 18 2"]:
    """Return joints as floats (y, x), NaN if missing, with as many of a person as `count`; a single one may lack it."""
    shape = (*count, NUM_JOINTS)
    expected = f"{' x '.join(map(str, shape))} joints ({JOINT_NAMES[0]} to {JOINT_NAMES[-1]}) as (y, x)"
    try:
        array = np.asarray(joints.cpu() if isinstance(joints, Tensor) else joints, np.float32)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: expected {expected}, got no numbers") from None
    array = array[None] if array.ndim == 2 else array
    if array.shape != (*shape, 2):
        raise ValueError(f"{name}: expected {expected}, got an array of shape {np.shape(joints)}")
    is_missing = (array == MISSING).any(axis=-1, keepdims=True) | np.isnan(array).any(axis=-1, keepdims=True)
    return torch.from_numpy(np.where(is_missing, np.float32(np.nan), array))
