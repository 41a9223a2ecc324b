"""Which training pairs come when: a function of the seed alone, cut into batches and shared out over processes."""

from collections.abc import Iterator
from itertools import count, islice
from typing import NamedTuple

import numpy as np
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
    of each batch, as even as it goes: the global batch is the same for any number of processes.

    Args:
        num_pairs: that there are to draw from.
        num_batches: iterations of the run.
        batch_size: pairs of all processes together.
        seed: of all draws.
        pairs_per_epoch: draws with replacement in an epoch; None makes full passes.
        rank: of this process.
        world_size: how many processes there are.

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
    ) -> None:
        if batch_size < world_size:
            raise ValueError(f"data.batch_size: expected at least one pair for each of {world_size}, got {batch_size}")
        self.num_pairs = num_pairs
        self.num_batches = num_batches
        self.batch_size = batch_size
        self.seed = seed
        self.pairs_per_epoch = pairs_per_epoch
        self.rank = rank
        self.world_size = world_size

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[list[Draw]]:
        draws = self._draws()
        start, stop = (self.batch_size * rank // self.world_size for rank in (self.rank, self.rank + 1))
        for _ in range(self.num_batches):
            yield list(islice(draws, self.batch_size))[start:stop]

    def _draws(self) -> Iterator[Draw]:
        for epoch in count():
            draw = np.random.default_rng([self.seed, epoch])
            if self.pairs_per_epoch is None:
                pairs = draw.permutation(self.num_pairs)
            else:
                pairs = draw.integers(self.num_pairs, size=self.pairs_per_epoch)
            for position, pair in enumerate(pairs.tolist()):
                yield Draw(epoch, position, pair)
