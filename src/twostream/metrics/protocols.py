"""Evaluation protocols: the conventions under which the field's numbers are computed, by name and version."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8

BANDED_SIZE = (256, 176)  # height and width of DeepFashion's images in PATN's preparation
BAND = 40  # pixels at each side
WHITE = 255


@dataclass(frozen=True)
class EvaluationProtocol:
    """What a number depends on besides the images and the metric.

    Attributes:
        name: name of the protocol.
        version: raised whenever its numbers change.
        data_range: the range L of SSIM; None for max - min of the generated image.
        has_bands: pad images of 256x176 by white bands of 40 pixels to 256x256.

    """

    name: str
    version: int
    data_range: float | None
    has_bands: bool

    def frame(self, image: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h v c"]:
        """Return an image in the frame in which it is scored."""
        return self._pad(image, WHITE) if self._is_banded(image.shape[:2]) else image

    def frame_mask(self, mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h v"]:
        """Return a person's mask in the frame; it is False on the bands."""
        return self._pad(mask, False) if self._is_banded(mask.shape) else mask

    def frame_name(self, image_size: tuple[int, int]) -> str:
        """Return the size of the frame of images of (height, width) as text."""
        height, width = image_size
        return f"{height}x{width + 2 * BAND} with bands" if self._is_banded(image_size) else f"{height}x{width}"

    def describe(self, image_size: tuple[int, int]) -> dict[str, object]:
        """Return what is reported with every number of this protocol."""
        return {"version": self.version, "frame": self.frame_name(image_size)}

    def describe_ssim(self) -> dict[str, object]:
        """Return what is reported with an SSIM of this protocol."""
        data_range = "max - min of the generated image" if self.data_range is None else f"{self.data_range:g}"
        return {"window": "gaussian 11x11, sigma 1.5", "data_range": data_range}

    def _is_banded(self, image_size: tuple[int, ...]) -> bool:
        return self.has_bands and tuple(image_size) == BANDED_SIZE

    @staticmethod
    def _pad(array: np.ndarray, fill: int | bool) -> np.ndarray:
        width = ((0, 0), (BAND, BAND)) + ((0, 0),) * (array.ndim - 2)
        return np.pad(array, width, constant_values=fill)


PATN = EvaluationProtocol("patn", version=1, data_range=None, has_bands=True)
"""PATN's evaluation (Zhu et al. 2019), which the paper follows."""

STANDARD = EvaluationProtocol("standard", version=1, data_range=255, has_bands=False)
"""The protocol of later papers."""

PROTOCOLS = (PATN, STANDARD)


def protocols_named(name: str) -> list[EvaluationProtocol]:
    """Return the protocol of a name, or all protocols for `all`. Raises ValueError for an unknown name."""
    found = [protocol for protocol in PROTOCOLS if name in (protocol.name, "all")]
    if not found:
        raise ValueError(f"protocol: expected {', '.join(p.name for p in PROTOCOLS)} or all, got {name!r}")
    return found
