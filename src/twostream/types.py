"""What flows from the data to the networks: axis names and value ranges, stated once.

Axes: `b` batch, `h` and `w` height and width in pixels. Images are RGB in [-1, 1] everywhere on the device.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor


class ImagePair(NamedTuple):
    """A batch of pose pairs as it lies in memory, before it is made ready on the device."""

    source_image: UInt8[Tensor, "*b 3 h w"]
    source_joints: Float[Tensor, "*b 18 2"]
    """(y, x) in pixels, NaN where a joint was not found; a joint may lie outside the picture."""
    target_image: UInt8[Tensor, "*b 3 h w"]
    target_joints: Float[Tensor, "*b 18 2"]

    def to(self, device: torch.device) -> "ImagePair":
        """Return the batch on a device."""
        return ImagePair(*(tensor.to(device) for tensor in self))


class PosePair(NamedTuple):
    """A batch of pose pairs as the networks take it: `I_s`, `P_s`, `P_t` and the true `I_gt` (Sec. 3.1)."""

    source_image: Float[Tensor, "b 3 h w"]
    """In [-1, 1]."""
    source_heatmaps: Float[Tensor, "b 18 h w"]
    """In [0, 1], one channel a joint, all zero where it was not found."""
    target_heatmaps: Float[Tensor, "b 18 h w"]
    target_image: Float[Tensor, "b 3 h w"]
