"""Times of several things done in turns, so that a machine's moods fall on all of them alike."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Timing:
    """Seconds that one call took, in every round."""

    seconds: tuple[float, ...]

    def lasts(self) -> tuple[float, float, float]:
        """Return the seconds that a call took: the median and both quartiles."""
        median, low, high = np.quantile(self.seconds, [0.5, 0.25, 0.75])
        return float(median), float(low), float(high)

    def rate(self, count: int) -> tuple[float, float, float]:
        """Return how many of `count` things a call were done a second: the median and both quartiles."""
        median, low, high = np.quantile([count / seconds for seconds in self.seconds], [0.5, 0.25, 0.75])
        return float(median), float(low), float(high)

    def times(self, other: "Timing") -> tuple[float, float, float]:
        """Return how many times as fast as another call it was, round by round: the median and both quartiles."""
        pairs = zip(other.seconds, self.seconds, strict=True)
        median, low, high = np.quantile([theirs / ours for theirs, ours in pairs], [0.5, 0.25, 0.75])
        return float(median), float(low), float(high)


def in_turns(
    cases: Mapping[str, Callable[[], object]], rounds: int, device: torch.device, warm_up: bool = True
) -> dict[str, Timing]:
    """Time every case once a round, beginning with another one each round.

    Args:
        cases: name -> call.
        rounds: at least 1.
        device: that the calls work on; it is waited for.
        warm_up: call each case once outside; false where each has been called already.

    """
    if rounds < 1:
        raise ValueError(f"rounds: expected at least 1, got {rounds}")
    names = list(cases)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for name in names if warm_up else ():
        cases[name]()
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            wait_for(device)
            start = time.perf_counter()
            cases[name]()
            wait_for(device)
            seconds[name].append(time.perf_counter() - start)
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
