"""How often a matching finds the true place: PCK of dense correspondences between two views of one person."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

THRESHOLD = 0.1
"""Of the image height: how far from the truth a match may be (PCK@0.1)."""

TOLERANCE = 0.1
"""How far apart, in turns around a body part and in its lengths, two pixels may be to show one place of the surface."""


class Surface(NamedTuple):
    """Which place of a person's surface each pixel shows."""

    part: UInt8[np.ndarray, "h w"]
    """0 is the background."""
    u: Float[np.ndarray, "h w"]
    """In turns around the part, modulo 1."""
    v: Float[np.ndarray, "h w"]
    """Along the part, from 0 to 1."""


class TrueMatches(NamedTuple):
    """Pixels of the target that the source shows too, as (y, x)."""

    target: Int[np.ndarray, "k 2"]
    source: Int[np.ndarray, "k 2"]


def true_matches(source: Surface, target: Surface) -> TrueMatches:
    """Match each target pixel to the source pixel of the nearest place on the same body part.

    A target pixel whose nearest place is over `TOLERANCE` away is hidden in the source and left out.
    """
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for part in np.intersect1d(source.part[source.part > 0], target.part):
        here, there = (np.argwhere(surface.part == part) for surface in (target, source))
        turn = target.u[tuple(here.T)][:, None].astype(np.float32) - source.u[tuple(there.T)].astype(np.float32)
        along = target.v[tuple(here.T)][:, None].astype(np.float32) - source.v[tuple(there.T)].astype(np.float32)
        distance = np.hypot(turn - np.round(turn), along)
        nearest = distance.argmin(axis=1)
        is_seen = distance[np.arange(len(here)), nearest] <= TOLERANCE
        found.append((here[is_seen], there[nearest[is_seen]]))
    if not found:
        return TrueMatches(np.zeros((0, 2), np.int64), np.zeros((0, 2), np.int64))
    return TrueMatches(*(np.concatenate(pixels) for pixels in zip(*found, strict=True)))


def count_right(
    matches: Int[np.ndarray, " positions"], truth: TrueMatches, map_size: tuple[int, int], image_size: tuple[int, int]
) -> int:
    """Count the true matches that a matching of map positions finds.

    A target pixel takes the match of the position in which it lies; it is right where the middle of the matched
    position is no farther than `THRESHOLD` times the image height from the true pixel.

    Args:
        matches: for each target position the source position, both row by row.
        truth: the true matches in pixels.
        map_size: rows and columns of the map.
        image_size: height and width of the image.
    """
    own = positions_of(truth.target, map_size, image_size)
    centres = position_centres(map_size, image_size)[matches[own]]
    return int((_distances(centres, truth.source) <= THRESHOLD * image_size[0]).sum())


def expected_right(truth: TrueMatches, map_size: tuple[int, int], image_size: tuple[int, int]) -> float:
    """Return how many true matches a position drawn by chance, each as likely, finds on average."""
    centres = position_centres(map_size, image_size)
    near = _distances(centres[:, None], truth.source[None]) <= THRESHOLD * image_size[0]
    return float(near.mean(axis=0).sum())


def positions_of(
    pixels: Int[np.ndarray, "k 2"], map_size: tuple[int, int], image_size: tuple[int, int]
) -> Int[np.ndarray, " k"]:
    """Return the map position in which each pixel (y, x) lies."""
    rows, columns = (pixels * map_size // image_size).T
    return rows * map_size[1] + columns


def position_centres(map_size: tuple[int, int], image_size: tuple[int, int]) -> Float[np.ndarray, "positions 2"]:
    """Return the middle (y, x) of each map position in pixels, row by row."""
    y, x = ((np.arange(count) + 0.5) * size / count - 0.5 for count, size in zip(map_size, image_size, strict=True))
    return np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1).reshape(-1, 2)


def _distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.linalg.norm(first - second, axis=-1)
