"""Clothes: random outfits in well separated colours, their classes, and the colour of every surface coordinate."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from synthetic_people.body import BodyShape
from synthetic_people.primitives import NUM_PARTS, Floats, Part


def _wave(phase: Floats) -> Floats:
    """Return 1 in the second half of each period, else 0; symmetric about 0."""
    return (np.abs((phase + 0.5) % 1.0 - 0.5) > 0.25).astype(np.float32)


def _dots(a: Floats, b: Floats) -> Floats:
    row = np.floor(b)
    x = (a + 0.5 * (row % 2)) % 1.0 - 0.5
    return (x * x + (b - row - 0.5) ** 2 < 0.3**2).astype(np.float32)


# Name -> weight of the second colour at the distances across and along the cloth, both in periods.
PATTERNS: dict[str, Callable[[Floats, Floats], Floats]] = {
    "solid": lambda a, b: np.zeros_like(a),
    "rings": lambda a, b: _wave(b),
    "stripes": lambda a, b: _wave(a),
    "diagonal": lambda a, b: _wave((a + b) * np.float32(0.71)),
    "checks": lambda a, b: np.float32(0.5) * (_wave(a) + _wave(b)),
    "dots": _dots,
    "blocks": lambda a, b: (b > 1).astype(np.float32),
}


def _palette(*colours: tuple[int, int, int]) -> Floats:
    return np.array(colours, np.float32) / np.float32(255)


_CLOTH_COLOURS = _palette(
    (28, 28, 32), (235, 235, 230), (128, 130, 135), (190, 30, 40), (120, 20, 35), (235, 120, 30),
    (240, 200, 50), (70, 140, 60), (30, 75, 50), (40, 170, 160), (70, 150, 220), (35, 60, 160),
    (25, 35, 75), (120, 60, 150), (230, 130, 170), (200, 50, 120), (215, 195, 155), (120, 80, 50),
    (150, 165, 190), (160, 190, 90),
)  # fmt: skip
_TROUSER_COLOURS = _palette(
    (30, 30, 34), (45, 60, 100), (90, 115, 155), (120, 122, 125), (195, 180, 145), (95, 75, 55),
    (225, 222, 215), (70, 80, 55), (130, 35, 45), (35, 45, 70),
)  # fmt: skip
_SKIN_COLOURS = _palette(
    (240, 205, 180), (225, 180, 150), (205, 155, 120), (165, 115, 80), (120, 80, 55), (85, 58, 42),
)  # fmt: skip
_HAIR_COLOURS = _palette(
    (25, 22, 22), (50, 35, 25), (95, 60, 35), (150, 105, 60), (210, 175, 110), (140, 60, 30), (150, 150, 150),
)  # fmt: skip
LEGWEAR = ("trousers", "shorts", "skirt")
# What is classified, with the number of classes: colour and pattern of the upper garment, and the kind of legwear.
GARMENT_KINDS = ("colour", "pattern", "legwear")
GARMENT_CLASSES = (len(_CLOTH_COLOURS), len(PATTERNS), len(LEGWEAR))
_FULL = 2.0  # beyond every v: the garment covers the body part


@dataclass(frozen=True)
class Cloth:
    """A pattern of two colours.

    Attributes:
        pattern: one of `PATTERNS`.
        colours: (2, 3) background and foreground, in [0, 1].
        period: of the pattern, in metres.
    """

    pattern: str
    colours: Floats
    period: float

    def colour(self, across: Floats, along: Floats) -> Floats:
        """Return the (n, 3) colours at points (n,) metres to the right of the front's middle and (n,) metres down."""
        weight = PATTERNS[self.pattern](across / self.period, along / self.period)
        return self.colours[0] + weight[:, None] * (self.colours[1] - self.colours[0])


def _cloth_coordinates(part: NDArray[np.uint8], u: Floats, v: Floats, span: Floats) -> tuple[Floats, Floats]:
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
        open_colour: (3,) colour of the shirt under an open coat; None if the front is closed.
        neckline: half the width of the V-neck, in metres.
    """

    upper: Cloth
    lower: Cloth
    upper_end: Floats
    lower_end: Floats
    base: Floats
    print_cells: NDArray[np.bool_]
    print_colour: Floats
    open_colour: Floats | None
    neckline: float

    def albedo(self, part: NDArray[np.uint8], u: Floats, v: Floats, span: Floats) -> Floats:
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
        self, colours: Floats, part: NDArray[np.uint8], across: Floats, along: Floats, upper: NDArray[np.bool_]
    ) -> None:
        chest = part == Part.CHEST
        if self.open_colour is not None:
            gap = upper & (np.abs(across) < 0.055) & (chest | (part == Part.HIPS) | (part == Part.SHOULDERS))
            colours[gap] = self.open_colour
        if self.print_cells.any():
            column = np.floor((across + 0.12) / 0.048)
            row = np.floor((along - 0.11) / 0.048)
            on = chest & (column >= 0) & (column < 5) & (row >= 0) & (row < 5)
            where = np.flatnonzero(on)
            filled = self.print_cells[row[where].astype(int), column[where].astype(int)]
            colours[where[filled]] = self.print_colour

    def _paint_head(self, colours: Floats, part: NDArray[np.uint8], u: Floats, v: Floats) -> None:
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


def _pick_colour(
    rng: np.random.Generator, colours: Floats, away_from: Floats | None = None, distance: float = 0.0
) -> Floats:
    """Draw a colour, slightly varied, that differs from each of (k, 3) others by `distance` in RGB of [0, 1].

    If no colour is that far away (as from a mid grey), the colours that differ most are candidates.
    """
    allowed = np.arange(len(colours))
    if away_from is not None:
        gaps = np.linalg.norm(colours[:, None] - away_from[None], axis=2).min(1)
        allowed = np.flatnonzero(gaps > min(distance, 0.8 * gaps.max()))
    chosen = colours[rng.choice(allowed)] + rng.normal(0, 0.025, 3)
    return np.clip(chosen, 0.02, 0.98).astype(np.float32)


def _sample_print(rng: np.random.Generator) -> NDArray[np.bool_]:
    """Draw a (5, 5) print, simple enough to be recognised at a few pixels."""
    shapes = (
        "01110 11111 11111 11111 01110", "11111 11111 11111 11111 11111", "00100 01110 11111 01110 00100",
        "01110 01110 11111 01110 01110", "11111 11111 00000 11111 11111", "11011 11011 11011 11011 11011",
        "11111 11011 10001 11011 11111", "00011 00111 01110 11100 11000", "11000 11000 11000 11111 11111",
        "11111 01110 00100 01110 11111",
    )  # fmt: skip
    rows = shapes[rng.integers(len(shapes))].split()
    return np.array([[cell == "1" for cell in row] for row in rows])


def _sample_cloth(
    rng: np.random.Generator, colours: Floats, probabilities: tuple[float, ...], away_from: Floats | None = None
) -> Cloth:
    """Draw a cloth with one of the colours as background; `probabilities` are those of the patterns."""
    background = _pick_colour(rng, colours, away_from, 0.35)
    foreground = _pick_colour(rng, _CLOTH_COLOURS, background[None], 0.55)
    pattern = tuple(PATTERNS)[rng.choice(len(PATTERNS), p=probabilities)]
    # Wide enough to be visible in an image of height 64.
    period = rng.uniform(0.26, 0.32) if pattern == "blocks" else rng.uniform(0.13, 0.19)
    return Cloth(pattern, np.stack([background, foreground]), float(period))


def _sample_legwear(rng: np.random.Generator, upper: Cloth) -> tuple[str, Cloth, Floats]:
    """Draw trousers, shorts or a skirt; return the kind, its cloth and the (parts,) v at which it ends."""
    kind = LEGWEAR[rng.choice(3, p=(0.58, 0.24, 0.18))]
    thighs = {"trousers": _FULL, "shorts": rng.uniform(0.6, 0.9), "skirt": 0.45}[kind]
    if kind == "skirt":
        colours, patterns = _CLOTH_COLOURS, (0.3, 0.15, 0.1, 0.1, 0.2, 0.15, 0.0)
    else:
        colours, patterns = _TROUSER_COLOURS, (0.8, 0.02, 0.08, 0.02, 0.08, 0.0, 0.0)
    cloth = _sample_cloth(rng, colours, patterns, upper.colours[:1])
    end = np.zeros(NUM_PARTS, np.float32)
    end[[Part.HIPS, Part.SKIRT]] = _FULL
    end[[Part.RIGHT_THIGH, Part.LEFT_THIGH]] = thighs
    end[[Part.RIGHT_CALF, Part.LEFT_CALF]] = 0.95 if kind == "trousers" else 0.0
    return kind, cloth, end


def _sample_upper_end(rng: np.random.Generator, long_sleeves: bool, skirt: bool) -> Floats:
    """Draw the (parts,) v at which the upper garment ends; a shirt is tucked into a skirt."""
    end = np.zeros(NUM_PARTS, np.float32)
    end[[Part.CHEST, Part.SHOULDERS]] = _FULL
    end[Part.HIPS] = 0.3 if skirt else rng.uniform(0.3, 0.6)
    end[[Part.RIGHT_UPPER_ARM, Part.LEFT_UPPER_ARM]] = _FULL if long_sleeves else rng.uniform(0.5, 0.8)
    end[[Part.RIGHT_LOWER_ARM, Part.LEFT_LOWER_ARM]] = 0.93 if long_sleeves else 0.0
    return end


def sample_outfit(rng: np.random.Generator, shape: BodyShape) -> tuple[Outfit, BodyShape]:
    """Draw clothes for a build, and return it with sleeve and trouser ease, skirt, long hair and bag."""
    upper = _sample_cloth(rng, _CLOTH_COLOURS, (0.46, 0.14, 0.09, 0.07, 0.09, 0.07, 0.08))
    legwear, lower, lower_end = _sample_legwear(rng, upper)
    skirt, is_solid = legwear == "skirt", upper.pattern == "solid"
    long_sleeves = bool(rng.random() < 0.5)
    open_coat = is_solid and rng.random() < 0.15
    printed = is_solid and not open_coat and rng.random() < 0.8
    contrast = _pick_colour(rng, _CLOTH_COLOURS, upper.colours[:1], 0.7)
    outfit = Outfit(
        upper=upper,
        lower=lower,
        upper_end=_sample_upper_end(rng, long_sleeves, skirt),
        lower_end=lower_end,
        base=_sample_base(rng, upper),
        print_cells=_sample_print(rng) if printed else np.zeros((5, 5), np.bool_),
        print_colour=contrast,
        open_colour=contrast if open_coat else None,
        neckline=rng.uniform(0.045, 0.085),
    )
    shape = replace(
        shape,
        sleeve_ease=rng.uniform(0.004, 0.012) if long_sleeves else 0.002,
        trouser_ease=rng.uniform(0.004, 0.014) if legwear == "trousers" else 0.0,
        skirt=rng.uniform(0.42, 0.75) if skirt else 0.0,
        long_hair=bool(rng.random() < (0.75 if skirt else 0.25)),
        bag=bool(rng.random() < 0.18),
    )
    return outfit, shape


def _sample_base(rng: np.random.Generator, upper: Cloth) -> Floats:
    """Draw the (parts, 3) colours of skin, hair, shoes and bag."""
    base = np.tile(_pick_colour(rng, _SKIN_COLOURS), (NUM_PARTS, 1))
    base[[Part.HAIR, Part.LONG_HAIR]] = _pick_colour(rng, _HAIR_COLOURS)
    if rng.random() < 0.15:  # a cap
        base[Part.HAIR] = _pick_colour(rng, _CLOTH_COLOURS, base[[Part.HAIR]], 0.4)
    base[[Part.RIGHT_FOOT, Part.LEFT_FOOT]] = _pick_colour(rng, _CLOTH_COLOURS)
    base[Part.BAG] = _pick_colour(rng, _CLOTH_COLOURS, upper.colours, 0.3)
    return base


def garment_classes(outfit: Outfit, shape: BodyShape) -> tuple[int, int, int]:
    """Return the classes, of `GARMENT_CLASSES`, of a person's clothes: upper colour, upper pattern and legwear."""
    colour = int(np.linalg.norm(_CLOTH_COLOURS - outfit.upper.colours[0], axis=1).argmin())
    bare_legs = "skirt" if shape.skirt else "shorts"
    legwear = "trousers" if outfit.lower_end[Part.RIGHT_CALF] else bare_legs
    return colour, tuple(PATTERNS).index(outfit.upper.pattern), LEGWEAR.index(legwear)
