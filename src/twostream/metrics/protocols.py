"""The protocols under which the field's numbers are computed, by name and version."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8

BANDED_SIZE = (256, 176)
"""Height and width of DeepFashion's pictures in PATN's preparation."""

BAND = 40
WHITE = 255


@dataclass(frozen=True)
class Protocol:
    """What a number depends on besides the pictures and the metric.

    Attributes:
        name: of the protocol.
        version: goes up when its numbers change.
        data_range: the range L of SSIM; None takes the generated picture's own max - min.
        has_bands: pictures of 256x176 are put between white bands of 40 pixels, to 256x256.

    """

    name: str
    version: int
    data_range: float | None
    has_bands: bool

    def frame(self, image: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h v c"]:
        """Return a picture in the frame in which it is scored."""
        return self._banded(image, WHITE) if self._bands(image.shape[:2]) else image

    def frame_mask(self, mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h v"]:
        """Return a person's mask in the frame: no band belongs to the person."""
        return self._banded(mask, False) if self._bands(mask.shape) else mask

    def frame_name(self, image_size: tuple[int, int]) -> str:
        """Say how large the frame of pictures of (height, width) is."""
        height, width = image_size
        return f"{height}x{width + 2 * BAND} with bands" if self._bands(image_size) else f"{height}x{width}"

    def describe(self, image_size: tuple[int, int]) -> dict[str, object]:
        """Say what belongs beside every number of this protocol."""
        return {"version": self.version, "frame": self.frame_name(image_size)}

    def describe_ssim(self) -> dict[str, object]:
        """Say what belongs beside an SSIM of this protocol."""
        data_range = "max - min of the generated image" if self.data_range is None else f"{self.data_range:g}"
        return {"window": "gaussian 11x11, sigma 1.5", "data_range": data_range}

    def _bands(self, image_size: tuple[int, ...]) -> bool:
        return self.has_bands and tuple(image_size) == BANDED_SIZE

    @staticmethod
    def _banded(array: np.ndarray, fill: int | bool) -> np.ndarray:
        width = ((0, 0), (BAND, BAND)) + ((0, 0),) * (array.ndim - 2)
        return np.pad(array, width, constant_values=fill)


PATN = Protocol("patn", version=1, data_range=None, has_bands=True)
"""PATN's evaluation (Zhu et al. 2019), which the paper follows."""

STANDARD = Protocol("standard", version=1, data_range=255, has_bands=False)
"""The one that later papers use."""

PROTOCOLS = (PATN, STANDARD)
