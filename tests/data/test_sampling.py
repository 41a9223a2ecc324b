from itertools import chain, pairwise

import numpy as np
import pytest

from twostream.data.sampling import PairStream, rank_slice


def flat(stream):
    return [sample for batch in stream for sample in batch]


def test_full_passes_are_in_an_order_of_seed_and_epoch():
    samples = flat(PairStream(num_pairs=7, num_batches=7, batch_size=3, seed=3))
    passes = [samples[i : i + 7] for i in range(0, 21, 7)]
    assert all(sorted(sample.pair_index for sample in epoch) == list(range(7)) for epoch in passes)
    assert all([s.pair_index for s in a] != [s.pair_index for s in b] for a, b in pairwise(passes))
    assert [(sample.epoch, sample.position) for sample in samples] == [(e, p) for e in range(3) for p in range(7)]
    assert samples == flat(PairStream(7, 7, 3, 3))
    assert samples != flat(PairStream(7, 7, 3, 4))


def test_batches_across_epochs_are_full():
    assert [len(batch) for batch in PairStream(7, 5, 4, 0)] == [4] * 5
    assert len(PairStream(7, 5, 4, 0)) == 5


def test_pairs_per_epoch_are_drawn_with_replacement():
    samples = flat(PairStream(num_pairs=10, num_batches=100, batch_size=40, seed=0, pairs_per_epoch=2000))
    first, second = samples[:2000], samples[2000:]
    assert {sample.epoch for sample in first} == {0}
    assert {sample.epoch for sample in second} == {1}
    counts = np.bincount([sample.pair_index for sample in first], minlength=10)
    assert len(set(counts)) > 1  # a full pass would have each pair equally often
    assert abs(counts - 200).max() < 60
    assert [sample.pair_index for sample in first] != [sample.pair_index for sample in second]


@pytest.mark.parametrize(("batch_size", "world_size", "sizes"), [(7, 2, [3, 4]), (8, 2, [4, 4]), (7, 3, [2, 2, 3])])
def test_processes_split_the_batches_of_one_process(batch_size, world_size, sizes):
    alone = list(PairStream(11, 6, batch_size, 5))
    ranks = [list(PairStream(11, 6, batch_size, 5, rank=rank, world_size=world_size)) for rank in range(world_size)]
    assert [len(batches[0]) for batches in ranks] == sizes
    assert [len(rank_slice(batch_size, rank, world_size)) for rank in range(world_size)] == sizes
    assert [list(chain.from_iterable(slices)) for slices in zip(*ranks, strict=True)] == alone


def test_more_processes_than_pairs_in_a_batch_are_refused():
    with pytest.raises(
        ValueError, match=r"data\.batch_size: expected at least one pair for each of 3 processes, got 2"
    ):
        PairStream(10, 1, 2, 0, world_size=3)


@pytest.mark.parametrize("pairs_per_epoch", [None, 5])
def test_a_stream_resumes_at_any_batch(pairs_per_epoch):
    batches = list(PairStream(11, 9, 4, 5, pairs_per_epoch))
    for start in range(10):
        stream = PairStream(11, 9, 4, 5, pairs_per_epoch, start=start)
        assert list(stream) == batches[start:]
        assert len(stream) == 9
