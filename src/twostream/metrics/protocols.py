"""Evaluation protocols: the conventions under which the field's numbers are computed, by name and version."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy.ndimage import gaussian_filter, uniform_filter

from twostream.data.keypoints import JointArray
from twostream.data.pose import person_mask

BANDED_SIZE = (256, 176)  # height and width of DeepFashion's images in PATN's preparation
BAND = 40  # pixels at each side
WHITE = 255


@dataclass(frozen=True)
class Window:
    """The window of SSIM."""

    name: str  # shape, for people
    mean: Callable[[Float[np.ndarray, "h w c"]], Float[np.ndarray, "h w c"]]  # weighted, around each pixel
    border: int  # pixels at each side that the mean over an image leaves out
    correction: float = 1.0  # factor on variances and covariances: 1 if they are biased


def gaussian_window(taps: int) -> Window:
    """Return a Gaussian of sigma 1.5 with 11 or 13 taps along each side; the border is that of 11."""
    mean = partial(gaussian_filter, sigma=(1.5, 1.5, 0), radius=(taps // 2, taps // 2, 0))
    return Window(f"gaussian {taps}x{taps}, sigma 1.5", mean, border=5)


def uniform_window(size: int) -> Window:
    """Return a square of equal weights, with unbiased covariances."""
    mean = partial(uniform_filter, size=(size, size, 1))
    return Window(f"uniform {size}x{size}, unbiased", mean, border=size // 2, correction=size**2 / (size**2 - 1))


@dataclass(frozen=True)
class EvaluationProtocol:
    """What a number depends on besides the images and the metric."""

    name: str
    version: int  # raised whenever its numbers change
    metrics: tuple[str, ...]  # names of its metrics
    window: Window  # of SSIM
    data_range: float | None  # the range L of SSIM; None for max - min of the generated image
    mask_has_edges: bool  # a person's mask includes the pixels on right and lower edges of its bars
    has_bands: bool  # pad images of 256x176 by white bands of 40 pixels to 256x256
    inception: str = "2015"  # name of the network of FID, one of `INCEPTIONS` in `inception.py`
    references: tuple[str, ...] = ("train", "test")  # names of the sets of true images that FID compares with

    def frame(
        self, image: UInt8[np.ndarray, "h w c"], mask: Bool[np.ndarray, "h w"] | None = None
    ) -> UInt8[np.ndarray, "h v c"]:
        """Return an image in the frame in which it is scored; with a person's mask, all else, bands too, is black."""
        if mask is not None:
            image = image * mask[:, :, None]
        if not self._is_banded(image.shape[:2]):
            return image
        return np.pad(image, ((0, 0), (BAND, BAND), (0, 0)), constant_values=WHITE if mask is None else 0)

    def mask(self, joints: JointArray, image_size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
        """Return the mask of a person with these joints, True on the person."""
        return person_mask(joints, image_size, has_edges=self.mask_has_edges)

    def describe(self, image_size: tuple[int, int]) -> dict[str, object]:
        """Return what is reported with a number on images of (height, width): the version and the size of the frame."""
        height, width = image_size
        frame = f"{height}x{width + 2 * BAND} with bands" if self._is_banded(image_size) else f"{height}x{width}"
        return {"version": self.version, "frame": frame}

    def _is_banded(self, image_size: tuple[int, ...]) -> bool:
        return self.has_bands and tuple(image_size) == BANDED_SIZE


COMMON = ("ssim", "mask_ssim", "inception_score", "mask_inception_score")

PATN = EvaluationProtocol(
    "patn", 2, (*COMMON, "pckh"), gaussian_window(13), data_range=None, mask_has_edges=False, has_bands=True
)
"""PATN's evaluation (Zhu et al. 2019), which the paper follows, as its environment computed it: scikit-image 0.14.2."""

PATN_V1 = replace(PATN, version=1, window=gaussian_window(11), mask_has_edges=True)
"""The same with the window and the polygons of current scikit-image, as most people rerun it."""

STANDARD = EvaluationProtocol(
    "standard",
    1,
    (*COMMON, "fid", "lpips"),
    gaussian_window(11),
    data_range=255,
    mask_has_edges=True,
    has_bands=False,
)
"""The protocol of later papers."""

EVALUATOR = replace(STANDARD, name="evaluator", metrics=("evaluator",))
"""The protocol of the evaluator network of synthetic people, whose numbers another network's can't be compared with."""

GFLA = EvaluationProtocol(
    "gfla",
    1,
    ("ssim", "fid", "lpips", "mask_lpips"),
    uniform_window(51),
    data_range=255,
    mask_has_edges=True,
    has_bands=False,
    inception="torchvision",
    references=("all_train",),
)
"""The evaluation of GFLA (Ren et al. 2020), which published numbers of the following years come from."""

CFLD = replace(GFLA, name="cfld", metrics=("ssim", "psnr"))
"""SSIM and PSNR of the evaluation of CFLD (Lu et al. 2024), whose other metrics are GFLA's."""

PROTOCOLS = (PATN, STANDARD)
BY_NAME = {protocol.name: [protocol] for protocol in (*PROTOCOLS, GFLA, CFLD)}
BY_NAME |= {"all": list(PROTOCOLS), "patn_v1": [PATN_V1]}


def protocols_named(name: str) -> list[EvaluationProtocol]:
    """Return the protocols that a name selects. Raises ValueError for an unknown name."""
    if name not in BY_NAME:
        raise ValueError(f"protocol: expected {', '.join(BY_NAME)}, got {name!r}")
    return BY_NAME[name]
