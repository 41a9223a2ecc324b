"""A pinhole camera that frames a figure like the bounding box of a person detector."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from synthetic_people.body import Figure
from synthetic_people.primitives import Part


@dataclass(frozen=True)
class Camera:
    """A perspective camera without distortion.

    Attributes:
        position: (3,) in metres.
        axes: (3, 3) unit rows: right, down and forward in the image.
        focal: focal length in pixels.
        centre: x and y of the principal point in pixels; pixel i covers i to i + 1.
    """

    position: NDArray[np.float64]
    axes: NDArray[np.float64]
    focal: float
    centre: tuple[float, float]

    def project(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map (n, 3) points in metres to (n, 3): x and y in pixels and depth in metres."""
        seen = (points - self.position) @ self.axes.T
        depth = seen[:, 2:]
        return np.concatenate([seen[:, :2] / depth * self.focal + self.centre, depth], axis=1)


def _aim(yaw: float, distance: float, level: float, height: float, roll: float = 0.0) -> Camera:
    """Return a camera of focal length 1 that looks at the middle of a figure of `height` metres.

    It is `distance` metres away at a `yaw` as for `frame_figure`, `level` metres high and rotated by `roll` degrees.
    """
    angle = np.radians(yaw)
    position = np.array([distance * np.sin(angle), distance * np.cos(angle), level])
    target = np.array([0.0, 0.0, 0.5 * height])
    forward = (target - position) / np.linalg.norm(target - position)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    c, s = np.cos(np.radians(roll)), np.sin(np.radians(roll))
    axes = np.stack([c * right + s * down, c * down - s * right, forward])
    return Camera(position, axes, 1.0, (0.0, 0.0))


def _box(camera: Camera, figure: Figure, skipped: tuple[Part, ...]) -> NDArray[np.float64]:
    """Return left, top, right and bottom of the figure in pixels, without the skipped parts."""
    solids = [solid for part, solid in figure.solids.items() if part not in skipped]
    projected = camera.project(np.array([[solid.start, solid.end] for solid in solids]).reshape(-1, 3))
    radii = np.array([solid.radii for solid in solids]).reshape(-1, 1) * camera.focal / projected[:, 2:]
    low, high = projected[:, :2] - radii, projected[:, :2] + radii
    return np.concatenate([low.min(0), high.max(0)])


def frame_figure(
    figure: Figure, yaw: float, image_size: tuple[int, int], height: float, rng: np.random.Generator
) -> Camera:
    """Draw a camera whose frame holds a figure of `height` metres, nearly centred.

    `yaw` is the direction of the camera around the person in degrees: 0 sees the front, 90 the right side. The person
    fills 82 to 95 % of the frame's height, less if the pose is wide.
    """
    rows, columns = image_size
    distance, level = rng.uniform(4.0, 8.0), rng.uniform(1.0, 2.9)
    unit = _aim(yaw, distance, level, height, rng.normal(0, 1.2))
    arms = (Part.RIGHT_LOWER_ARM, Part.RIGHT_HAND, Part.LEFT_LOWER_ARM, Part.LEFT_HAND)
    left, top, right, bottom = _box(unit, figure, arms if rng.random() < 0.15 else ())
    fill = rng.uniform(0.82, 0.95)
    focal = min(fill * rows / (bottom - top), 1.25 * fill * rows * distance / height)
    focal *= float(np.clip(0.96 * columns / (focal * (right - left)), 0.87, 1.0))
    trunk = unit.project(figure.joints[[1, 8, 11]])[:, 0].mean()
    middle = 0.5 * (left + right) if focal * (right - left) < columns else 0.5 * trunk + 0.25 * (left + right)
    shift = rng.uniform(-0.04, 0.04, 2) * (columns, 0.5 * rows)
    centre_x = columns / 2 - focal * middle + shift[0]
    centre_y = rows / 2 - focal * (top + bottom) / 2 + shift[1]
    return replace(unit, focal=float(focal), centre=(float(centre_x), float(centre_y)))


def follow_figure(
    figures: Sequence[Figure], yaws: Sequence[float], image_size: tuple[int, int], height: float
) -> list[Camera]:
    """Return a camera for each frame of a figure of `height` metres that moves, at the same distance and focal length.

    `yaws` are directions as for `frame_figure`. The figure is centred by its trunk and fills 90 % of the frame's
    height, less if it is wide, but at least 72 %.
    """
    rows, columns = image_size
    units = [_aim(yaw, 6.0, 1.5, height) for yaw in yaws]
    views = list(zip(units, figures, strict=True))
    left, top, right, bottom = np.array([_box(unit, figure, ()) for unit, figure in views]).T
    trunks = [unit.project(figure.joints[[1, 8, 11]])[:, 0].mean() for unit, figure in views]
    half_width = max((right - trunks).max(), (trunks - left).max())
    tall = 0.9 * rows / (bottom.max() - top.min())
    focal = float(np.clip(0.48 * columns / half_width, 0.8 * tall, tall))
    middle = rows / 2 - focal * (top.min() + bottom.max()) / 2
    centres = [(float(columns / 2 - focal * trunk), float(middle)) for trunk in trunks]
    return [replace(unit, focal=focal, centre=centre) for unit, centre in zip(units, centres, strict=True)]
