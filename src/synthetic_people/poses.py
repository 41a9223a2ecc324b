"""Poses: random joint angles of the figure, within human limits."""

from dataclasses import dataclass, replace

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
        arms: the person's own right and left arm.
        legs: the person's own right and left leg.
    """

    tilt: float = 0.0
    bend: float = 0.0
    lean: float = 0.0
    twist: float = 0.0
    nod: float = 0.0
    turn: float = 0.0
    arms: tuple[Arm, ...] = (Arm(), Arm())
    legs: tuple[Leg, ...] = (Leg(), Leg())


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


def _draw_busy_arms(rng: np.random.Generator, *choices: tuple[tuple[int, int], ...]) -> tuple[Arm, ...]:
    """Draw two arms of these choices in random order; one of them may hang."""
    arms = (_draw_arm(rng, *choices), _draw_arm(rng, *choices, _HANGING))
    return tuple(arms[i] for i in rng.permutation(2))


def _standing(rng: np.random.Generator) -> Pose:
    return Pose(
        bend=rng.uniform(-3, 8),
        arms=tuple(_draw_arm(rng, _HANGING, _HANGING, _ON_HIP, _HOLDING) for _ in range(2)),
        legs=tuple(Leg(rng.uniform(-5, 8), rng.uniform(1, 9), rng.uniform(2, 12)) for _ in range(2)),
    )


def _walking(rng: np.random.Generator) -> Pose:
    stride = rng.uniform(14, 36) * rng.choice([-1, 1])
    arm_swing = stride * rng.uniform(0.5, 1.1)
    legs = []
    for swing in (stride, -stride):
        knee = rng.uniform(2, 25) if swing > 0 else rng.uniform(8, 55)
        legs.append(Leg(swing, rng.uniform(0, 4), knee))
    return Pose(
        tilt=rng.uniform(0, 6),
        bend=rng.uniform(0, 6),
        twist=0.25 * stride,
        arms=tuple(
            Arm(swing, rng.uniform(4, 12), rng.uniform(0, 25), rng.uniform(8, 60)) for swing in (-arm_swing, arm_swing)
        ),
        legs=tuple(legs),
    )


def _reaching(rng: np.random.Generator) -> Pose:
    arms = _draw_busy_arms(rng, _FORWARD, _SIDEWAYS)
    return replace(_standing(rng) if rng.random() < 0.6 else _walking(rng), arms=arms)


def _raising(rng: np.random.Generator) -> Pose:
    arms = _draw_busy_arms(rng, _RAISED, _WAVING)
    return replace(_standing(rng), arms=arms)


def _bending(rng: np.random.Generator) -> Pose:
    knee = rng.uniform(15, 75)
    return Pose(
        legs=tuple(Leg(0.6 * knee + rng.uniform(-8, 8), rng.uniform(3, 12), knee) for _ in range(2)),
        arms=tuple(
            Arm(rng.uniform(20, 75), rng.uniform(4, 20), rng.uniform(0, 25), rng.uniform(5, 60)) for _ in range(2)
        ),
        tilt=rng.uniform(10, 30),
        bend=rng.uniform(10, 35),
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
