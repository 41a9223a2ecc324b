"""Poses: random joint angles of the figure, within human limits."""

from dataclasses import dataclass, field, replace

import numpy as np


@dataclass(frozen=True)
class Arm:
    """Angles of an arm in degrees; all zero hangs straight down.

    Attributes:
        swing: forward (positive) or back.
        spread: away from the body, to the side.
        turn: rotation of the upper arm about its axis; positive moves a bent forearm inwards.
        elbow: bend of the elbow, 0 (straight) to about 150.
    """

    swing: float = 0.0
    spread: float = 8.0
    turn: float = 0.0
    elbow: float = 10.0


@dataclass(frozen=True)
class Leg:
    """Angles of a leg in degrees; all zero stands straight.

    Attributes:
        swing: forward (positive) or back, of the thigh.
        spread: to the side, of the thigh.
        knee: bend of the knee, 0 (straight) to about 150.
    """

    swing: float = 0.0
    spread: float = 3.0
    knee: float = 3.0


@dataclass(frozen=True)
class Pose:
    """All joint angles of a figure in degrees.

    Attributes:
        tilt: of the hips, forward.
        bend: of the chest relative to the hips, forward.
        lean: of the chest relative to the hips, to the right.
        twist: of the chest relative to the hips, to the left.
        nod: of the head, forward.
        turn: of the head, to the left.
        right_arm: the person's own right arm.
        left_arm: the person's own left arm.
        right_leg: the person's own right leg.
        left_leg: the person's own left leg.
    """

    tilt: float = 0.0
    bend: float = 0.0
    lean: float = 0.0
    twist: float = 0.0
    nod: float = 0.0
    turn: float = 0.0
    right_arm: Arm = field(default_factory=Arm)
    left_arm: Arm = field(default_factory=Arm)
    right_leg: Leg = field(default_factory=Leg)
    left_leg: Leg = field(default_factory=Leg)


# Ranges of swing, spread, turn and elbow.
_HANGING = ((-15, 20), (5, 18), (-10, 40), (4, 35))
_ON_HIP = ((-30, -15), (38, 50), (60, 80), (85, 105))
_HOLDING = ((0, 25), (6, 15), (-5, 25), (65, 125))
_FORWARD = ((55, 105), (0, 20), (-10, 20), (0, 35))
_SIDEWAYS = ((-10, 20), (55, 100), (-40, 20), (0, 40))
_RAISED = ((140, 175), (-5, 15), (-10, 40), (0, 45))
_WAVING = ((0, 15), (80, 110), (-95, -80), (50, 105))


def _draw_arm(rng: np.random.Generator, *choices: tuple[tuple[int, int], ...]) -> Arm:
    ranges = choices[rng.integers(len(choices))]
    return Arm(*(rng.uniform(low, high) for low, high in ranges))


def _standing_leg(rng: np.random.Generator) -> Leg:
    return Leg(rng.uniform(-5, 8), rng.uniform(1, 9), rng.uniform(2, 12))


def _standing(rng: np.random.Generator) -> Pose:
    arms = (_HANGING, _HANGING, _ON_HIP, _HOLDING)
    return Pose(
        bend=rng.uniform(-3, 8),
        right_arm=_draw_arm(rng, *arms),
        left_arm=_draw_arm(rng, *arms),
        right_leg=_standing_leg(rng),
        left_leg=_standing_leg(rng),
    )


def _walking(rng: np.random.Generator) -> Pose:
    stride = rng.uniform(14, 36) * rng.choice([-1, 1])
    arm_swing = stride * rng.uniform(0.5, 1.1)
    right, left = (_stepping_leg(rng, sign * stride) for sign in (1, -1))
    return Pose(
        tilt=rng.uniform(0, 6),
        bend=rng.uniform(0, 6),
        twist=0.25 * stride,
        right_arm=Arm(-arm_swing, rng.uniform(4, 12), rng.uniform(0, 25), rng.uniform(8, 60)),
        left_arm=Arm(arm_swing, rng.uniform(4, 12), rng.uniform(0, 25), rng.uniform(8, 60)),
        right_leg=right,
        left_leg=left,
    )


def _stepping_leg(rng: np.random.Generator, swing: float) -> Leg:
    knee = rng.uniform(2, 25) if swing > 0 else rng.uniform(8, 55)
    return Leg(swing, rng.uniform(0, 4), knee)


def _reaching(rng: np.random.Generator) -> Pose:
    arms = [_draw_arm(rng, _FORWARD, _SIDEWAYS), _draw_arm(rng, _FORWARD, _SIDEWAYS, _HANGING)]
    order = rng.permutation(2)
    base = _standing(rng) if rng.random() < 0.6 else _walking(rng)
    return replace(base, right_arm=arms[order[0]], left_arm=arms[order[1]])


def _raising(rng: np.random.Generator) -> Pose:
    arms = [_draw_arm(rng, _RAISED, _WAVING), _draw_arm(rng, _RAISED, _WAVING, _HANGING)]
    order = rng.permutation(2)
    return replace(_standing(rng), right_arm=arms[order[0]], left_arm=arms[order[1]])


def _bending(rng: np.random.Generator) -> Pose:
    knee = rng.uniform(15, 75)
    legs = [Leg(0.6 * knee + rng.uniform(-8, 8), rng.uniform(3, 12), knee) for _ in range(2)]
    arms = [Arm(rng.uniform(20, 75), rng.uniform(4, 20), rng.uniform(0, 25), rng.uniform(5, 60)) for _ in range(2)]
    return Pose(
        tilt=rng.uniform(10, 30),
        bend=rng.uniform(10, 35),
        right_arm=arms[0],
        left_arm=arms[1],
        right_leg=legs[0],
        left_leg=legs[1],
    )


_KINDS = (_standing, _walking, _reaching, _raising, _bending)
_PROBABILITIES = (0.35, 0.30, 0.12, 0.12, 0.11)


def sample_pose(rng: np.random.Generator) -> Pose:
    """Draw a pose: standing 35 %, walking 30 %, reaching 12 %, arms raised 12 %, bending 11 %."""
    pose = _KINDS[rng.choice(len(_KINDS), p=_PROBABILITIES)](rng)
    return replace(
        pose,
        lean=rng.uniform(-5, 5),
        twist=pose.twist + rng.uniform(-8, 8),
        nod=rng.uniform(-8, 15) - 0.5 * pose.bend,
        turn=rng.normal(0, 14),
    )
