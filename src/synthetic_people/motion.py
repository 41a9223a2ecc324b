"""Poses by name and sequences of poses, as joints of a figure in front of a camera that does not move towards it."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from synthetic_people.body import BodyShape, Figure, build_figure
from synthetic_people.camera import Camera, follow_figure
from synthetic_people.poses import Arm, Leg, Pose
from synthetic_people.raycast import visible_joints

IMAGE_SIZE = (256, 128)
SHAPE = BodyShape(height=1.72, girth=1.0, shoulders=1.0, hips=1.0, legs=1.0)
STANDING = Pose(arms=(Arm(2, 9, 10, 14),) * 2, legs=(Leg(0, 4, 4),) * 2)


class Frame(NamedTuple):
    """A pose, and the direction from which it is seen: degrees around the person, 0 the front, 90 the right side."""

    pose: Pose
    yaw: float


def walking(count: int, yaw: float) -> list[Frame]:
    """Return the frames of one cycle of two steps."""
    frames = []
    for phase in 2 * np.pi * np.arange(count) / count:
        legs, arms = [], []
        for step in (phase, phase + np.pi):
            # The knee bends while the leg swings forward, and a little when the foot takes the weight.
            swing = 27 * np.sin(step)
            knee = 6 + 48 * max(np.cos(step), 0.0) ** 2 + 6 * max(np.sin(2 * step), 0.0)
            legs.append(Leg(float(swing), 2, float(knee)))
            arms.append(Arm(float(-0.9 * swing), 8, 12, float(22 - 14 * np.sin(step))))
        twist = float(6 * np.sin(phase))
        frames.append(Frame(Pose(tilt=3, bend=3, twist=twist, arms=(arms[0], arms[1]), legs=(legs[0], legs[1])), yaw))
    return frames


def waving(count: int, yaw: float) -> list[Frame]:
    """Return the frames of one wave of the right hand."""
    return [
        Frame(Pose(arms=(Arm(8, 95, -88, float(78 + 24 * np.sin(phase))), STANDING.arms[1]), legs=STANDING.legs), yaw)
        for phase in 2 * np.pi * np.arange(count) / count
    ]


def turning(count: int) -> list[Frame]:
    """Return the frames of one turn on the spot, to the left."""
    return [Frame(STANDING, 360 * index / count) for index in range(count)]


HIPS = Pose(arms=(Arm(-22, 44, 70, 95),) * 2, legs=(Leg(0, 7, 4),) * 2)
ARMS_UP = Pose(arms=(Arm(160, 5, 15, 15),) * 2, legs=STANDING.legs)
SIDEWAYS = Pose(arms=(Arm(0, 68, 0, 10),) * 2, legs=STANDING.legs)
REACHING = Pose(arms=(Arm(82, 8, 0, 12), STANDING.arms[1]), legs=(Leg(14, 3, 8), Leg(-10, 3, 8)))
BENDING = Pose(tilt=22, bend=24, nod=-8, arms=(Arm(52, 10, 10, 20),) * 2, legs=(Leg(26, 5, 44),) * 2)
STEP = walking(16, 0)[4].pose

PRESETS = {
    "front": [Frame(STANDING, 0)],
    "right": [Frame(STANDING, 90)],
    "back": [Frame(STANDING, 180)],
    "left": [Frame(STANDING, 270)],
    "hands_on_hips": [Frame(HIPS, 15)],
    "arms_up": [Frame(ARMS_UP, 0)],
    "arms_sideways": [Frame(SIDEWAYS, 0)],
    "reach": [Frame(REACHING, 60)],
    "bend": [Frame(BENDING, 70)],
    "step": [Frame(STEP, 40)],
    "walk": walking(16, 65),
    "wave": waving(12, 0),
    "turn": turning(24),
}


def sequence_joints(
    frames: Sequence[Frame], image_size: tuple[int, int] = IMAGE_SIZE
) -> tuple[list[Int[np.ndarray, "18 2"]], list[tuple[Figure, Camera]]]:
    """Return the joints of each frame, (y, x) in pixels and -1 if hidden, and the figures with their cameras.

    The person has the same size in all frames and is centred.
    """
    figures = [build_figure(SHAPE, frame.pose) for frame in frames]
    cameras = follow_figure(figures, [frame.yaw for frame in frames], image_size, SHAPE.height)
    views = list(zip(figures, cameras, strict=True))
    return [visible_joints(figure, camera, image_size) for figure, camera in views], views


def presets() -> dict[str, object]:
    """Return the presets as stored in a JSON file: the frame, and a list of joints for each name."""
    poses = {name: [joints.tolist() for joints in sequence_joints(frames)[0]] for name, frames in PRESETS.items()}
    return {"image_size": list(IMAGE_SIZE), "poses": poses}


def main() -> None:
    """Write the presets as JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    path = parser.parse_args().out
    path.write_text(json.dumps(presets(), separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
