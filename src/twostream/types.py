"""The batches that flow from the data to the networks: axes and value ranges, stated once.

Axes: `b` batch, `h` and `w` height and width in pixels, 18 joints.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor


class ImagePair(NamedTuple):
    """A batch of pose pairs as loaded: RGB images in 0 to 255, joints as (y, x) in pixels.

    A joint that was not found is NaN; a joint may lie outside the image.
    """

    source_image: UInt8[Tensor, "*b 3 h w"]
    source_joints: Float[Tensor, "*b 18 2"]
    target_image: UInt8[Tensor, "*b 3 h w"]
    target_joints: Float[Tensor, "*b 18 2"]

    def to(self, device: torch.device) -> "ImagePair":
        """Return the batch on a device."""
        return ImagePair(*(tensor.to(device) for tensor in self))


class PosePair(NamedTuple):
    """A batch of pose pairs as the networks take it: I_s, P_s, P_t and I_gt of Sec. 3.1.

    Images are RGB in [-1, 1], heatmaps in [0, 1] with one channel per joint, all zero for a joint that was not found.
    """

    source_image: Float[Tensor, "b 3 h w"]
    source_heatmaps: Float[Tensor, "b 18 h w"]
    target_heatmaps: Float[Tensor, "b 18 h w"]
    target_image: Float[Tensor, "b 3 h w"]
