"""Random clothes in well separated colours, and their classes."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from synthetic_people.body import BodyShape
from synthetic_people.clothes import PATTERNS, Cloth, Outfit
from synthetic_people.primitives import NUM_PARTS, Part

LEGWEAR = ("trousers", "shorts", "skirt")
_FULL = 2.0  # beyond every v: the garment covers the body part

_CLOTH_COLOURS = np.array(
    [
        (28, 28, 32), (235, 235, 230), (128, 130, 135), (190, 30, 40), (120, 20, 35), (235, 120, 30),
        (240, 200, 50), (70, 140, 60), (30, 75, 50), (40, 170, 160), (70, 150, 220), (35, 60, 160),
        (25, 35, 75), (120, 60, 150), (230, 130, 170), (200, 50, 120), (215, 195, 155), (120, 80, 50),
        (150, 165, 190), (160, 190, 90),
    ],
    dtype=np.float32,
) / np.float32(255)  # fmt: skip
_TROUSER_COLOURS = np.array(
    [
        (30, 30, 34), (45, 60, 100), (90, 115, 155), (120, 122, 125), (195, 180, 145), (95, 75, 55),
        (225, 222, 215), (70, 80, 55), (130, 35, 45), (35, 45, 70),
    ],
    dtype=np.float32,
) / np.float32(255)  # fmt: skip
_SKIN_COLOURS = np.array(
    [(240, 205, 180), (225, 180, 150), (205, 155, 120), (165, 115, 80), (120, 80, 55), (85, 58, 42)],
    dtype=np.float32,
) / np.float32(255)  # fmt: skip
_HAIR_COLOURS = np.array(
    [(25, 22, 22), (50, 35, 25), (95, 60, 35), (150, 105, 60), (210, 175, 110), (140, 60, 30),
     (150, 150, 150)],
    dtype=np.float32,
) / np.float32(255)  # fmt: skip


def _pick_colour(
    rng: np.random.Generator,
    colours: NDArray[np.float32],
    away_from: NDArray[np.float32] | None = None,
    distance: float = 0.0,
) -> NDArray[np.float32]:
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
    rng: np.random.Generator,
    colours: NDArray[np.float32],
    probabilities: tuple[float, ...],
    away_from: NDArray[np.float32] | None = None,
) -> Cloth:
    """Draw a cloth with one of the colours as background; `probabilities` are those of the patterns."""
    background = _pick_colour(rng, colours, away_from, 0.35)
    foreground = _pick_colour(rng, _CLOTH_COLOURS, background[None], 0.55)
    pattern = tuple(PATTERNS)[rng.choice(len(PATTERNS), p=probabilities)]
    # Wide enough to be visible in an image of height 64.
    period = rng.uniform(0.26, 0.32) if pattern == "blocks" else rng.uniform(0.13, 0.19)
    return Cloth(pattern, np.stack([background, foreground]), float(period))


def _sample_legwear(rng: np.random.Generator, upper: Cloth) -> tuple[str, Cloth, NDArray[np.float32]]:
    """Draw trousers, shorts or a skirt; return the kind, its cloth and the (parts,) v at which it ends."""
    kind = LEGWEAR[rng.choice(3, p=(0.58, 0.24, 0.18))]
    reach = {"trousers": 2.0, "shorts": rng.uniform(0.6, 0.9), "skirt": 0.45}[kind]
    if kind == "skirt":
        cloth = _sample_cloth(rng, _CLOTH_COLOURS, (0.3, 0.15, 0.1, 0.1, 0.2, 0.15, 0.0), upper.colours[:1])
    else:
        probabilities = (0.8, 0.02, 0.08, 0.02, 0.08, 0.0, 0.0)
        cloth = _sample_cloth(rng, _TROUSER_COLOURS, probabilities, upper.colours[:1])
    end = np.zeros(NUM_PARTS, np.float32)
    end[[Part.HIPS, Part.SKIRT]] = _FULL
    end[[Part.RIGHT_THIGH, Part.LEFT_THIGH]] = reach
    end[[Part.RIGHT_CALF, Part.LEFT_CALF]] = 0.95 if kind == "trousers" else 0.0
    return kind, cloth, end


def _sample_upper_end(rng: np.random.Generator, long_sleeves: bool, skirt: bool) -> NDArray[np.float32]:
    """Draw the (parts,) v at which the upper garment ends; a shirt is tucked into a skirt."""
    end = np.zeros(NUM_PARTS, np.float32)
    end[[Part.CHEST, Part.SHOULDERS]] = _FULL
    end[Part.HIPS] = 0.3 if skirt else rng.uniform(0.3, 0.6)
    upper_arms = [Part.RIGHT_UPPER_ARM, Part.LEFT_UPPER_ARM]
    end[upper_arms] = _FULL if long_sleeves else rng.uniform(0.5, 0.8)
    end[[Part.RIGHT_LOWER_ARM, Part.LEFT_LOWER_ARM]] = 0.93 if long_sleeves else 0.0
    return end


def sample_outfit(rng: np.random.Generator, shape: BodyShape) -> tuple[Outfit, BodyShape]:
    """Draw clothes for a build, and return it with sleeve and trouser ease, skirt, long hair and bag."""
    upper = _sample_cloth(rng, _CLOTH_COLOURS, (0.46, 0.14, 0.09, 0.07, 0.09, 0.07, 0.08))
    legwear, lower, lower_end = _sample_legwear(rng, upper)
    skirt, long_sleeves = legwear == "skirt", bool(rng.random() < 0.5)
    is_solid = upper.pattern == "solid"
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
        open_colour=contrast if open_coat else np.full(3, -1, np.float32),
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


def _sample_base(rng: np.random.Generator, upper: Cloth) -> NDArray[np.float32]:
    """Draw the (parts, 3) colours of skin, hair, shoes and bag."""
    base = np.tile(_pick_colour(rng, _SKIN_COLOURS), (NUM_PARTS, 1))
    base[[Part.HAIR, Part.LONG_HAIR]] = _pick_colour(rng, _HAIR_COLOURS)
    if rng.random() < 0.15:  # a cap
        base[Part.HAIR] = _pick_colour(rng, _CLOTH_COLOURS, base[[Part.HAIR]], 0.4)
    base[[Part.RIGHT_FOOT, Part.LEFT_FOOT]] = _pick_colour(rng, _CLOTH_COLOURS)
    base[Part.BAG] = _pick_colour(rng, _CLOTH_COLOURS, upper.colours, 0.3)
    return base


# Number of colours and patterns of the upper garment, and of kinds of legwear.
GARMENT_CLASSES = (len(_CLOTH_COLOURS), len(PATTERNS), len(LEGWEAR))


def garment_classes(outfit: Outfit, shape: BodyShape) -> tuple[int, int, int]:
    """Return the classes of the upper garment's colour and pattern and of the legwear, each counted from 0."""
    colour = int(np.linalg.norm(_CLOTH_COLOURS - outfit.upper.colours[0], axis=1).argmin())
    bare_legs = "skirt" if shape.skirt else "shorts"
    legwear = "trousers" if outfit.lower_end[Part.RIGHT_CALF] else bare_legs
    return colour, tuple(PATTERNS).index(outfit.upper.pattern), LEGWEAR.index(legwear)
