"""Ray casting of a figure: image, visible joints and surface coordinates."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthetic_people.body import Figure
from synthetic_people.camera import Camera
from synthetic_people.clothes import Outfit
from synthetic_people.primitives import FEET, NUM_PARTS, Floats, RoundCone, intersect

_SAMPLES = 3  # rays per pixel and axis; odd, so that one ray goes through the pixel's centre

# How far in metres a joint may be behind the first surface and still be found. A pose estimator finds the far shoulder
# and hip of a trunk, but misses a limb behind the trunk.
_DEPTH_MARGIN = np.array(
    [
        0.06, 0.45,  # nose, neck
        0.42, 0.22, 0.17, 0.42, 0.22, 0.17,  # shoulder, elbow and wrist, right and left
        0.42, 0.24, 0.2, 0.42, 0.24, 0.2,  # hip, knee and ankle, right and left
        0.06, 0.06, 0.09, 0.09,  # eyes, ears
    ]
)  # fmt: skip
# Joint, direction of nose, eyes and ears from the centre of the head (right, front), and the least cosine of the angle
# between this direction and the camera at which they are visible.
_FACE = ((0, (0.0, 1.0), -0.1), (14, (0.5, 0.87), 0.05), (15, (-0.5, 0.87), 0.05),
         (16, (0.97, -0.1), -0.25), (17, (-0.97, -0.1), -0.25))  # fmt: skip


@dataclass(frozen=True)
class Light:
    """A distant light and the sky.

    Attributes:
        direction: (3,) unit vector towards the light, in the camera's axes (right, down, forward).
        ambient: brightness without the direct light.
        direct: brightness that the light adds at normal incidence.
        tint: (3,) factor of the image's colours.
    """

    direction: Floats
    ambient: float
    direct: float
    tint: Floats


@dataclass(frozen=True)
class View:
    """An image of a figure with its ground truth.

    Attributes:
        image: (h, w, 3) RGB, 0 to 255.
        joints: (18, 2) y and x in pixels, -1 for a joint that is outside the frame or hidden.
        part: (h, w) body part at the pixel's centre, 0 for the background.
        u: (h, w) angle around the part in turns, -0.5 to 0.5; 0 on the background.
        v: (h, w) position along the part, 0 to 1; 0 on the background.
        depth: (h, w) metres from the camera along its axis, infinite on the background.
    """

    image: NDArray[np.uint8]
    joints: NDArray[np.int64]
    part: NDArray[np.uint8]
    u: NDArray[np.float16]
    v: NDArray[np.float16]
    depth: Floats


def sample_light(rng: np.random.Generator) -> Light:
    """Draw a light from above, at any side of the person."""
    angle, height = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(25, 60))
    side = np.cos(height)
    # Light from behind is rare: no lit side would be visible.
    direction = np.array([side * np.cos(angle), -np.sin(height), side * (np.sin(angle) * 0.7 - 0.35)])
    direction /= np.linalg.norm(direction)
    tint = rng.uniform(0.88, 1.06) * (1 + rng.normal(0, 0.02, 3))
    return Light(direction.astype(np.float32), rng.uniform(0.56, 0.7), rng.uniform(0.42, 0.58), tint.astype(np.float32))


def render_view(figure: Figure, outfit: Outfit, camera: Camera, light: Light, background: Floats) -> View:
    """Render a dressed figure in front of a background of (h, w, 3) shaded colours in [0, 1], of the frame's size."""
    rows, columns = background.shape[:2]
    slopes = _ray_slopes(camera, rows * _SAMPLES, columns * _SAMPLES)
    depth, part = _cast(figure, camera, *slopes)
    u, v, normal, span = _surface(figure, camera, *slopes, depth, part)
    seen = part > 0
    colour = np.zeros((*part.shape, 3), np.float32)
    albedo = outfit.albedo(part[seen], u[seen], v[seen], span)
    shadow = _cast_shadow(depth, light, camera)[seen]
    colour[seen] = albedo * _shade(normal, shadow, light)[:, None]
    ground = background * _ground_shadow(figure, camera, rows, columns)[..., None]
    cover = _shrink(seen.astype(np.float32))[..., None]
    image = (_shrink(colour) + (1 - cover) * ground) * light.tint
    centre = (slice(_SAMPLES // 2, None, _SAMPLES),) * 2
    return View(
        image=(np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8),
        joints=_visible_joints(figure, camera, depth[centre]),
        part=part[centre].copy(),
        u=u[centre].astype(np.float16),
        v=v[centre].astype(np.float16),
        depth=depth[centre].copy(),
    )


def visible_joints(figure: Figure, camera: Camera, image_size: tuple[int, int]) -> NDArray[np.int64]:
    """Return the joints of a view as `render_view` does, without rendering it."""
    rows, columns = image_size
    slopes = _ray_slopes(camera, rows * _SAMPLES, columns * _SAMPLES)
    depth, _ = _cast(figure, camera, *slopes)
    return _visible_joints(figure, camera, depth[_SAMPLES // 2 :: _SAMPLES, _SAMPLES // 2 :: _SAMPLES])


def _shrink(samples: Floats) -> Floats:
    """Return the mean over the rays of each pixel."""
    # Adding strided slices is faster than a mean over axes of a reshaped array.
    total = np.zeros_like(samples[::_SAMPLES, ::_SAMPLES])
    for down, right in np.ndindex(_SAMPLES, _SAMPLES):
        total += samples[down::_SAMPLES, right::_SAMPLES]
    return total / np.float32(_SAMPLES**2)


def _ray_slopes(camera: Camera, rows: int, columns: int) -> tuple[Floats, Floats]:
    """Return the slopes of the rays to the right (columns,) and down (rows,), per metre of depth."""
    x = ((np.arange(columns) + 0.5) / _SAMPLES - camera.centre[0]) / camera.focal
    y = ((np.arange(rows) + 0.5) / _SAMPLES - camera.centre[1]) / camera.focal
    return x.astype(np.float32), y.astype(np.float32)


def _rectangle(solid: RoundCone, camera: Camera, rows: int, columns: int) -> tuple[slice, slice]:
    """Return the rays that may hit a solid: those around the projections of its two spheres."""
    ends = camera.project(np.stack([solid.start, solid.end]))
    stretch = max(solid.width, solid.depth, 1.0)
    radii = np.array(solid.radii)[:, None] * stretch
    # The outline of a sphere is a little wider than its great circle.
    reach = camera.focal * radii / np.sqrt(ends[:, 2:] ** 2 - radii**2) * 1.05
    low = np.floor((ends[:, :2] - reach).min(0) * _SAMPLES).astype(int)
    high = np.ceil((ends[:, :2] + reach).max(0) * _SAMPLES).astype(int) + 1
    low, high = np.maximum(low, 0), np.clip(high, 0, [columns, rows])
    return slice(low[1], high[1]), slice(low[0], high[0])


def _cast(figure: Figure, camera: Camera, slope_x: Floats, slope_y: Floats) -> tuple[Floats, NDArray[np.uint8]]:
    """Return depth (infinite without a hit) and body part of the first surface on each ray."""
    depth = np.full((slope_y.size, slope_x.size), np.inf, np.float32)
    part = np.zeros(depth.shape, np.uint8)
    for name, solid in figure.solids.items():
        window = _rectangle(solid, camera, *depth.shape)
        x, y = slope_x[window[1]][None], slope_y[window[0]][:, None]
        if not x.size or not y.size:
            continue
        turn = (solid.to_local @ camera.axes.T).astype(np.float32)
        origin = (solid.to_local @ (camera.position - solid.start)).astype(np.float32)
        direction = tuple(turn[i, 0] * x + (turn[i, 1] * y + turn[i, 2]) for i in range(3))
        hit = intersect(solid, origin, direction)
        nearer = hit < depth[window]
        np.copyto(depth[window], hit, where=nearer)
        np.copyto(part[window], np.uint8(name), where=nearer)
    return depth, part


def _surface(
    figure: Figure, camera: Camera, slope_x: Floats, slope_y: Floats, depth: Floats, part: NDArray[np.uint8]
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return maps of u and v; for the n rays that hit, the (n, 3) normals in the camera's axes and (n, 2) spans."""
    turn, shift = np.zeros((NUM_PARTS, 3, 3), np.float32), np.zeros((NUM_PARTS, 3), np.float32)
    size, spans = np.zeros((NUM_PARTS, 3), np.float32), np.zeros((NUM_PARTS, 2), np.float32)
    for name, solid in figure.solids.items():
        turn[name] = solid.to_local @ camera.axes.T
        shift[name] = solid.to_local @ (camera.position - solid.start)
        size[name] = solid.length, solid.radii[0], solid.sine / np.sqrt(1 - solid.sine**2)
        spans[name] = solid.span
    row, column = np.nonzero(part)
    near, which = depth[row, column], part[row, column]
    length, radius, slope = size[which].T
    span = spans[which]
    rays = np.stack([slope_x[column] * near, slope_y[row] * near, near], axis=1)
    matrices = turn[which]
    local = np.einsum("nij,nj->ni", matrices, rays) + shift[which]
    x, y, z = local.T
    u, v = np.zeros_like(depth), np.zeros_like(depth)
    u[row, column] = np.arctan2(x, y) / np.float32(2 * np.pi)
    v[row, column] = np.clip((z + radius) / span[:, 1], 0, 1)
    # The normal points away from the centre of the sphere that touches the surface here.
    local[:, 2] -= np.clip(z - slope * np.hypot(x, y), 0, length)
    normal = np.einsum("nij,ni->nj", matrices, local)
    return u, v, normal / np.linalg.norm(normal, axis=1, keepdims=True), span


def _shade(normal: Floats, shadow: Floats, light: Light) -> Floats:
    """Return the brightness of surfaces: sky from above, direct light, darker towards the outline."""
    facing = np.maximum(normal @ light.direction, 0)
    sky = 1 - np.float32(0.12) * (1 + normal[:, 1])
    outline = np.float32(0.78) + np.float32(0.22) * np.sqrt(np.abs(normal[:, 2]))
    return (light.ambient * sky + light.direct * facing * shadow) * outline * (0.6 + 0.4 * shadow)


def _cast_shadow(depth: Floats, light: Light, camera: Camera) -> Floats:
    """Return the fraction of direct light: less behind parts that are some centimetres nearer to the light."""
    free = np.ones_like(depth)
    rays_per_metre = camera.focal * _SAMPLES / np.linalg.norm(camera.position[:2])
    for metres in (0.03, 0.06):
        step = np.round(light.direction[:2] * metres * rays_per_metre).astype(int)
        # Only a pixel or two at the edge of the frame wrap around.
        towards = np.roll(depth, (-step[1], -step[0]), axis=(0, 1))
        with np.errstate(invalid="ignore"):
            gap = depth - towards
            free -= 0.3 * ((gap > 0.04) & (gap < 0.5))
    return free


def _ground_shadow(figure: Figure, camera: Camera, rows: int, columns: int) -> Floats:
    """Return the factor that darkens the floor softly around the feet."""
    x, y = np.arange(columns) + 0.5, (np.arange(rows) + 0.5)[:, None]
    shadow = np.zeros((rows, columns), np.float32)
    for part in FEET:
        foot = figure.solids[part]
        middle = (foot.start + foot.end) / 2 * (1, 1, 0)
        px, py, far = camera.project(middle[None])[0]
        wide = 0.2 * camera.focal / far
        flat = wide * max(camera.position[2] / far, 0.22)
        blob = np.exp(-(((x - px) / wide) ** 2) - ((y - py) / flat) ** 2)
        shadow = np.maximum(shadow, blob.astype(np.float32))
    return 1 - np.float32(0.45) * shadow


def _visible_joints(figure: Figure, camera: Camera, depth: Floats) -> NDArray[np.int64]:
    """Return (18, 2) y and x of the joints that a pose estimator would find, -1 for the others."""
    projected = camera.project(figure.joints)
    x, y = np.floor(projected[:, :2]).astype(np.int64).T
    inside = (x >= 0) & (y >= 0) & (x < depth.shape[1]) & (y < depth.shape[0])
    surface = depth[np.where(inside, y, 0), np.where(inside, x, 0)]
    found = inside & (projected[:, 2] - surface < _DEPTH_MARGIN)
    for joint, (right, front), least in _FACE:
        direction = right * figure.head[:, 0] + front * figure.head[:, 1]
        toward = camera.position - figure.joints[joint]
        found[joint] &= direction @ toward / np.linalg.norm(toward) > least
    return np.where(found[:, None], np.stack([y, x], axis=1), -1)
