"""Fixed backgrounds of six cameras: a wall or greenery over a floor, in muted colours."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

NUM_CAMERAS = 6


@dataclass(frozen=True)
class _Scene:
    """Colours of a camera's place and what its wall and floor look like."""

    wall: tuple[int, int, int]
    floor: tuple[int, int, int]
    horizon: float
    wall_kind: str
    floor_kind: str


_SCENES = (
    _Scene((168, 160, 148), (138, 134, 128), 0.62, "plain", "tiles"),
    _Scene((140, 100, 84), (122, 120, 118), 0.7, "bricks", "plain"),
    _Scene((92, 108, 78), (150, 142, 126), 0.55, "leaves", "plain"),
    _Scene((110, 122, 134), (104, 104, 108), 0.66, "panels", "tiles"),
    _Scene((176, 178, 172), (112, 126, 96), 0.6, "plain", "leaves"),
    _Scene((84, 86, 94), (160, 154, 146), 0.74, "panels", "plain"),
)


def _noise(rng: np.random.Generator, shape: tuple[int, int], cell: float) -> NDArray[np.float32]:
    """Smooth noise of about unit spread whose blobs are `cell` pixels wide."""
    coarse = tuple(max(int(size / cell), 2) for size in shape)
    grid = Image.fromarray(rng.normal(size=coarse).astype(np.float32))
    return np.asarray(grid.resize((shape[1], shape[0]), Image.Resampling.BICUBIC))


def _texture(kind: str, rng: np.random.Generator, y: NDArray, x: NDArray) -> NDArray[np.floating]:
    """Brightness of a surface around 0, at coordinates in frame heights."""
    shape, pixels = (y.shape[0], x.shape[1]), 1 / (y[1, 0] - y[0, 0])
    grain = 0.02 * _noise(rng, shape, 0.05 * pixels)
    match kind:
        case "bricks":
            row = np.floor(y / 0.045)
            joint = (y / 0.045 - row < 0.2) | ((x / 0.12 + 0.5 * (row % 2)) % 1.0 < 0.1)
            return grain + np.where(joint, 0.1, -0.02)
        case "leaves":
            return 2 * grain + 0.07 * _noise(rng, shape, 0.025 * pixels) + 0.07 * _noise(rng, shape, 0.12 * pixels)
        case "panels":
            return grain + np.where((x / 0.3) % 1.0 < 0.08, 0.14, 0.0) + np.where((x / 0.3) % 1.0 > 0.55, -0.05, 0.0)
        case "tiles":
            joint = ((y / 0.09) % 1.0 < 0.13) | (((x + 0.7 * y) / 0.16) % 1.0 < 0.08)
            return grain + np.where(joint, -0.09, 0.0)
    return grain + 0.04 * _noise(rng, shape, 0.3 * pixels)


@lru_cache(maxsize=2 * NUM_CAMERAS)
def _panorama(camera: int, image_size: tuple[int, int]) -> NDArray[np.float32]:
    """Whole place of a camera: 1.3 frames high and 5 frames wide, RGB in [0, 1]."""
    scene, rng = _SCENES[camera], np.random.default_rng([271828, camera])
    rows, columns = int(1.3 * image_size[0]), 5 * image_size[1]
    y = ((np.arange(rows) + 0.5) / image_size[0])[:, None]
    x = ((np.arange(columns) + 0.5) / image_size[0])[None]
    wall = _texture(scene.wall_kind, rng, y, x) - 0.1 * (y - 0.4)
    floor = _texture(scene.floor_kind, rng, y, x) + 0.12 * (y - 0.9)
    horizon = scene.horizon + 0.15
    below = (y > horizon)[..., None]
    colour = np.where(below, np.array(scene.floor), np.array(scene.wall)) / 255
    colour = colour * (1 + 1.6 * np.where(below[..., 0], floor, wall))[..., None]
    # where wall and floor meet it is darker
    colour *= 1 - 0.25 * np.exp(-(((y - horizon) / 0.02) ** 2))[..., None]
    return np.clip(colour, 0, 1).astype(np.float32)


def shoot_background(camera: int, image_size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """Cut a frame out of a camera's place, with a little change per shot.

    Args:
        camera: 0 to 5.
        image_size: height and width in pixels.
        rng: where the place of the cut comes from.

    Returns:
        (h, w, 3) colours in [0, 1].
    """
    whole = _panorama(camera, image_size)
    rows, columns = image_size
    top = rng.integers(int(0.08 * rows), int(0.22 * rows) + 1)
    left = rng.integers(0, whole.shape[1] - columns + 1)
    return whole[top : top + rows, left : left + columns].copy()
