"""Pictures for people: poses as skeletons, and grids of them."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw
from torch import Tensor

from twostream.data.skeleton import LIMBS, NUM_JOINTS
from twostream.types import PictureBatch

# Hues go round the circle once, joint by joint, so that left and right are told apart.
COLOURS = [
    tuple(int(255 * channel) for channel in np.clip(np.abs((hue * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1))
    for hue in np.arange(NUM_JOINTS) / NUM_JOINTS
]


def draw_pose(joints: Float[Tensor, "18 2"], image_size: tuple[int, int], zoom: int = 4) -> UInt8[Tensor, "3 h w"]:
    """Draw the found joints (y, x in pixels; NaN is missing) and the limbs between them on black."""
    height, width = image_size
    canvas = Image.new("RGB", (width * zoom, height * zoom))
    draw = ImageDraw.Draw(canvas)
    points = [None if joint.isnan().any() else tuple((joint.flip(0) + 0.5).mul(zoom).tolist()) for joint in joints]
    thickness = max(1, round(zoom * height / 64))
    for start, end in LIMBS:
        if (first := points[start]) and (last := points[end]):
            draw.line([first, last], fill=COLOURS[end], width=thickness)
    for point, colour in zip(points, COLOURS, strict=True):
        if point:
            draw.circle(point, thickness, fill=colour)
    small = canvas.resize((width, height), Image.Resampling.BOX)
    return torch.from_numpy(np.asarray(small).transpose(2, 0, 1).copy())


def sample_grid(batch: PictureBatch, generated: UInt8[Tensor, "b 3 h w"], columns: int = 2) -> Image.Image:
    """Set the pairs of a batch one under the other: source, source pose, target pose, true and generated target.

    Small pictures are enlarged; `columns` pairs stand side by side.
    """
    height, width = generated.shape[-2:]
    strips = []
    for source, source_joints, target, target_joints, output in zip(*batch, generated, strict=True):
        poses = [draw_pose(joints, (height, width)) for joints in (source_joints, target_joints)]
        strips.append(torch.cat([source, *poses, target, output], dim=2))
    strips += [torch.full_like(strips[0], 255)] * (-len(strips) % columns)
    gap = torch.full((3, height * len(strips) // columns, 4), 255, dtype=torch.uint8)
    parts = [part for i in range(columns) for part in (gap, torch.cat(strips[i::columns], dim=1))]
    grid = Image.fromarray(torch.cat(parts[1:], dim=2).permute(1, 2, 0).numpy())
    zoom = max(1, 128 // height)
    return grid.resize((grid.width * zoom, grid.height * zoom), Image.Resampling.NEAREST)
