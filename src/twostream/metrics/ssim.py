"""Structural similarity (Wang et al. 2004) of images and of the persons in them."""

import numpy as np
from jaxtyping import Bool, UInt8
from skimage.metrics import structural_similarity
from typing_extensions import override

from twostream.metrics.metric import Columns, ImageBatch, Metric
from twostream.metrics.protocols import EvaluationProtocol

BORDER = 5  # pixels that the 11x11 window leaves out at each side

Image = UInt8[np.ndarray, "h w 3"]


def ssim(
    generated: Image, target: Image, protocol: EvaluationProtocol, mask: Bool[np.ndarray, "h w"] | None = None
) -> float:
    """Return the SSIM of an image in the protocol's frame; 1 for equal images.

    The window is a Gaussian of sigma 1.5 (11x11) with biased covariance; the mean is over channels and pixels except
    for a border of 5. With a person's mask, both images are black outside of it, and the mean is still over the entire
    frame. Raises ValueError for images of different size, or of 10x10 or less.
    """
    if generated.shape != target.shape or min(generated.shape[:2]) <= 2 * BORDER:
        raise ValueError(f"expected two images of one size over 10x10, got {generated.shape} and {target.shape}")
    generated, target = protocol.frame(generated, mask), protocol.frame(target, mask)
    data_range = protocol.data_range
    if data_range is None:
        # A constant image has a range of 0; one step of uint8 keeps the formula defined.
        data_range = max(1, int(generated.max()) - int(generated.min()))
    value = structural_similarity(
        generated,
        target,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        channel_axis=-1,
        data_range=data_range,
    )
    return float(value)


class SSIM(Metric):
    """The mean SSIM of all images."""

    name = "ssim"
    runs_in_workers = True

    def __init__(self, protocol: EvaluationProtocol, image_size: tuple[int, int]) -> None:
        data_range = "max - min of the generated image" if protocol.data_range is None else f"{protocol.data_range:g}"
        details = protocol.describe(image_size) | {"window": "gaussian 11x11, sigma 1.5", "data_range": data_range}
        super().__init__(self.name, protocol.name, details, [f"{self.name}/{protocol.name}"])
        self._framing = protocol

    @override
    def update(self, images: ImageBatch) -> Columns:
        pairs = zip(images.generated, images.true, strict=True)
        return {self.columns[0]: np.array([ssim(generated, true, self._framing) for generated, true in pairs])}


class MaskSSIM(SSIM):
    """The mean SSIM of all persons."""

    name = "mask_ssim"

    @override
    def update(self, images: ImageBatch) -> Columns:
        assert images.masks is not None
        triples = zip(images.generated, images.true, images.masks, strict=True)
        values = [ssim(generated, true, self._framing, mask) for generated, true, mask in triples]
        return {self.columns[0]: np.array(values)}
