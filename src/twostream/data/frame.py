"""The frame of an image and that of a network: which rectangle of an image a network sees, and the way back."""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

# Joints of a person who is seen from head to foot: nose, eyes and ears, and the ankles.
HEAD, ANKLES = (0, 14, 15, 16, 17), (10, 13)
# Margins around the joints of a person, as fractions of the height from the head's joints to the lower ankle: hair
# above, feet below, or hands. A detector's box of the person is about as large.
ABOVE, BELOW = 0.14, 0.10
SMALL = 0.75  # fraction of the frame of the whole image below which a person is cropped
MARGIN = 0.15  # of the network's width beside the joints
FEATHER = 0.05  # of the network's width in which a crop that is put back is blended with the image around it


class Frame:
    """The rectangle of an image that a network sees, at the network's aspect ratio.

    It contains the whole image, or is cropped around a person; what lies outside the image is padded by its edges.

    Args:
        image_size: height and width of the image in pixels.
        network_size: height and width of the network's images in pixels.
        joints: (18, 2) of the person, or (n, 18, 2) in a video, (y, x) in pixels of the image and NaN if missing. A
            person who is seen from head to foot, and would be less than three quarters as large in the whole image, is
            cropped; None for the whole image.

    """

    def __init__(
        self,
        image_size: tuple[int, int],
        network_size: tuple[int, int],
        joints: Float[Tensor, "*n 18 2"] | None = None,
    ) -> None:
        self.image_size, self.network_size = image_size, network_size
        whole = whole_box(image_size, network_size)
        box = None if joints is None else person_box(joints.numpy(), network_size)
        top, left, height = whole if box is None or box[2] >= SMALL * whole[2] else box
        self.scale = network_size[0] / height
        low, box, image, network = np.array(
            [(top, left), (height, network_size[1] / self.scale), image_size, network_size]
        )
        start = np.clip(np.rint(low), 0, image - 1)
        part = np.maximum(1, np.minimum(image, np.rint(low + box)) - start)
        size = np.clip(np.rint(part * self.scale), 1, network)
        offset = np.clip(np.rint((start - low) * self.scale), 0, network - size)
        # (y, x) in pixels: `part` pixels of the image from `start` on become `size` at `offset` of the network's frame.
        self.start, self.part, self.size, self.offset = ((int(y), int(x)) for y, x in (start, part, size, offset))

    def to_network(self, image: Image.Image) -> UInt8[Tensor, "1 3 h w"]:
        """Return what the network sees of an image."""
        (top, left), (height, width) = self.start, self.part
        box = (left, top, left + width, top + height)
        rows, columns = self.size
        part = image.convert("RGB").resize((columns, rows), Image.Resampling.BICUBIC, box=box, reducing_gap=3)
        pixels = torch.from_numpy(np.array(part)).permute(2, 0, 1)[None].float()
        (above, before), (outer_rows, outer_columns) = self.offset, self.network_size
        margins = (before, outer_columns - before - columns, above, outer_rows - above - rows)
        return F.pad(pixels, margins, mode="replicate").to(torch.uint8)

    def joints_to_network(self, joints: Float[Tensor, "b 18 2"]) -> Float[Tensor, "b 18 2"]:
        """Return joints of the image as pixels of the network's frame."""
        return (joints - torch.tensor(self.start) + 0.5) * self.scale - 0.5 + torch.tensor(self.offset)

    def joints_from_network(self, joints: Float[Tensor, "b 18 2"]) -> Float[Tensor, "b 18 2"]:
        """Return joints in the network's frame as pixels of the image."""
        return (joints - torch.tensor(self.offset) + 0.5) / self.scale - 0.5 + torch.tensor(self.start)

    def from_network(self, generated: UInt8[Tensor, "3 h w"], image: Image.Image) -> Image.Image:
        """Return a generated image in the place of what the network saw of `image`.

        A crop is blended with the image linearly at those of its borders where the image goes on.
        """
        (above, before), (rows, columns) = self.offset, self.size
        inner = generated[:, above : above + rows, before : before + columns].permute(1, 2, 0).cpu().numpy()
        part = Image.fromarray(inner).resize(self.part[::-1], Image.Resampling.BICUBIC)
        if self.part == self.image_size:
            return part
        result = image.convert("RGB")
        ramp = round(FEATHER * self.network_size[1] / self.scale)
        shares = [_shares(*side, ramp) for side in zip(self.start, self.part, self.image_size, strict=True)]
        mask = Image.fromarray((255 * np.outer(*shares)).round().astype(np.uint8))
        result.paste(part, self.start[::-1], mask)
        return result


def _shares(start: int, part: int, image: int, ramp: int) -> Float[np.ndarray, " part"]:
    """Return how much a crop has of each pixel of an axis: 1, and less in `ramp` pixels where the image goes on."""
    after = np.arange(1, part + 1) if start > 0 else np.inf
    before = np.arange(part, 0, -1) if start + part < image else np.inf
    return np.ones(part) * np.minimum(1, np.minimum(after, before) / (ramp + 1))


def whole_box(image_size: tuple[int, int], network_size: tuple[int, int]) -> tuple[float, float, float]:
    """Return top, left and height of the smallest box of the network's aspect ratio that contains an image."""
    aspect = network_size[1] / network_size[0]
    height = max(image_size[0], image_size[1] / aspect)
    return (image_size[0] - height) / 2, (image_size[1] - aspect * height) / 2, height


def person_box(
    joints: Float[np.ndarray, "*n 18 2"], network_size: tuple[int, int]
) -> tuple[float, float, float] | None:
    """Return top, left and height of a box around a person; None unless it is seen from head to foot."""
    points = joints.reshape(-1, 2)
    heads, feet = joints[..., HEAD, 0], joints[..., ANKLES, 0]
    if np.isnan(heads).all() or np.isnan(feet).all():
        return None
    (top, left), (bottom, right) = np.nanmin(points, axis=0), np.nanmax(points, axis=0)
    head, foot = np.nanmin(heads), np.nanmax(feet)
    tall = foot - head
    top, bottom = top - ABOVE * tall, bottom + BELOW * tall
    height = max(bottom - top, (right - left) / (1 - 2 * MARGIN) * network_size[0] / network_size[1])
    if tall <= 0:
        return None
    width = height * network_size[1] / network_size[0]
    return float((top + bottom - height) / 2), float((left + right - width) / 2), float(height)


def check_near(joints: Tensor, image_size: tuple[int, int], network_size: tuple[int, int], name: str) -> None:
    """Refuse joints of another frame: those that are beyond twice the box of the network's shape around the image."""
    _, _, height = whole_box(image_size, network_size)
    far = joints[joints.abs() > 2 * height * max(1, network_size[1] / network_size[0])]
    if len(far):
        expected = f"(y, x) in pixels of an image of {image_size[0]}x{image_size[1]}"
        raise ValueError(f"{name}: expected {expected}, got a joint at {far[0]:g}")
