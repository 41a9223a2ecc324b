"""The order of training pairs: a function of the seed, cut into batches that processes split."""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from torch.utils.data import Sampler
from typing_extensions import override


class SampledPair(NamedTuple):
    """A pair in the stream; its augmentation is drawn from the seed, the epoch and the position in the epoch."""

    epoch: int
    position: int
    pair_index: int


class PairStream(Sampler[list[SampledPair]]):
    """The batches of a run.

    An epoch is a full pass in random order, or `pairs_per_epoch` pairs drawn with replacement as in PATN. A batch may
    begin in one epoch and end in the next, so that every batch has `batch_size` pairs. Processes split each batch as
    evenly as possible: the batch is the same for any number of processes. Each batch is a function of its index, so a
    run can resume at any of them.

    Args:
        num_pairs: size of the data set.
        num_batches: iterations of the run.
        batch_size: pairs of all processes together.
        seed: of all draws.
        pairs_per_epoch: draws with replacement in an epoch; None makes full passes.
        rank: of this process.
        world_size: number of processes.
        start: index of the first batch.

    Raises:
        ValueError: there are more processes than pairs in a batch.
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
            raise ValueError(
                f"data.batch_size: expected at least one pair for each of {world_size} processes, got {batch_size}"
            )
        self.num_pairs = num_pairs
        self.num_batches = num_batches
        self.batch_size = batch_size
        self.seed = seed
        self.pairs_per_epoch = pairs_per_epoch
        self.slots = rank_slice(batch_size, rank, world_size)
        self.start = start
        # A batch rarely spans more than two epochs; those that it does are drawn again.
        self._epoch = lru_cache(maxsize=2)(self._draw_epoch)

    def __len__(self) -> int:
        """Return the number of batches of the run, including those before `start`."""
        return self.num_batches

    @override
    def __iter__(self) -> Iterator[list[SampledPair]]:
        return (self.batch(index, self.slots) for index in range(self.start, self.num_batches))

    def batch(self, index: int, slots: range) -> list[SampledPair]:
        """Return the pairs of a batch in `slots`, which are positions within the batch."""
        length = self.num_pairs if self.pairs_per_epoch is None else self.pairs_per_epoch
        positions = (divmod(index * self.batch_size + slot, length) for slot in slots)
        return [SampledPair(epoch, position, int(self._epoch(epoch)[position])) for epoch, position in positions]

    def _draw_epoch(self, epoch: int) -> Int[np.ndarray, "draws"]:
        draw = np.random.default_rng([self.seed, epoch])
        if self.pairs_per_epoch is None:
            return draw.permutation(self.num_pairs)
        return draw.integers(self.num_pairs, size=self.pairs_per_epoch)


def rank_slice(count: int, rank: int, world_size: int) -> range:
    """Return the indices below `count` that belong to a process; processes differ by one index at most."""
    return range(count * rank // world_size, count * (rank + 1) // world_size)
