"""Correspondence accuracy: PCK of a generator's dense correspondences between two views of a synthetic person."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8
from typing_extensions import override

from twostream.data.pairs import Pair
from twostream.files import open_regular
from twostream.metrics.metric import Columns, ImageBatch, Rows, SharedMetric

THRESHOLD = 0.1  # largest error of a correct match as a fraction of the image height (PCK@0.1)
TOLERANCE = 0.1  # largest distance of two pixels of one surface point, in turns around and lengths along a body part
STRIDE = 4  # pixels along a side of a position of the AT-modules' map and of the baselines'
BASELINES = ("same_place", "chance")
PROTOCOL = f"pck@{THRESHOLD}"

MapSize = tuple[int, int]  # rows and columns
Matcher = Callable[[Sequence[Pair]], Mapping[str, Int[np.ndarray, "b positions"]]]
"""Pairs -> for each correspondence the best source position of each target position, both row by row of its map."""


class Surface(NamedTuple):
    """The point of a person's surface that each pixel shows."""

    part: UInt8[np.ndarray, "h w"]  # body part; 0 is the background
    u: Float[np.ndarray, "h w"]  # in turns around the part, modulo 1
    v: Float[np.ndarray, "h w"]  # along the part, from 0 to 1


class TrueMatches(NamedTuple):
    """Pixels of the target that are visible in the source too, as (y, x)."""

    target: Int[np.ndarray, "k 2"]
    source: Int[np.ndarray, "k 2"]


def true_matches(source: Surface, target: Surface) -> TrueMatches:
    """Match each target pixel to the source pixel of the nearest surface point on the same body part.

    A target pixel whose nearest point is over `TOLERANCE` away is occluded in the source and left out.
    """
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for part in np.intersect1d(source.part[source.part > 0], target.part):
        in_target, in_source = (np.argwhere(surface.part == part) for surface in (target, source))
        u_target, v_target = (values[tuple(in_target.T)][:, None].astype(np.float32) for values in (target.u, target.v))
        u_source, v_source = (values[tuple(in_source.T)].astype(np.float32) for values in (source.u, source.v))
        turns = u_target - u_source
        distance = np.hypot(turns - np.round(turns), v_target - v_source)
        nearest = distance.argmin(axis=1)
        is_visible = distance[np.arange(len(in_target)), nearest] <= TOLERANCE
        found.append((in_target[is_visible], in_source[nearest[is_visible]]))
    if not found:
        return TrueMatches(np.zeros((0, 2), np.int64), np.zeros((0, 2), np.int64))
    return TrueMatches(*(np.concatenate(pixels) for pixels in zip(*found, strict=True)))


def count_correct(
    matches: Int[np.ndarray, " positions"], truth: TrueMatches, image_size: tuple[int, int], map_size: MapSize
) -> int:
    """Count the true matches that a matching of map positions (target -> source, row by row) finds.

    A target pixel has the match of its map position; it is correct if the centre of the matched position is at most
    `THRESHOLD` times the image height from the true pixel.
    """
    centres = position_centres(image_size, map_size)[matches[positions_of(truth.target, image_size, map_size)]]
    return int(_is_near(centres, truth.source, image_size).sum())


def expected_correct(truth: TrueMatches, image_size: tuple[int, int]) -> float:
    """Return the expected count of true matches that uniformly drawn positions find."""
    near = _is_near(position_centres(image_size, _map_of(image_size))[:, None], truth.source, image_size)
    return float(near.mean(axis=0).sum())


def positions_of(
    pixels: Int[np.ndarray, "k 2"], image_size: tuple[int, int], map_size: MapSize
) -> Int[np.ndarray, " k"]:
    """Return the map position that contains each pixel (y, x)."""
    rows, columns = (pixels * map_size // np.array(image_size)).T
    return rows * map_size[1] + columns


def position_centres(image_size: tuple[int, int], map_size: MapSize) -> Float[np.ndarray, "positions 2"]:
    """Return the centre (y, x) of each map position in pixels, row by row."""
    y, x = ((np.arange(n) + 0.5) * size / n - 0.5 for size, n in zip(image_size, map_size, strict=True))
    return np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1).reshape(-1, 2)


def _map_of(image_size: tuple[int, int]) -> MapSize:
    return image_size[0] // STRIDE, image_size[1] // STRIDE


def _is_near(centres: np.ndarray, pixels: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    return np.linalg.norm(centres - pixels, axis=-1) <= THRESHOLD * image_size[0]


class CorrespondenceColumns:
    """Counts, for each pair, the target pixels with a correct match; all metrics of correspondence share them.

    A match is the source position of the largest attention weight (Eq. 4); the true one is known where the source shows
    the surface point of the target pixel. The baselines match each position with the same position, and with a random
    one.

    Args:
        match: matches of the generator.
        maps: sizes of the maps of its correspondences, by name.
        surfaces: folder of surface coordinates, `<image's stem>.npz`.
        image_size: height and width in pixels, divisible by `STRIDE`.

    """

    def __init__(
        self, match: Matcher, maps: Mapping[str, MapSize], surfaces: Path, image_size: tuple[int, int]
    ) -> None:
        self.maps = {**maps, **dict.fromkeys(BASELINES, _map_of(image_size))}
        self.image_size = image_size
        self._match = match
        self._surface_of = lru_cache(maxsize=4096)(lambda name: read_surface(surfaces / f"{Path(name).stem}.npz"))

    def update(self, images: ImageBatch) -> Columns:
        """Return the counts of every matching and the number of true matches.

        Raises ValueError for an image without surface coordinates.
        """
        same_position = np.arange(np.prod(_map_of(self.image_size)))
        found = {**self._match(images.pairs), "same_place": np.stack([same_position] * len(images.pairs))}
        counts: dict[str, list[float]] = {name: [] for name in (*self.maps, "total")}
        for index, (source, target) in enumerate(images.pairs):
            truth = true_matches(self._surface_of(source), self._surface_of(target))
            for name, matches in found.items():
                counts[name].append(count_correct(matches[index], truth, self.image_size, self.maps[name]))
            counts["chance"].append(expected_correct(truth, self.image_size))
            counts["total"].append(len(truth.target))
        return {f"correspondence/{name}": np.array(column, float) for name, column in counts.items()}


class Correspondence(SharedMetric):
    """The fraction of true matches that one matching finds."""

    def __init__(self, matching: str, shared: CorrespondenceColumns) -> None:
        details = {
            "version": 1,
            "map": "x".join(map(str, shared.maps[matching])),
            "threshold": f"{THRESHOLD} of the image height",
        }
        columns = [f"correspondence/{matching}", "correspondence/total"]
        super().__init__(f"correspondence_{matching}", PROTOCOL, details, columns)
        self.measure = shared.update

    @override
    def compute(self, columns: Columns, rows: Rows) -> float:
        correct, total = (columns[name][rows].sum() for name in self.columns)
        if not total:
            raise ValueError("correspondence: expected targets with pixels that are visible in their sources, got none")
        return float(correct / total)


def read_surface(path: Path) -> Surface:
    """Read the surface coordinates of an image. Raises ValueError for a file that is missing or broken."""
    try:
        # On a broken file NumPy does not close what it has opened itself.
        with open_regular(path) as opened, np.load(opened, allow_pickle=False) as file:
            return Surface(file["part"], file["u"], file["v"])
    # Broken archives raise errors of many kinds.
    except Exception as error:
        raise ValueError(f"{path}: expected surface coordinates: {error}") from error
