"""Clothes: the colour of every surface coordinate of a dressed person."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthetic_people.primitives import Part


def _wave(phase: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return 1 in the second half of each period, else 0; symmetric about 0."""
    return (np.abs((phase + 0.5) % 1.0 - 0.5) > 0.25).astype(np.float32)


def _dots(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return 1 within staggered dots, else 0."""
    row = np.floor(b)
    x = (a + 0.5 * (row % 2)) % 1.0 - 0.5
    return (x * x + (b - row - 0.5) ** 2 < 0.3**2).astype(np.float32)


# Name -> weight of the second colour at the distances across and along the cloth, both in periods.
PATTERNS: dict[str, Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]] = {
    "solid": lambda a, b: np.zeros_like(a),
    "rings": lambda a, b: _wave(b),
    "stripes": lambda a, b: _wave(a),
    "diagonal": lambda a, b: _wave((a + b) * np.float32(0.71)),
    "checks": lambda a, b: np.float32(0.5) * (_wave(a) + _wave(b)),
    "dots": _dots,
    "blocks": lambda a, b: (b > 1).astype(np.float32),
}


@dataclass(frozen=True)
class Cloth:
    """A pattern of two colours.

    Attributes:
        pattern: one of `PATTERNS`.
        colours: (2, 3) background and foreground, in [0, 1].
        period: of the pattern, in metres.

    Raises:
        ValueError: the pattern is unknown.
    """

    pattern: str
    colours: NDArray[np.float32]
    period: float

    def __post_init__(self) -> None:
        if self.pattern not in PATTERNS:
            raise ValueError(f"pattern: expected one of {', '.join(PATTERNS)}, got {self.pattern!r}")

    def colour(self, across: NDArray[np.float32], along: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the (n, 3) colours at points (n,) metres to the right of the front's middle and (n,) metres down."""
        weight = PATTERNS[self.pattern](across / self.period, along / self.period)
        return self.colours[0] + weight[:, None] * (self.colours[1] - self.colours[0])


def _cloth_coordinates(
    part: NDArray[np.uint8], u: NDArray[np.float32], v: NDArray[np.float32], span: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return metres to the right and down on the cloth; a pattern continues from the chest to hips and shoulders."""
    across, along = u * span[:, 0], v * span[:, 1]
    along += np.where(part == Part.HIPS, np.float32(0.26), np.float32(0))
    # The shoulders' axis runs from right to left, and u = 1/4 is on top.
    is_shoulder = part == Part.SHOULDERS
    across = np.where(is_shoulder, (np.float32(0.5) - v) * span[:, 1], across)
    along = np.where(is_shoulder, np.abs(u - np.float32(0.25)) * span[:, 0], along)
    return across, along


@dataclass(frozen=True)
class Outfit:
    """The colours of a person: clothes, skin, hair, shoes and bag.

    A garment covers the first part of v on each body part, the upper over the lower garment; arrays of (parts,) are
    indexed by `Part`.

    Attributes:
        upper: cloth of the shirt or coat.
        lower: cloth of the trousers, shorts or skirt.
        upper_end: (parts,) v at which the upper garment ends; 0 for none.
        lower_end: (parts,) v at which the lower garment ends; 0 for none.
        base: (parts, 3) colour of a body part where no garment covers it: skin, hair, shoes, bag.
        print_cells: (5, 5) print on the chest; all False for none.
        print_colour: (3,) colour of the print.
        open_colour: (3,) colour of the shirt under an open coat; negative if the front is closed.
        neckline: half the width of the V-neck, in metres.
    """

    upper: Cloth
    lower: Cloth
    upper_end: NDArray[np.float32]
    lower_end: NDArray[np.float32]
    base: NDArray[np.float32]
    print_cells: NDArray[np.bool_]
    print_colour: NDArray[np.float32]
    open_colour: NDArray[np.float32]
    neckline: float

    def albedo(
        self, part: NDArray[np.uint8], u: NDArray[np.float32], v: NDArray[np.float32], span: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return the (n, 3) colours of surface points (part, u, v) without shading.

        `span` is the (n, 2) circumference and length of the part, in metres.
        """
        colours = self.base[part]
        across, along = _cloth_coordinates(part, u, v, span)
        self._paint_head(colours, part, u, v)
        lower = v < self.lower_end[part]
        colours[lower] = self.lower.colour(across[lower], along[lower])
        front = ((part == Part.CHEST) & (np.abs(u) < 0.2)) | ((part == Part.SHOULDERS) & (u < 0.25))
        bare_neck = front & (np.abs(across) + 0.5 * along < self.neckline)
        upper = (v < self.upper_end[part]) & ~bare_neck
        colours[upper] = self.upper.colour(across[upper], along[upper])
        self._paint_front(colours, part, across, along, upper)
        return colours

    def _paint_front(
        self,
        colours: NDArray[np.float32],
        part: NDArray[np.uint8],
        across: NDArray[np.float32],
        along: NDArray[np.float32],
        upper: NDArray[np.bool_],
    ) -> None:
        """Paint print and open coat, on the front only."""
        chest = part == Part.CHEST
        if self.open_colour[0] >= 0:
            gap = upper & (np.abs(across) < 0.055) & (chest | (part == Part.HIPS) | (part == Part.SHOULDERS))
            colours[gap] = self.open_colour
        if self.print_cells.any():
            column = np.floor((across + 0.12) / 0.048)
            row = np.floor((along - 0.11) / 0.048)
            on = chest & (column >= 0) & (column < 5) & (row >= 0) & (row < 5)
            where = np.flatnonzero(on)
            filled = self.print_cells[row[where].astype(int), column[where].astype(int)]
            colours[where[filled]] = self.print_colour

    def _paint_head(
        self, colours: NDArray[np.float32], part: NDArray[np.uint8], u: NDArray[np.float32], v: NDArray[np.float32]
    ) -> None:
        """Paint hair on the back of the head; eyes, brows, mouth and nose on the front."""
        nape = (part == Part.HEAD) & (np.abs(u) > 0.29) & (v < 0.85)
        colours[nape] = self.base[Part.LONG_HAIR]
        where = np.flatnonzero((part == Part.HEAD) & (np.abs(u) < 0.2))
        across, down = np.abs(u[where]), v[where]
        eyes = (across - 0.085) ** 2 / 0.036**2 + (down - 0.47) ** 2 / 0.036**2 < 1
        brows = (np.abs(across - 0.085) < 0.05) & (np.abs(down - 0.38) < 0.022)
        mouth = (across < 0.065) & (np.abs(down - 0.78) < 0.03)
        nose = (across < 0.025) & (np.abs(down - 0.6) < 0.06)
        colours[where[eyes]] *= np.float32(0.2)
        colours[where[brows]] = self.base[Part.LONG_HAIR] * np.float32(0.8)
        colours[where[mouth]] = colours[where[mouth]] * np.array([0.8, 0.4, 0.4], np.float32)
        colours[where[nose]] *= np.float32(0.8)
