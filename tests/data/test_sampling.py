from itertools import chain, islice, pairwise

import numpy as np
import pytest
import torch
from hydra.utils import instantiate

from twostream.data.augment import Augmentation
from twostream.data.datamodule import TrainingPairs
from twostream.data.dataset import PairDataset
from twostream.data.sampling import Draw, PairStream
from twostream.types import ImagePair


def flat(stream):
    return [draw for batch in stream for draw in batch]


def test_full_passes_in_an_order_of_seed_and_pass():
    draws = flat(PairStream(num_pairs=7, num_batches=7, batch_size=3, seed=3))
    passes = [draws[i : i + 7] for i in range(0, 21, 7)]
    assert all(sorted(draw.pair for draw in part) == list(range(7)) for part in passes)
    assert all([d.pair for d in a] != [d.pair for d in b] for a, b in pairwise(passes))
    assert [(draw.epoch, draw.position) for draw in draws] == [(e, p) for e in range(3) for p in range(7)]
    assert draws == flat(PairStream(7, 7, 3, 3))
    assert draws != flat(PairStream(7, 7, 3, 4))


def test_a_batch_may_reach_into_the_next_pass_and_is_always_full():
    assert [len(batch) for batch in PairStream(7, 5, 4, 0)] == [4] * 5
    assert len(PairStream(7, 5, 4, 0)) == 5


def test_patn_draws_with_replacement():
    draws = flat(PairStream(num_pairs=10, num_batches=100, batch_size=40, seed=0, pairs_per_epoch=2000))
    first, second = draws[:2000], draws[2000:]
    assert [draw.epoch for draw in first] == [0] * 2000
    assert [draw.epoch for draw in second] == [1] * 2000
    counts = np.bincount([draw.pair for draw in first], minlength=10)
    assert len(set(counts)) > 1  # a pass would have each pair equally often
    assert abs(counts - 200).max() < 60
    assert [draw.pair for draw in first] != [draw.pair for draw in second]


@pytest.mark.parametrize(("batch_size", "world_size", "shares"), [(7, 2, [3, 4]), (8, 2, [4, 4]), (7, 3, [2, 2, 3])])
def test_processes_share_the_batches_of_one_process(batch_size, world_size, shares):
    alone = list(PairStream(11, 6, batch_size, 5))
    ranks = [list(PairStream(11, 6, batch_size, 5, rank=rank, world_size=world_size)) for rank in range(world_size)]
    assert [len(batches[0]) for batches in ranks] == shares
    assert [list(chain.from_iterable(parts)) for parts in zip(*ranks, strict=True)] == alone


def test_refuses_more_processes_than_pairs_in_a_batch():
    with pytest.raises(ValueError, match=r"data\.batch_size: expected at least one pair for each of 3, got 2"):
        PairStream(10, 1, 2, 0, world_size=3)


def alone(pairs, index):
    """A pair without its batch axis."""
    return ImagePair(*(tensor[0] for tensor in pairs.batch([index])))


def test_the_augmentation_is_drawn_from_the_place_in_the_stream(people_folder):
    pairs = PairDataset.of_split(people_folder, "train", (32, 16))
    augmentation = Augmentation(flip_probability=0.5, colour_probability=1, brightness=0.3)
    training = TrainingPairs(pairs, augmentation, seed=4)
    draw = Draw(epoch=2, position=5, pair=1)
    two = training.__getitems__([draw, Draw(epoch=3, position=5, pair=1)])
    for pair, (epoch, position) in zip(zip(*two, strict=True), [(2, 5), (3, 5)], strict=True):
        expected = augmentation(alone(pairs, 1), 4, epoch, position)
        assert all(torch.equal(a, b) for a, b in zip(pair[::2], expected[::2], strict=True))
    assert not torch.equal(two.source_image[0], two.source_image[1])
    plain = TrainingPairs(pairs, Augmentation(), seed=4).__getitems__([draw])
    assert all(torch.equal(a, b) for a, b in zip(plain[::2], pairs.batch([1])[::2], strict=True))


def test_the_loader_serves_the_streams_batches(tiny_config):
    data = instantiate(tiny_config("data.pairs_per_epoch=5", "data/augmentation=flip").data)
    data.setup("fit")
    data.trainer = type("T", (), {"max_steps": 4, "global_rank": 0, "world_size": 1, "global_step": 0})()
    batches = list(data.train_dataloader())
    assert [batch.source_image.shape[0] for batch in batches] == [2, 2, 2, 2]
    stream = list(islice(PairStream(len(data.train), 4, 2, 0, 5), 4))
    for batch, draws in zip(batches, stream, strict=True):
        expected = [data.augmentation(alone(data.train, d.pair), 0, d.epoch, d.position) for d in draws]
        assert torch.equal(batch.target_image, torch.stack([pair.target_image for pair in expected]))


def test_refuses_an_epoch_without_pairs(tiny_config):
    with pytest.raises(Exception, match=r"data\.pairs_per_epoch: expected more than 0, got 0"):
        instantiate(tiny_config("data.pairs_per_epoch=0").data)


@pytest.mark.parametrize("pairs_per_epoch", [None, 5])
def test_a_stream_goes_on_at_any_batch(pairs_per_epoch):
    whole = list(PairStream(11, 9, 4, 5, pairs_per_epoch))
    for start in range(10):
        stream = PairStream(11, 9, 4, 5, pairs_per_epoch, start=start)
        assert list(stream) == whole[start:]
        assert len(stream) == 9


def test_the_pairs_of_an_iteration_are_named(tiny_config):
    data = instantiate(tiny_config().data)
    data.setup("fit")
    data.trainer = type("T", (), {"max_steps": 3, "global_rank": 0, "world_size": 1, "global_step": 0})()
    for iteration, batch in enumerate(data.train_dataloader()):
        places = [data.train.pairs.index(pair) for pair in data.pairs_of_iteration(iteration)]
        assert torch.equal(data.train.batch(places).target_image, batch.target_image)
