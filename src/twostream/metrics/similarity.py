"""Structural similarity under the field's protocols (Wang et al. 2004)."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8
from skimage.metrics import structural_similarity

BORDER = 5
"""Pixels that the 11x11 window leaves out at each side."""


@dataclass(frozen=True)
class SSIMProtocol:
    """How an SSIM is computed; the window is a Gaussian of sigma 1.5 (11x11) with biased covariance in both.

    Attributes:
        name: of the protocol.
        data_range: the pictures' range L; None takes the generated picture's own max - min.

    """

    name: str
    data_range: float | None

    def describe(self) -> dict[str, str]:
        """Say what belongs beside a number of this protocol."""
        data_range = "max - min of the generated image" if self.data_range is None else f"{self.data_range:g}"
        return {"window": "gaussian 11x11, sigma 1.5", "data_range": data_range}


PATN = SSIMProtocol("patn", None)
"""PATN's evaluation, which the paper follows."""

STANDARD = SSIMProtocol("standard", 255)
"""The one that later papers use."""

PROTOCOLS = (PATN, STANDARD)


def ssim(generated: UInt8[np.ndarray, "h w 3"], target: UInt8[np.ndarray, "h w 3"], protocol: SSIMProtocol) -> float:
    """Return the SSIM of one picture, the mean over channels and pixels but for a border of 5; 1 is equal.

    Raises ValueError for pictures of different or of too small size.
    """
    if generated.shape != target.shape or min(generated.shape[:2]) <= 2 * BORDER:
        raise ValueError(f"expected two pictures of one size over 10x10, got {generated.shape} and {target.shape}")
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


def masked(image: UInt8[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """Blacken a picture outside the person's mask, as Mask-SSIM and Mask-IS take it."""
    return image * mask[:, :, None]
