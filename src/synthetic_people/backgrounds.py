"""Fixed backgrounds of six cameras: a wall or greenery over a floor, in muted colours."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

NUM_CAMERAS = 6


Texture = Callable[[np.random.Generator, NDArray, NDArray], NDArray[np.floating]]
"""Brightness around 0 of a surface at y (rows, 1) and x (1, columns), both in frame heights."""


def _noise(rng: np.random.Generator, y: NDArray, x: NDArray, size: float) -> NDArray[np.float32]:
    """Draw smooth noise of about unit variance, with blobs of `size` frame heights."""
    shape = (y.shape[0], x.shape[1])
    cell = size * (1 / (y[1, 0] - y[0, 0]))
    coarse = tuple(max(int(side / cell), 2) for side in shape)
    grid = Image.fromarray(rng.normal(size=coarse).astype(np.float32))
    return np.asarray(grid.resize((shape[1], shape[0]), Image.Resampling.BICUBIC))


def _grain(rng: np.random.Generator, y: NDArray, x: NDArray) -> NDArray[np.float32]:
    return 0.02 * _noise(rng, y, x, 0.05)


def _plaster(rng: np.random.Generator, y: NDArray, x: NDArray) -> NDArray[np.floating]:
    return _grain(rng, y, x) + 0.04 * _noise(rng, y, x, 0.3)


def _bricks(rng: np.random.Generator, y: NDArray, x: NDArray) -> NDArray[np.floating]:
    row = np.floor(y / 0.045)
    mortar = (y / 0.045 - row < 0.2) | ((x / 0.12 + 0.5 * (row % 2)) % 1.0 < 0.1)
    return _grain(rng, y, x) + np.where(mortar, 0.1, -0.02)


def _leaves(rng: np.random.Generator, y: NDArray, x: NDArray) -> NDArray[np.floating]:
    return 2 * _grain(rng, y, x) + 0.07 * _noise(rng, y, x, 0.025) + 0.07 * _noise(rng, y, x, 0.12)


def _panels(rng: np.random.Generator, y: NDArray, x: NDArray) -> NDArray[np.floating]:
    phase = (x / 0.3) % 1.0
    return _grain(rng, y, x) + np.where(phase < 0.08, 0.14, 0.0) + np.where(phase > 0.55, -0.05, 0.0)


def _tiles(rng: np.random.Generator, y: NDArray, x: NDArray) -> NDArray[np.floating]:
    gap = ((y / 0.09) % 1.0 < 0.13) | (((x + 0.7 * y) / 0.16) % 1.0 < 0.08)
    return _grain(rng, y, x) + np.where(gap, -0.09, 0.0)


@dataclass(frozen=True)
class _Scene:
    """RGB colours and textures of a camera's wall and floor; the horizon in frame heights from the top."""

    wall_colour: tuple[int, int, int]
    floor_colour: tuple[int, int, int]
    horizon: float
    wall: Texture
    floor: Texture


_SCENES = (
    _Scene((168, 160, 148), (138, 134, 128), 0.62, _plaster, _tiles),
    _Scene((140, 100, 84), (122, 120, 118), 0.7, _bricks, _plaster),
    _Scene((92, 108, 78), (150, 142, 126), 0.55, _leaves, _plaster),
    _Scene((110, 122, 134), (104, 104, 108), 0.66, _panels, _tiles),
    _Scene((176, 178, 172), (112, 126, 96), 0.6, _plaster, _leaves),
    _Scene((84, 86, 94), (160, 154, 146), 0.74, _panels, _plaster),
)


@lru_cache(maxsize=2 * NUM_CAMERAS)
def _panorama(camera: int, image_size: tuple[int, int]) -> NDArray[np.float32]:
    """Render all that a camera can see: 1.3 frames high and 5 frames wide, RGB in [0, 1]."""
    scene, rng = _SCENES[camera], np.random.default_rng([271828, camera])
    rows, columns = int(1.3 * image_size[0]), 5 * image_size[1]
    y = ((np.arange(rows) + 0.5) / image_size[0])[:, None]
    x = ((np.arange(columns) + 0.5) / image_size[0])[None]
    wall = scene.wall(rng, y, x) - 0.1 * (y - 0.4)
    floor = scene.floor(rng, y, x) + 0.12 * (y - 0.9)
    horizon = scene.horizon + 0.15
    below = (y > horizon)[..., None]
    colour = np.where(below, np.array(scene.floor_colour), np.array(scene.wall_colour)) / 255
    colour = colour * (1 + 1.6 * np.where(below[..., 0], floor, wall))[..., None]
    # The edge between wall and floor is darker.
    colour *= 1 - 0.25 * np.exp(-(((y - horizon) / 0.02) ** 2))[..., None]
    return np.clip(colour, 0, 1).astype(np.float32)


def shoot_background(camera: int, image_size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """Crop a frame of (h, w, 3) colours in [0, 1] out of the panorama of a camera, 0 to 5, at a random position."""
    panorama = _panorama(camera, image_size)
    rows, columns = image_size
    top = rng.integers(int(0.08 * rows), int(0.22 * rows) + 1)
    left = rng.integers(0, panorama.shape[1] - columns + 1)
    return panorama[top : top + rows, left : left + columns].copy()
