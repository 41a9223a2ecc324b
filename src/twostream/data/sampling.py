"""The order of training pairs: a function of the seed, cut into batches that processes split."""

from collections.abc import Iterator
from dataclasses import dataclass
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


@dataclass(eq=False)
class PairStream(Sampler[list[SampledPair]]):
    """The batches of a run.

    An epoch is a full pass in random order, or `pairs_per_epoch` pairs drawn with replacement as in PATN. A batch may
    begin in one epoch and end in the next, so that every batch has `batch_size` pairs. Processes split each batch as
    evenly as possible: the batch is the same for any number of processes. Each batch is a function of its index, so a
    run can resume at any of them.

    Raises ValueError if there are more processes than pairs in a batch.
    """

    num_pairs: int  # of the data set
    num_batches: int  # iterations of the run
    batch_size: int  # pairs of all processes together
    seed: int  # of all draws
    pairs_per_epoch: int | None = None  # draws with replacement in an epoch; None makes full passes
    rank: int = 0  # of this process
    world_size: int = 1  # number of processes
    start: int = 0  # index of the first batch

    def __post_init__(self) -> None:
        if self.batch_size < self.world_size:
            raise ValueError(
                f"data.batch_size: expected at least one pair for each of {self.world_size} processes, "
                f"got {self.batch_size}"
            )
        self.slots = rank_slice(self.batch_size, self.rank, self.world_size)
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
