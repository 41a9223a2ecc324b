"""Structural similarity under the field's protocols (Wang et al. 2004)."""

import numpy as np
from jaxtyping import Bool, UInt8
from skimage.metrics import structural_similarity

from twostream.metrics.protocols import Protocol

BORDER = 5
"""Pixels that the 11x11 window leaves out at each side."""


def ssim(generated: UInt8[np.ndarray, "h w 3"], target: UInt8[np.ndarray, "h w 3"], protocol: Protocol) -> float:
    """Return the SSIM of one picture in the protocol's frame; 1 is equal.

    The window is a Gaussian of sigma 1.5 (11x11) with biased covariance; the mean runs over channels and pixels but for
    a border of 5. Raises ValueError for pictures of different or of too small size.
    """
    if generated.shape != target.shape or min(generated.shape[:2]) <= 2 * BORDER:
        raise ValueError(f"expected two pictures of one size over 10x10, got {generated.shape} and {target.shape}")
    return _ssim(protocol.frame(generated), protocol.frame(target), protocol)


def mask_ssim(
    generated: UInt8[np.ndarray, "h w 3"],
    target: UInt8[np.ndarray, "h w 3"],
    mask: Bool[np.ndarray, "h w"],
    protocol: Protocol,
) -> float:
    """Return the SSIM of one picture, both blackened outside the person's mask; the mean runs over the whole frame."""
    mask = protocol.frame_mask(mask)
    return _ssim(masked(protocol.frame(generated), mask), masked(protocol.frame(target), mask), protocol)


def masked(image: UInt8[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """Blacken a picture outside the person's mask, as Mask-SSIM and Mask-IS take it."""
    return image * mask[:, :, None]


def _ssim(generated: UInt8[np.ndarray, "h w 3"], target: UInt8[np.ndarray, "h w 3"], protocol: Protocol) -> float:
    data_range = protocol.data_range
    if data_range is None:
        # A flat picture has no range of its own; the least one step of a uint8 keeps the formula defined.
        data_range = max(1, int(generated.max()) - int(generated.min()))
    return float(
        structural_similarity(
            generated,
            target,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            channel_axis=-1,
            data_range=data_range,
        )
    )
