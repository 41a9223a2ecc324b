"""Structural similarity (Wang et al. 2004) of images and of the persons in them, and peak signal-to-noise ratio."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8
from typing_extensions import override

from twostream.metrics.metric import Columns, ImageBatch, Metric
from twostream.metrics.protocols import EvaluationProtocol

K1, K2 = 0.01, 0.03  # keep quotients of small numbers stable

Image = UInt8[np.ndarray, "h w 3"]


def ssim(
    generated: Image, target: Image, protocol: EvaluationProtocol, mask: Bool[np.ndarray, "h w"] | None = None
) -> float:
    """Return the SSIM of an image in the protocol's frame; 1 for equal images.

    The mean is over channels and pixels except for the border of the protocol's window. With a person's mask, both
    images are black outside of it, and the mean is still over the entire frame. Raises ValueError for images of
    different size, or so small that nothing is left between the borders.
    """
    window, least = protocol.window, 2 * protocol.window.border
    if generated.shape != target.shape or min(generated.shape[:2]) <= least:
        raise ValueError(
            f"expected two images of one size over {least}x{least}, got {generated.shape} and {target.shape}"
        )
    generated, target = protocol.frame(generated, mask), protocol.frame(target, mask)
    data_range = protocol.data_range
    if data_range is None:
        # A constant image has a range of 0; one step of uint8 keeps the formula defined.
        data_range = max(1, int(generated.max()) - int(generated.min()))
    x, y = generated.astype(np.float64), target.astype(np.float64)
    mean_x, mean_y = window.mean(x), window.mean(y)
    var_x, var_y, covariance = (
        window.correction * (window.mean(product) - means)
        for product, means in ((x * x, mean_x * mean_x), (y * y, mean_y * mean_y), (x * y, mean_x * mean_y))
    )
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (var_x + var_y + c2)
    inner = slice(window.border, -window.border)
    return float((luminance * structure)[inner, inner].mean())


class SSIM(Metric):
    """The mean SSIM of all images."""

    name = "ssim"
    runs_in_workers = True

    def __init__(self, protocol: EvaluationProtocol, image_size: tuple[int, int]) -> None:
        if min(image_size) <= (least := 2 * protocol.window.border):
            height, width = image_size
            raise ValueError(f"{self.name}: expected images over {least}x{least}, got {height}x{width}")
        data_range = "max - min of the generated image" if protocol.data_range is None else f"{protocol.data_range:g}"
        details = protocol.describe(image_size) | {"window": protocol.window.name, "data_range": data_range}
        super().__init__(self.name, protocol.name, details, [f"{self.name}/{protocol.name}"])
        self._protocol = protocol

    @override
    def update(self, images: ImageBatch) -> Columns:
        masks = self._masks(images)
        triples = zip(images.generated, images.true, masks, strict=True)
        values = [ssim(generated, true, self._protocol, mask) for generated, true, mask in triples]
        return {self.columns[0]: np.array(values)}

    def _masks(self, images: ImageBatch) -> Sequence[Bool[np.ndarray, "h w"] | None]:
        return [None] * len(images.generated)


class PSNR(Metric):
    """The mean peak signal-to-noise ratio in dB of all images; not defined if two images are equal."""

    runs_in_workers = True

    def __init__(self, protocol: EvaluationProtocol, image_size: tuple[int, int]) -> None:
        super().__init__("psnr", protocol.name, protocol.describe(image_size), [f"psnr/{protocol.name}"])

    @override
    def update(self, images: ImageBatch) -> Columns:
        return {self.columns[0]: psnr(images.generated, images.true)}


def psnr(generated: UInt8[np.ndarray, "b h w 3"], target: UInt8[np.ndarray, "b h w 3"]) -> Float[np.ndarray, "b"]:
    """Return 10 log10(255^2 / mean squared error) of each image; infinite for equal images."""
    errors = ((generated.astype(np.float64) - target) ** 2).mean(axis=(1, 2, 3))
    with np.errstate(divide="ignore"):
        return 10 * np.log10(255**2 / errors)


class MaskSSIM(SSIM):
    """The mean SSIM of all persons."""

    name = "mask_ssim"

    @override
    def _masks(self, images: ImageBatch) -> Sequence[Bool[np.ndarray, "h w"]]:
        return images.masks(self._protocol)
