"""Structural similarity (Wang et al. 2004) of images and of the persons in them."""

import numpy as np
from jaxtyping import Bool, UInt8
from skimage.metrics import structural_similarity
from typing_extensions import override

from twostream.metrics.metric import Columns, ImageBatch, Metric, Rows
from twostream.metrics.protocols import EvaluationProtocol

BORDER = 5  # pixels that the 11x11 window leaves out at each side

Image = UInt8[np.ndarray, "h w 3"]
Mask = Bool[np.ndarray, "h w"]


def ssim(generated: Image, target: Image, protocol: EvaluationProtocol) -> float:
    """Return the SSIM of an image in the protocol's frame; 1 for equal images.

    The window is a Gaussian of sigma 1.5 (11x11) with biased covariance; the mean is over channels and pixels except
    for a border of 5. Raises ValueError for images of different size, or of 10x10 or less.
    """
    if generated.shape != target.shape or min(generated.shape[:2]) <= 2 * BORDER:
        raise ValueError(f"expected two images of one size over 10x10, got {generated.shape} and {target.shape}")
    return _ssim(protocol.frame(generated), protocol.frame(target), protocol)


def mask_ssim(generated: Image, target: Image, mask: Mask, protocol: EvaluationProtocol) -> float:
    """Return the SSIM of two images, both black outside the person's mask; the mean is over the entire frame."""
    mask = protocol.frame_mask(mask)
    return _ssim(masked(protocol.frame(generated), mask), masked(protocol.frame(target), mask), protocol)


def masked(image: Image, mask: Mask) -> Image:
    """Blacken an image outside the person's mask, as in Mask-SSIM and Mask-IS."""
    return image * mask[:, :, None]


def _ssim(generated: Image, target: Image, protocol: EvaluationProtocol) -> float:
    data_range = protocol.data_range
    if data_range is None:
        # A constant image has a range of 0; one step of uint8 keeps the formula defined.
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


class SSIM(Metric):
    """The mean SSIM of all images."""

    name = "ssim"
    runs_in_workers = True

    def __init__(self, protocol: EvaluationProtocol, image_size: tuple[int, int]) -> None:
        details = protocol.describe(image_size) | protocol.describe_ssim()
        super().__init__(self.name, protocol.name, details, [f"{self.name}/{protocol.name}"])
        self._framing = protocol

    @override
    def update(self, images: ImageBatch) -> Columns:
        pairs = zip(images.generated, images.true, strict=True)
        return {self.columns[0]: np.array([ssim(generated, true, self._framing) for generated, true in pairs])}

    @override
    def compute(self, columns: Columns, rows: Rows) -> float:
        return float(columns[self.columns[0]][rows].mean())


class MaskSSIM(SSIM):
    """The mean SSIM of all persons."""

    name = "mask_ssim"

    @override
    def update(self, images: ImageBatch) -> Columns:
        assert images.masks is not None
        triples = zip(images.generated, images.true, images.masks, strict=True)
        return {self.columns[0]: np.array([mask_ssim(*triple, self._framing) for triple in triples])}
