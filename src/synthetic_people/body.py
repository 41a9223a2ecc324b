"""The 3-D figure: solids and joints of a body shape in a pose."""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from synthetic_people.poses import Arm, Leg, Pose
from synthetic_people.primitives import FEET, Part, RoundCone
from twostream.data.keypoints import JOINT_NAMES


@dataclass(frozen=True)
class BodyShape:
    """Build of a person, and the measures that its clothes set.

    Attributes:
        height: in metres.
        girth: thickness of trunk and limbs relative to an average person.
        shoulders: width of the shoulders relative to an average person.
        hips: width of the hips relative to an average person.
        legs: length of the legs relative to an average person of this height.
        sleeve_ease: metres by which sleeves widen the arms.
        trouser_ease: metres by which trousers widen the legs.
        skirt: length below the waist in metres; 0 for none.
        long_hair: whether the hair reaches the shoulders.
        bag: whether there is a bag on the back.
    """

    height: float
    girth: float
    shoulders: float
    hips: float
    legs: float
    sleeve_ease: float = 0.0
    trouser_ease: float = 0.0
    skirt: float = 0.0
    long_hair: bool = False
    bag: bool = False


def sample_shape(rng: np.random.Generator) -> BodyShape:
    """Draw the build of an adult, without the measures that clothes set."""
    return BodyShape(
        height=float(np.clip(rng.normal(1.71, 0.08), 1.52, 1.92)),
        girth=float(np.clip(rng.normal(1.02, 0.11), 0.82, 1.35)),
        shoulders=rng.uniform(0.9, 1.1),
        hips=rng.uniform(0.9, 1.12),
        legs=rng.uniform(0.96, 1.04),
    )


@dataclass(frozen=True)
class Figure:
    """A person in a pose, standing on the ground z = 0 and facing +y; +x is the person's right.

    Attributes:
        solids: body part -> its solid.
        joints: (18, 3) positions of the joints in metres, in the order of `JOINT_NAMES`.
        head: (3, 3) columns right, front, up of the head.
    """

    solids: dict[Part, RoundCone]
    joints: NDArray[np.float64]
    head: NDArray[np.float64]


def _turn(axis: int, degrees: float) -> NDArray[np.float64]:
    """Return the rotation about an axis: 0, 1 or 2 for x, y or z."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[[i, i, j, j], [i, j, i, j]] = c, -s, s, c
    return matrix


_turn_x, _turn_y, _turn_z = (partial(_turn, axis) for axis in range(3))


def _down(axes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the frame (rows right, front, down) of a solid that points down, from columns right, front, up."""
    return np.stack([axes[:, 0], axes[:, 1], -axes[:, 2]])


class _Builder:
    """Collects the solids and joints of one figure; lengths are given for an average person, in metres."""

    def __init__(self, shape: BodyShape, pose: Pose):
        self.shape, self.pose = shape, pose
        self.scale = shape.height / 1.75
        self.solids: dict[Part, RoundCone] = {}
        self.joints: dict[str, NDArray[np.float64]] = {}

    def add(
        self, part: Part, start: NDArray, frame: NDArray, length: float, radii: tuple[float, float],
        width: float = 1.0, depth: float = 1.0, ease: float = 0.0, open_end: bool = False, on_head: bool = False,
    ) -> None:  # fmt: skip
        """Add a solid; its length is scaled by the height, its radii also by the girth except on the head."""
        thick = self.scale * (1.0 if on_head else self.shape.girth)
        grown = (radii[0] * thick + ease, radii[1] * thick + ease)
        self.solids[part] = RoundCone(start, frame, length * self.scale, grown, width, depth, open_end)

    def trunk(self) -> None:
        """Add hips, chest, shoulders, bag and, from there, all other parts."""
        pose, shape = self.pose, self.shape
        hips = _turn_x(-pose.tilt)
        chest = hips @ _turn_x(-pose.bend) @ _turn_y(pose.lean) @ _turn_z(pose.twist)
        waist = 0.17 * self.scale * hips[:, 2]
        seat = 0.096 if shape.skirt > 0 else 0.112  # a larger one would stick out of the skirt
        self.add(Part.HIPS, waist, _down(hips), 0.16, (0.098, seat), 1.46 * shape.hips, 1.02)
        top = waist + 0.25 * self.scale * chest[:, 2]
        self.add(Part.CHEST, top, _down(chest), 0.24, (0.112, 0.1), 1.46 * shape.shoulders, 1.02)
        neck = waist + 0.34 * self.scale * chest[:, 2]
        self.joints["neck"] = neck
        if shape.bag:
            centre = waist + self.scale * (0.24 * chest[:, 2] - 0.16 * shape.girth * chest[:, 1])
            self.add(Part.BAG, centre, _down(chest), 0.2, (0.1, 0.115), 1.25, 0.75)
        reach = 0.178 * self.scale * shape.shoulders
        across = np.stack([chest[:, 2], chest[:, 1], -chest[:, 0]])
        self.add(Part.SHOULDERS, neck + reach * chest[:, 0], across, 2 * reach / self.scale, (0.06, 0.06))
        for side, name, arm, leg in zip((1, -1), ("right", "left"), pose.arms, pose.legs, strict=True):
            self.arm(side, name, arm, neck + side * reach * chest[:, 0], chest)
            self.leg(side, name, leg, hips)
        if shape.skirt > 0:
            self.skirt(hips)
        self.head(neck, chest)

    def head(self, neck: NDArray, chest: NDArray) -> None:
        """Add neck, head, hair and the joints of the face."""
        axes = chest @ _turn_x(-self.pose.nod) @ _turn_z(self.pose.turn)
        self.head_axes = axes
        skull = neck + self.scale * (0.09 * chest[:, 2] + 0.125 * axes[:, 2] + 0.02 * axes[:, 1])
        self.add(Part.NECK, neck + 0.1 * self.scale * chest[:, 2], _down(chest), 0.09, (0.052, 0.075), 1.1)
        self.add(Part.HEAD, skull, _down(axes), 0.066, (0.1, 0.07), 0.88, on_head=True)
        back = skull + self.scale * (0.022 * axes[:, 2] - 0.03 * axes[:, 1])
        self.add(Part.HAIR, back, _down(axes), 0.03, (0.109, 0.1), 0.94, on_head=True)
        if self.shape.long_hair:
            start = back - self.scale * (0.03 * axes[:, 1] + 0.03 * axes[:, 2])
            down = _down(axes) * 0.55 + _down(chest) * 0.45
            frame = down / np.linalg.norm(down, axis=1, keepdims=True)
            self.add(Part.LONG_HAIR, start, frame, 0.24, (0.09, 0.07), 1.12, 0.75, on_head=True)
        face = self.solids[Part.HEAD].surface_point
        self.joints["nose"] = face(0.0, 0.62) + 0.012 * self.scale * axes[:, 1]
        for side, name in ((1, "right"), (-1, "left")):
            self.joints[f"{name} eye"] = face(side * 0.085, 0.47)
            self.joints[f"{name} ear"] = face(side * 0.27, 0.5)

    def arm(self, side: int, name: str, arm: Arm, shoulder: NDArray, chest: NDArray) -> None:
        """Add upper arm, lower arm and hand of one side (1 right, -1 left)."""
        upper = chest @ _turn_y(-side * arm.spread) @ _turn_x(arm.swing) @ _turn_z(side * arm.turn)
        lower = upper @ _turn_x(arm.elbow)
        elbow = shoulder - 0.285 * self.scale * upper[:, 2]
        wrist = elbow - 0.25 * self.scale * lower[:, 2]
        hand = wrist - 0.05 * self.scale * lower[:, 2]
        part, ease = name.upper(), self.shape.sleeve_ease
        self.add(Part[f"{part}_UPPER_ARM"], shoulder, _down(upper), 0.285, (0.056, 0.044), ease=ease)
        self.add(Part[f"{part}_LOWER_ARM"], elbow, _down(lower), 0.25, (0.043, 0.031), ease=ease)
        self.add(Part[f"{part}_HAND"], hand, _down(lower), 0.07, (0.034, 0.028), 0.75, 1.2)
        self.joints |= {f"{name} shoulder": shoulder, f"{name} elbow": elbow, f"{name} wrist": wrist}

    def leg(self, side: int, name: str, leg: Leg, hips: NDArray) -> None:
        """Add thigh, calf and foot of one side (1 right, -1 left)."""
        stride = 0.6 if self.shape.skirt > 0 else 1.0  # a skirt limits the stride
        swing, bend = stride * leg.swing, stride * leg.knee
        thigh = _turn_y(-side * leg.spread) @ _turn_x(swing)
        calf = thigh @ _turn_x(-bend)
        # The sole stays level within the limits of the ankle.
        foot = calf @ _turn_x(float(np.clip(bend - swing, -25, 35)))
        hip = side * 0.098 * self.scale * self.shape.hips * hips[:, 0]
        knee = hip - 0.43 * self.scale * self.shape.legs * thigh[:, 2]
        ankle = knee - 0.41 * self.scale * self.shape.legs * calf[:, 2]
        heel = ankle + self.scale * (-0.035 * foot[:, 2] - 0.02 * foot[:, 1])
        frame = np.stack([foot[:, 0], foot[:, 2], foot[:, 1]])
        part, length, ease = name.upper(), self.shape.legs, self.shape.trouser_ease
        self.add(Part[f"{part}_THIGH"], hip, _down(thigh), 0.43 * length, (0.088, 0.06), ease=ease)
        self.add(Part[f"{part}_CALF"], knee, _down(calf), 0.41 * length, (0.06, 0.04), ease=ease)
        self.add(Part[f"{part}_FOOT"], heel, frame, 0.17, (0.048, 0.038), 1.0, 0.95)
        self.joints |= {f"{name} hip": hip, f"{name} knee": knee, f"{name} ankle": ankle}

    def skirt(self, hips: NDArray) -> None:
        """Add an open cone from the waist that follows the legs and is as wide as the stride."""
        right_knee, left_knee, right_ankle, left_ankle = (
            self.joints[name] for name in ("right knee", "left knee", "right ankle", "left ankle")
        )
        long = float(np.clip((self.shape.skirt - 0.45) / 0.4, 0, 1))
        knees = (right_knee + left_knee) / 2 * (1 - long) + (right_ankle + left_ankle) / 2 * long
        spread = float(np.linalg.norm(right_knee - left_knee))
        start = 0.13 * self.scale * hips[:, 2]
        down = (knees - start) / np.linalg.norm(knees - start)
        right = hips[:, 0] - (hips[:, 0] @ down) * down
        right /= np.linalg.norm(right)
        frame = np.stack([right, np.cross(right, down), down])
        length = self.shape.skirt / self.scale
        hem = 0.125 + 0.12 * length + 0.5 * length * max(spread / self.scale - 0.2, 0.0)
        self.add(Part.SKIRT, start, frame, length, (0.108, hem), 1.42 * self.shape.hips, 1.2, open_end=True)


def build_figure(shape: BodyShape, pose: Pose) -> Figure:
    """Build the figure of a body in a pose, with the hips near the origin of x and y, standing on the ground."""
    builder = _Builder(shape, pose)
    builder.trunk()
    feet = [builder.solids[part] for part in FEET]
    lowest = min(min(foot.start[2] - foot.radii[0], foot.end[2] - foot.radii[1]) for foot in feet)
    lift = np.array([0.0, 0.0, -lowest])
    solids = {part: replace(solid, start=solid.start + lift) for part, solid in builder.solids.items()}
    joints = np.stack([builder.joints[name] for name in JOINT_NAMES]) + lift
    return Figure(solids, joints, builder.head_axes)


def arms_are_free(figure: Figure) -> bool:
    """Whether no elbow, wrist or hand is inside the trunk or the head."""
    trunk = [figure.solids[part] for part in (Part.CHEST, Part.HIPS, Part.HEAD)]
    hands = [figure.solids[part].end for part in (Part.RIGHT_HAND, Part.LEFT_HAND)]
    points = [*figure.joints[[3, 4, 6, 7]], *hands]
    return not any(solid.contains(point, 0.025) for solid in trunk for point in points)
