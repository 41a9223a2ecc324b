"""Which training pairs come when: a function of the seed alone, cut into batches and shared out over processes."""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from torch.utils.data import Sampler


class Draw(NamedTuple):
    """One training pair at its place in the stream."""

    epoch: int
    position: int
    """Within the epoch; an augmentation is drawn from (seed, epoch, position)."""
    pair: int
    """Index of the pair in the data set."""


class PairStream(Sampler[list[Draw]]):
    """The batches of a whole run.

    An epoch is a full pass in a random order, or `pairs_per_epoch` pairs drawn with replacement as PATN draws them. A
    batch may begin in one epoch and end in the next, so that each has `batch_size` pairs. Every process takes its share
    of each batch, as even as it goes: the global batch is the same for any number of processes. Each batch is a
    function of its number, so a run can go on at any of them.

    Args:
        num_pairs: that there are to draw from.
        num_batches: iterations of the run.
        batch_size: pairs of all processes together.
        seed: of all draws.
        pairs_per_epoch: draws with replacement in an epoch; None makes full passes.
        rank: of this process.
        world_size: how many processes there are.
        start: the batch to begin with.

    Raises ValueError where a process would be left without a pair.

    """

    def __init__(
        self,
        num_pairs: int,
        num_batches: int,
        batch_size: int,
        seed: int,
        pairs_per_epoch: int | None = None,
        rank: int = 0,
        world_size: int = 1,
        start: int = 0,
    ) -> None:
        if batch_size < world_size:
            raise ValueError(f"data.batch_size: expected at least one pair for each of {world_size}, got {batch_size}")
        self.num_pairs = num_pairs
        self.num_batches = num_batches
        self.batch_size = batch_size
        self.seed = seed
        self.pairs_per_epoch = pairs_per_epoch
        self.share = rank_slice(batch_size, rank, world_size)
        self.start = start
        # A batch reaches over two epochs at most often; shorter epochs are drawn again.
        self._epoch = lru_cache(maxsize=2)(self._draw_epoch)

    def __len__(self) -> int:
        """Count the batches of the whole run, those before `start` too."""
        return self.num_batches

    def __iter__(self) -> Iterator[list[Draw]]:
        return (self.batch(index, self.share) for index in range(self.start, self.num_batches))

    def batch(self, index: int, share: range) -> list[Draw]:
        """Return the draws of a batch at the places in `share`."""
        length = self.num_pairs if self.pairs_per_epoch is None else self.pairs_per_epoch
        places = (divmod(index * self.batch_size + place, length) for place in share)
        return [Draw(epoch, position, int(self._epoch(epoch)[position])) for epoch, position in places]

    def _draw_epoch(self, epoch: int) -> Int[np.ndarray, "draws"]:
        draw = np.random.default_rng([self.seed, epoch])
        if self.pairs_per_epoch is None:
            return draw.permutation(self.num_pairs)
        return draw.integers(self.num_pairs, size=self.pairs_per_epoch)


def rank_slice(count: int, rank: int, world_size: int) -> range:
    """Return the places of `count` that belong to a process; shares differ by one at most."""
    return range(count * rank // world_size, count * (rank + 1) // world_size)
