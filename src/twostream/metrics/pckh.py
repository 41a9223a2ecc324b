"""PCKh of detected joints against annotated ones, by the rule of PATN's evaluation (`tool/calPCKH_market.py`)."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

# Nose, neck, eyes and ears in the order of the field's annotation files (data/skeleton.py).
HEAD = (0, 1, 14, 15, 16, 17)
ALPHA = 0.5


def pckh_counts(detected: Int[np.ndarray, "18 2"], target: Int[np.ndarray, "18 2"]) -> tuple[int, int]:
    """Count one picture's right joints and its annotated joints; both are (y, x) in pixels, -1 where missing.

    A joint is right where both are found and it lies less than half the target's head box away along each axis. The box
    spans the found joints of nose, neck, eyes and ears; with fewer than two of them the picture counts (0, 0).
    """
    # Missing as data/annotations.py has it: equality with -1 in either coordinate.
    annotated = (target != -1).all(axis=1)
    head = target[list(HEAD)][annotated[list(HEAD)]]
    if len(head) < 2:
        return 0, 0
    near = (np.abs(detected - target) < ALPHA * np.ptp(head, axis=0)).all(axis=1)
    right = near & annotated & (detected != -1).all(axis=1)
    return int(right.sum()), int(annotated.sum())


def pckh(counts: Sequence[tuple[int, int]]) -> float:
    """Return the share of right joints among all annotated ones of many pictures, in [0, 1].

    `counts` are those of `pckh_counts`. Raises ValueError where no picture counts.
    """
    annotated = sum(count for _, count in counts)
    if annotated == 0:
        raise ValueError(
            f"PCKh: expected a target with two found joints of the head, there is none among {len(counts)} pictures"
        )
    return sum(right for right, _ in counts) / annotated
