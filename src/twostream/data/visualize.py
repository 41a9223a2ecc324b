"""Pictures for people: poses as skeletons, grids of pairs, and where the AT-blocks look."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image, ImageColor, ImageDraw, ImageFont
from torch import Tensor

from twostream.data.keypoints import LIMBS, NUM_JOINTS
from twostream.types import ImagePair

# Hues go round the circle once, joint by joint, so that left and right are told apart.
COLOURS = [
    tuple(int(255 * channel) for channel in np.clip(np.abs((hue * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1))
    for hue in np.arange(NUM_JOINTS) / NUM_JOINTS
]

# The joints whose place is looked for in the source: nose, neck, both wrists, right knee, left ankle.
POINT_COLOURS = {0: "#ff4040", 1: "#ffe000", 4: "#40e040", 7: "#00e0ff", 9: "#7090ff", 13: "#ff50ff"}
FULL = 16
FONT_SIZE, LINE_HEIGHT, GAP = 11, 16, 4


class BlockView(NamedTuple):
    """What D (Eq. 4) of one AT-block says of one pair; positions count the map row by row."""

    attention: Float[Tensor, "points positions"]
    """Rows of D: where in the source each point of the target is looked for."""
    matches: Int[Tensor, " positions"]
    """For each target position the source position of the highest D."""


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


def sample_grid(batch: ImagePair, generated: UInt8[Tensor, "b 3 h w"], columns: int = 2) -> Image.Image:
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


def points_of(joints: Float[Tensor, "18 2"], image_size: tuple[int, int]) -> list[int]:
    """Return the joints of `POINT_COLOURS` that were found and lie inside the picture."""
    height, width = image_size
    inside = (joints.round() >= 0).all(dim=1) & (joints.round() < torch.tensor([height, width])).all(dim=1)
    return [joint for joint in POINT_COLOURS if inside[joint]]


def positions_of_points(
    points: Float[Tensor, "points 2"], map_size: tuple[int, int], image_size: tuple[int, int]
) -> Int[Tensor, " points"]:
    """Return the map position of each point (y, x in pixels, inside the picture)."""
    rows, columns = (points.round().long() * torch.tensor(map_size) // torch.tensor(image_size)).unbind(dim=1)
    return rows * map_size[1] + columns


def warp_by_matches(
    source: UInt8[Tensor, "3 h w"], matches: Int[Tensor, " positions"], map_size: tuple[int, int]
) -> UInt8[Tensor, "3 h w"]:
    """Put the source's patches where they match: each target position shows the patch of its source position."""
    patches = source.unflatten(2, (map_size[1], -1)).unflatten(1, (map_size[0], -1))
    patches = patches.permute(1, 3, 0, 2, 4).flatten(0, 1)[matches].unflatten(0, map_size)
    return patches.permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2)


def paint_attention(
    source: UInt8[Tensor, "3 h w"],
    attention: Float[Tensor, "points positions"],
    colours: Sequence[str],
    map_size: tuple[int, int],
) -> UInt8[Tensor, "3 h w"]:
    """Show the source dark and grey, lit in each point's colour by its row of D.

    A colour is full where D is at least `FULL` times what it would be if it looked everywhere alike.
    """
    picture = source.float().mean(dim=0, keepdim=True).mul(0.5).repeat(3, 1, 1)
    rows, columns = (size // count for size, count in zip(source.shape[1:], map_size, strict=True))
    for row, colour in zip(attention, colours, strict=True):
        weight = (
            (row * len(row) / FULL)
            .clamp(max=1)
            .view(map_size)
            .repeat_interleave(rows, dim=0)
            .repeat_interleave(columns, dim=1)
        )
        picture += 0.8 * weight * (torch.tensor(ImageColor.getrgb(colour)).view(3, 1, 1) - picture)
    return picture.round().to(torch.uint8)


def correspondence_strip(
    pair: ImagePair,
    generated: UInt8[Tensor, "3 h w"],
    points: Sequence[int],
    blocks: Sequence[BlockView],
    map_size: tuple[int, int],
) -> Image.Image:
    """Draw where the AT-blocks look in the source for one pair, which has no batch axis.

    Above: the source; the target with the points, which are joints; for each block the source lit where D looks for
    them, with a dot on D's highest value and a ring on the joint itself where the source has it. Below: the generated
    and the true target; for each block the source's patches put where they match.
    """
    height, width = generated.shape[-2:]
    zoom = max(1, round(192 / height))
    colours = [POINT_COLOURS[joint] for joint in points]
    joints_there, joints_here = (joints[list(points)] for joints in (pair.source_joints, pair.target_joints))
    patch = torch.tensor([height / map_size[0], width / map_size[1]])
    above = {"source": _enlarged(pair.source_image, zoom), "points": _enlarged(pair.target_image, zoom)}
    below = {"generated": _enlarged(generated, zoom), "target": _enlarged(pair.target_image, zoom)}
    _mark(above["points"], joints_here, colours, zoom, is_ring=False)
    for k, block in enumerate(blocks, start=1):
        looks = _enlarged(paint_attention(pair.source_image, block.attention, colours, map_size), zoom)
        best = block.attention.argmax(dim=1)
        middles = (torch.stack([best // map_size[1], best % map_size[1]], dim=1) + 0.5) * patch - 0.5
        _mark(looks, joints_there, colours, zoom, is_ring=True)
        _mark(looks, middles, colours, zoom, is_ring=False)
        above[f"block {k}"] = looks
        below[f"{k} matched"] = _enlarged(warp_by_matches(pair.source_image, block.matches, map_size), zoom)
    return stacked([_captioned(above), _captioned(below)])


def stacked(pictures: Sequence[Image.Image], footnote: str = "") -> Image.Image:
    """Set pictures one under the other on white, with a line of text below them where there is one."""
    height = sum(picture.height for picture in pictures)
    size = max(picture.width for picture in pictures), height + (LINE_HEIGHT if footnote else 0)
    sheet = Image.new("RGB", size, "white")
    top = 0
    for picture in pictures:
        sheet.paste(picture, (0, top))
        top += picture.height
    ImageDraw.Draw(sheet).text((0, height), footnote, fill="black", font=ImageFont.load_default(FONT_SIZE))
    return sheet


def _enlarged(picture: UInt8[Tensor, "3 h w"], zoom: int) -> Image.Image:
    image = Image.fromarray(picture.permute(1, 2, 0).numpy())
    return image.resize((image.width * zoom, image.height * zoom), Image.Resampling.NEAREST)


def _mark(
    picture: Image.Image, points: Float[Tensor, "points 2"], colours: Sequence[str], zoom: int, is_ring: bool
) -> None:
    """Draw a dot or a ring at each point (y, x in pixels before the zoom), none at a missing one."""
    draw = ImageDraw.Draw(picture)
    for point, colour in zip(points, colours, strict=True):
        if not point.isnan().any():
            at = tuple((point.flip(0) + 0.5).mul(zoom).tolist())
            if is_ring:
                draw.circle(at, 7, outline="black", width=4)
                draw.circle(at, 6, outline=colour, width=2)
            else:
                draw.circle(at, 4, fill=colour, outline="black")


def _captioned(pictures: Mapping[str, Image.Image]) -> Image.Image:
    """Set pictures of one size side by side, each with its name above."""
    width, height = next(iter(pictures.values())).size
    strip = Image.new("RGB", ((width + GAP) * len(pictures), height + LINE_HEIGHT + GAP), "white")
    draw = ImageDraw.Draw(strip)
    for i, (name, picture) in enumerate(pictures.items()):
        draw.text((i * (width + GAP), 0), name, fill="black", font=ImageFont.load_default(FONT_SIZE))
        strip.paste(picture, (i * (width + GAP), LINE_HEIGHT))
    return strip
