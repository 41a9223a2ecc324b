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
        metrics: names of its metrics.
        data_range: the range L of SSIM; None for max - min of the generated image.
        has_bands: pad images of 256x176 by white bands of 40 pixels to 256x256.

    """

    name: str
    version: int
    metrics: tuple[str, ...]
    data_range: float | None
    has_bands: bool

    def frame(
        self, image: UInt8[np.ndarray, "h w c"], mask: Bool[np.ndarray, "h w"] | None = None
    ) -> UInt8[np.ndarray, "h v c"]:
        """Return an image in the frame in which it is scored; with a person's mask, all else, bands too, is black."""
        if mask is not None:
            image = image * mask[:, :, None]
        if not self._is_banded(image.shape[:2]):
            return image
        return np.pad(image, ((0, 0), (BAND, BAND), (0, 0)), constant_values=WHITE if mask is None else 0)

    def describe(self, image_size: tuple[int, int]) -> dict[str, object]:
        """Return what is reported with a number on images of (height, width): the version and the size of the frame."""
        height, width = image_size
        frame = f"{height}x{width + 2 * BAND} with bands" if self._is_banded(image_size) else f"{height}x{width}"
        return {"version": self.version, "frame": frame}

    def _is_banded(self, image_size: tuple[int, ...]) -> bool:
        return self.has_bands and tuple(image_size) == BANDED_SIZE


COMMON = ("ssim", "mask_ssim", "inception_score", "mask_inception_score")

PATN = EvaluationProtocol("patn", 1, (*COMMON, "pckh"), data_range=None, has_bands=True)
"""PATN's evaluation (Zhu et al. 2019), which the paper follows."""

STANDARD = EvaluationProtocol("standard", 1, (*COMMON, "fid", "lpips"), data_range=255, has_bands=False)
"""The protocol of later papers."""

EVALUATOR = EvaluationProtocol("evaluator", 1, ("evaluator",), data_range=255, has_bands=False)
"""The protocol of the evaluator network of synthetic people, whose numbers another network's can't be compared with."""

PROTOCOLS = (PATN, STANDARD)


def protocols_named(name: str) -> list[EvaluationProtocol]:
    """Return the protocol of a name, or all protocols for `all`. Raises ValueError for an unknown name."""
    found = [protocol for protocol in PROTOCOLS if name in (protocol.name, "all")]
    if not found:
        raise ValueError(f"protocol: expected {', '.join(p.name for p in PROTOCOLS)} or all, got {name!r}")
    return found
