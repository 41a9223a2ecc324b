"""Figures: poses as skeletons, grids of pairs, and the attention of AT-blocks."""

from collections.abc import Iterable, Mapping, Sequence
from colorsys import hsv_to_rgb
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image, ImageColor, ImageDraw, ImageFont
from torch import Tensor

from twostream.data.keypoints import LIMBS, NUM_JOINTS
from twostream.types import ImagePair

# Hues cover the colour circle once, joint by joint, so that left and right differ.
COLOURS = [tuple(int(255 * channel) for channel in hsv_to_rgb(i / NUM_JOINTS, 1, 1)) for i in range(NUM_JOINTS)]

# Joints whose attention is drawn: nose, neck, both wrists, right knee, left ankle.
POINT_COLOURS = {0: "#ff4040", 1: "#ffe000", 4: "#40e040", 7: "#00e0ff", 9: "#7090ff", 13: "#ff50ff"}
SATURATION = 16  # multiple of uniform attention that is drawn in full colour
CORRESPONDENCE_FOOTNOTE = (
    "dot: maximum of the attention matrix; ring: the joint itself; matched: source patches at their best match"
)
FONT_SIZE, LINE_HEIGHT, GAP = 11, 16, 4  # pixels
GRID_COLUMNS = 2


class View(NamedTuple):
    """The attention of an AT-block or a warp for one pair; positions number its map row by row.

    `attention` has the rows of the attention matrix (Eq. 4) for points of the target, `matches` the source position of
    the highest attention for each target position.
    """

    attention: Float[Tensor, "points positions"]
    matches: Int[Tensor, " positions"]
    map_size: tuple[int, int]  # rows and columns


class Cell(NamedTuple):
    """An image with dots and rings at (y, x) in its pixels, NaN for none; the i-th ones are of the i-th colour."""

    image: UInt8[Tensor, "3 h w"]
    dots: Float[Tensor, "n 2"] = torch.empty(0, 2)
    rings: Float[Tensor, "n 2"] = torch.empty(0, 2)


def draw_pose(joints: Float[Tensor, "18 2"], image_size: tuple[int, int], zoom: int = 4) -> UInt8[Tensor, "3 h w"]:
    """Draw the found joints (y, x in pixels, NaN if missing) and the limbs between them on black."""
    height, width = image_size
    canvas = Image.new("RGB", (width * zoom, height * zoom))
    draw = ImageDraw.Draw(canvas)
    points = _zoomed_points(joints, zoom)
    thickness = max(1, round(zoom * height / 64))
    for start, end in LIMBS:
        if start in points and end in points:
            draw.line([points[start], points[end]], fill=COLOURS[end], width=thickness)
    for joint, point in points.items():
        draw.circle(point, thickness, fill=COLOURS[joint])
    small = canvas.resize((width, height), Image.Resampling.BOX)
    return torch.from_numpy(np.asarray(small).transpose(2, 0, 1).copy())


def sample_grid(batch: ImagePair, generated: UInt8[Tensor, "b 3 h w"]) -> Image.Image:
    """Draw a row for each pair of a batch: source, source pose, target pose, true and generated target.

    Rows are distributed over two columns; small images are enlarged.
    """
    height, width = generated.shape[-2:]
    strips = []
    for source, source_joints, target, target_joints, output in zip(*batch, generated, strict=True):
        poses = [draw_pose(joints, (height, width)) for joints in (source_joints, target_joints)]
        strips.append(torch.cat([source, *poses, target, output], dim=2))
    strips += [torch.full_like(strips[0], 255)] * (-len(strips) % GRID_COLUMNS)
    gap = torch.full((3, height * len(strips) // GRID_COLUMNS, 4), 255, dtype=torch.uint8)
    parts = [part for i in range(GRID_COLUMNS) for part in (gap, torch.cat(strips[i::GRID_COLUMNS], dim=1))]
    return _zoom(torch.cat(parts[1:], dim=2), max(1, 128 // height))


def points_of(
    joints: Float[Tensor, "18 2"], image_size: tuple[int, int], among: Iterable[int] = tuple(POINT_COLOURS)
) -> list[int]:
    """Return those of some joints that were found inside the image."""
    is_inside = ((joints.round() >= 0) & (joints.round() < torch.tensor(image_size))).all(dim=1)
    return [joint for joint in among if is_inside[joint]]


def warp_by_matches(
    source: UInt8[Tensor, "3 h w"], matches: Int[Tensor, " positions"], map_size: tuple[int, int]
) -> UInt8[Tensor, "3 h w"]:
    """Rearrange the source: each target position shows the patch of its best matching source position."""
    patches = source.unflatten(2, (map_size[1], -1)).unflatten(1, (map_size[0], -1))
    patches = patches.permute(1, 3, 0, 2, 4).flatten(0, 1)[matches].unflatten(0, map_size)
    return patches.permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2)


def paint_attention(
    source: UInt8[Tensor, "3 h w"],
    attention: Float[Tensor, "points positions"],
    colours: Sequence[str],
    map_size: tuple[int, int],
) -> UInt8[Tensor, "3 h w"]:
    """Draw the source in dark grey, coloured by the attention of each point.

    The colour is full where the attention is at least `SATURATION` times uniform attention.
    """
    image = source.float().mean(dim=0, keepdim=True).mul(0.5).repeat(3, 1, 1)
    rows, columns = (size // count for size, count in zip(source.shape[1:], map_size, strict=True))
    for row, colour in zip(attention, colours, strict=True):
        weight = (row * len(row) / SATURATION).clamp(max=1).view(map_size)
        weight = torch.kron(weight, torch.ones(rows, columns))
        image += 0.8 * weight * (torch.tensor(ImageColor.getrgb(colour)).view(3, 1, 1) - image)
    return image.round().to(torch.uint8)


def correspondence_cells(
    pair: ImagePair,
    generated: UInt8[Tensor, "3 h w"],
    points: Sequence[int],
    colours: Sequence[str],
    views: Mapping[str, View],
) -> tuple[dict[str, Cell], dict[str, Cell]]:
    """Return what is drawn of AT-blocks and of a warp, by their names, for one pair, which has no batch axis.

    Upper row: the source; the target with the points; for each block the source coloured by the points' attention, with
    a dot at its maximum and a ring at the same joint of the source, if found. Lower row: the generated and the true
    target; for each view the source rearranged by its matches. The colours are those of the points in order.
    """
    height, width = generated.shape[-2:]
    source_points, target_points = (joints[list(points)] for joints in (pair.source_joints, pair.target_joints))
    upper = {"source": Cell(pair.source_image), "points": Cell(pair.target_image, dots=target_points)}
    lower = {"generated": Cell(generated), "target": Cell(pair.target_image)}
    for name, view in views.items():
        rows, columns = view.map_size
        painted = paint_attention(pair.source_image, view.attention, colours, view.map_size)
        best = view.attention.argmax(dim=1)
        patch = torch.tensor([height / rows, width / columns])
        centres = (torch.stack([best // columns, best % columns], dim=1) + 0.5) * patch - 0.5
        upper[name.replace("_", " ")] = Cell(painted, dots=centres, rings=source_points)
        matched = warp_by_matches(pair.source_image, view.matches, view.map_size)
        lower[f"{name.removeprefix('block_')} matched"] = Cell(matched)
    return upper, lower


def correspondence_strip(
    pair: ImagePair,
    generated: UInt8[Tensor, "3 h w"],
    points: Sequence[int],
    views: Mapping[str, View],
) -> Image.Image:
    """Draw `correspondence_cells` of points among `POINT_COLOURS` as one image."""
    zoom = max(1, round(192 / generated.shape[-2]))
    colours = [POINT_COLOURS[joint] for joint in points]
    strips = []
    for cells in correspondence_cells(pair, generated, points, colours, views):
        images = {name: _zoom(cell.image, zoom) for name, cell in cells.items()}
        for name, cell in cells.items():
            _mark(images[name], cell.rings, colours, zoom, ring=True)
            _mark(images[name], cell.dots, colours, zoom, ring=False)
        strips.append(_captioned(images))
    return stacked(strips)


def stacked(images: Sequence[Image.Image], footnote: str = "") -> Image.Image:
    """Stack images vertically on white, with an optional line of text below."""
    height = sum(image.height for image in images)
    size = max(image.width for image in images), height + (LINE_HEIGHT if footnote else 0)
    canvas = Image.new("RGB", size, "white")
    top = 0
    for image in images:
        canvas.paste(image, (0, top))
        top += image.height
    ImageDraw.Draw(canvas).text((0, height), footnote, fill="black", font=ImageFont.load_default(FONT_SIZE))
    return canvas


def _zoom(image: UInt8[Tensor, "3 h w"], zoom: int) -> Image.Image:
    small = Image.fromarray(image.permute(1, 2, 0).numpy())
    return small.resize((small.width * zoom, small.height * zoom), Image.Resampling.NEAREST)


def _mark(image: Image.Image, points: Float[Tensor, "n 2"], colours: Sequence[str], zoom: int, ring: bool) -> None:
    """Draw a dot or a ring at each point (y, x in pixels before the zoom) that is not missing."""
    draw = ImageDraw.Draw(image)
    for i, centre in _zoomed_points(points, zoom).items():
        if ring:
            draw.circle(centre, 7, outline="black", width=4)
            draw.circle(centre, 6, outline=colours[i], width=2)
        else:
            draw.circle(centre, 4, fill=colours[i], outline="black")


def _zoomed_points(points: Float[Tensor, "n 2"], zoom: int) -> dict[int, tuple[float, float]]:
    """Return the centres (x, y) of the points' pixels after the zoom, by index, without missing points."""
    centres = (points.flip(1) + 0.5).mul(zoom)
    return {i: (float(x), float(y)) for i, (x, y) in enumerate(centres) if not (x.isnan() or y.isnan())}


def _captioned(images: Mapping[str, Image.Image]) -> Image.Image:
    """Place images of one size side by side, each below its name."""
    width, height = next(iter(images.values())).size
    strip = Image.new("RGB", ((width + GAP) * len(images), height + LINE_HEIGHT + GAP), "white")
    draw = ImageDraw.Draw(strip)
    for i, (name, image) in enumerate(images.items()):
        draw.text((i * (width + GAP), 0), name, fill="black", font=ImageFont.load_default(FONT_SIZE))
        strip.paste(image, (i * (width + GAP), LINE_HEIGHT))
    return strip
