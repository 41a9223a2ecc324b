"""The solid that figures are built of: a cone with round ends and an elliptic cross-section."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class Part(IntEnum):
    """Body parts as numbered in surface maps; right and left are those of the person."""

    BACKGROUND, HEAD, HAIR, LONG_HAIR, NECK, CHEST, HIPS, SKIRT, BAG = range(9)
    RIGHT_UPPER_ARM, RIGHT_LOWER_ARM, RIGHT_HAND, LEFT_UPPER_ARM, LEFT_LOWER_ARM, LEFT_HAND = range(9, 15)
    RIGHT_THIGH, RIGHT_CALF, RIGHT_FOOT, LEFT_THIGH, LEFT_CALF, LEFT_FOOT = range(15, 21)
    SHOULDERS = 21


NUM_PARTS = len(Part)
FEET = (Part.RIGHT_FOOT, Part.LEFT_FOOT)


@dataclass(frozen=True)
class RoundCone:
    """Two spheres and the cone that touches both, stretched across its axis.

    A capsule (equal radii) is a special case. Its local frame has z along the axis from `start`, y to the front and x
    to the right; x and y are divided by `width` and `depth`, which makes the cross-section circular.

    Attributes:
        start: (3,) centre of the first sphere in metres.
        frame: (3, 3) unit rows: right, front, along the axis.
        length: metres between the centres, more than the difference of the radii.
        radii: radius at the start and at the end, in metres.
        width: stretch along right.
        depth: stretch along front.
        open_end: leaves out the end sphere, as for a skirt.
    """

    start: NDArray[np.float64]
    frame: NDArray[np.float64]
    length: float
    radii: tuple[float, float]
    width: float = 1.0
    depth: float = 1.0
    open_end: bool = False

    @property
    def end(self) -> NDArray[np.float64]:
        """(3,) centre of the end sphere."""
        return self.start + self.length * self.frame[2]

    @property
    def to_local(self) -> NDArray[np.float64]:
        """(3, 3) matrix that maps an offset from `start` to local coordinates."""
        return self.frame / np.array([[self.width], [self.depth], [1.0]])

    @property
    def sine(self) -> float:
        """Sine of the cone's half opening angle; positive when it narrows."""
        return (self.radii[0] - self.radii[1]) / self.length

    @property
    def span(self) -> tuple[float, float]:
        """Circumference in the middle and length with both ends, in metres: the scale of (u, v)."""
        stretch = np.sqrt((self.width**2 + self.depth**2) / 2)
        return float(np.pi * sum(self.radii) * stretch), self.length + sum(self.radii)

    def surface_point(self, u: float, v: float) -> NDArray[np.float64]:
        """Return the (3,) point in metres at a surface coordinate.

        Args:
            u: angle around the axis in turns, -0.5 to 0.5; 0 is the front, positive the right side.
            v: position along the axis, 0 (tip of the start) to 1 (tip of the end).
        """
        start_radius, end_radius = self.radii
        sine, cosine = self.sine, np.sqrt(1 - self.sine**2)
        z = v * self.span[1] - start_radius
        if z < start_radius * sine:
            distance = np.sqrt(max(start_radius**2 - z**2, 0.0))
        elif z > self.length + end_radius * sine:
            distance = np.sqrt(max(end_radius**2 - (z - self.length) ** 2, 0.0))
        else:
            distance = (start_radius - z * sine) / cosine
        angle = 2 * np.pi * u
        local = np.array([self.width * distance * np.sin(angle), self.depth * distance * np.cos(angle), z])
        return self.start + local @ self.frame

    def contains(self, point: NDArray[np.float64], margin: float = 0.0) -> bool:
        """Whether a (3,) point is inside the solid enlarged by `margin` metres."""
        x, y, z = self.to_local @ (point - self.start)
        nearest = np.clip(z, 0.0, self.length)
        radius = self.radii[0] + nearest / self.length * (self.radii[1] - self.radii[0]) + margin
        return bool(x * x + y * y + (z - nearest) ** 2 < radius**2)


def intersect(solid: RoundCone, origin: Floats, direction: tuple[Floats, ...]) -> Floats:
    """Return the parameter of each ray's first hit with a solid, infinite if it misses.

    The common origin (3,) and the directions, x, y and z of one shape, are in the solid's local coordinates.
    """
    dx, dy, dz = direction
    ox, oy, oz = (float(value) for value in origin)
    across = dx * dx + dy * dy
    toward = ox * dx + oy * dy
    square, linear = across + dz * dz, toward + oz * dz
    distance = ox * ox + oy * oy
    first = _nearer_root(square, linear, distance + oz * oz - solid.radii[0] ** 2)
    if not solid.open_end:
        rest = distance + (oz - solid.length) ** 2 - solid.radii[1] ** 2
        np.minimum(first, _nearer_root(square, linear - solid.length * dz, rest), out=first)
    sine, cosine = solid.sine, float(np.sqrt(1 - solid.sine**2))
    slope = sine / cosine
    radius = solid.radii[0] / cosine - slope * oz
    side = _nearer_root(across - slope**2 * dz * dz, toward + radius * slope * dz, distance - radius**2)
    with np.errstate(invalid="ignore"):
        height = oz + side * dz
        outside = (height < solid.radii[0] * sine) | (height > solid.length + solid.radii[1] * sine)
    side[outside] = np.inf
    return np.minimum(first, side, out=first)


def _nearer_root(square: Floats, linear: Floats, constant: float) -> Floats:
    """Return the smaller root of square t² + 2 linear t + constant; infinite without a real root."""
    discriminant = linear * linear - square * np.float32(constant)
    missed = (discriminant < 0) | (square < 1e-6)
    root = np.sqrt(np.maximum(discriminant, 0, out=discriminant), out=discriminant)
    nearer = np.divide(-(linear + root), np.maximum(square, np.float32(1e-6)), out=root)
    nearer[missed] = np.inf
    return nearer
