import pytest
import torch
from hydra.utils import instantiate

from twostream.data.datamodule import split_identities
from twostream.data.pairs import identity_of


def identities(pairs):
    return {identity_of(name) for pair in pairs for name in pair}


def test_identities_of_train_validation_and_test_are_disjoint(tiny_config):
    data = instantiate(tiny_config().data)
    data.prepare_data()
    data.setup("fit")
    train, val, test = (identities(dataset.pairs) for dataset in (data.train, data.val, data.test_dataset()))
    assert (len(train), len(val)) == (4, 1)
    assert not train & val
    assert not (train | val) & test


def test_validation_pairs_do_not_depend_on_the_seed(tiny_config):
    datas = [instantiate(tiny_config(f"seed={seed}").data) for seed in (0, 1)]
    for data in datas:
        data.setup("fit")
    assert datas[0].val.pairs == datas[1].val.pairs


def test_refuses_to_hold_out_everybody():
    with pytest.raises(ValueError, match=r"data\.num_val_identities: expected fewer than the 2 training identities"):
        split_identities([("1_a", "1_b"), ("2_a", "2_b")], 2, 1)


def test_refuses_a_folder_that_is_not_there(tiny_config, tmp_path):
    data = instantiate(tiny_config("data.source=null", f"data.root={tmp_path / 'nothere'}").data)
    with pytest.raises(ValueError, match=r"data\.root: expected a prepared data folder, there is none at .*nothere"):
        data.prepare_data()


@pytest.mark.parametrize("key", ["batch_size", "num_val_identities", "num_val_pairs", "joint_size"])
def test_refuses_counts_of_zero(tiny_config, key):
    with pytest.raises(Exception, match=rf"data\.{key}: expected more than 0, got 0"):
        instantiate(tiny_config(f"data.{key}=0").data)


def trainer_of(rank=0, world_size=1, iterations=3):
    strategy = type("Strategy", (), {"root_device": torch.device("cpu")})()
    return type(
        "T",
        (),
        {
            "max_steps": iterations,
            "global_rank": rank,
            "world_size": world_size,
            "strategy": strategy,
            "global_step": 0,
        },
    )()


def ready(cfg, **trainer):
    data = instantiate(cfg.data)
    data.trainer = trainer_of(**trainer)
    data.setup("fit")
    return data


@pytest.mark.parametrize(("cache", "num_workers"), [("ram", 2), ("none", 0), ("none", 2), ("device", 0)])
def test_batches_do_not_depend_on_cache_and_workers(tiny_config, cache, num_workers):
    plain = ready(tiny_config())
    other = ready(tiny_config(f"data.cache={cache}", f"data.num_workers={num_workers}"))
    for one, same in zip(plain.train_dataloader(), other.train_dataloader(), strict=True):
        assert all(torch.equal(a.nan_to_num(-7), b.nan_to_num(-7)) for a, b in zip(one, same, strict=True))


@pytest.mark.parametrize("override", ["data.num_workers=1", "data/augmentation=flip"])
def test_pictures_on_the_device_allow_no_work_on_the_cpu(tiny_config, override):
    with pytest.raises(Exception, match=r"data\.cache=device: expected data\.num_workers=0 and data/augmentation=none"):
        instantiate(tiny_config("data.cache=device", override).data)


def test_refuses_a_cache_that_there_is_not(tiny_config):
    with pytest.raises(Exception, match=r"data\.cache: expected none, ram, device, got 'disk'"):
        instantiate(tiny_config("data.cache=disk").data)


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_processes_share_the_validation_pairs_without_repeating_one(tiny_config, world_size):
    whole = ready(tiny_config("data.num_val_pairs=3"))
    shares = [ready(tiny_config("data.num_val_pairs=3"), rank=r, world_size=world_size) for r in range(world_size)]
    served = [batch.source_joints for data in shares for batch in data.val_dataloader()]
    expected = torch.cat([whole.val.batch(range(r, 3, world_size)).source_joints for r in range(world_size)])
    assert torch.equal(torch.cat(served).nan_to_num(-7), expected.nan_to_num(-7))


@pytest.mark.parametrize("kind", ["gaussian", "delta", "disc"])
def test_each_kind_of_heatmaps_reaches_the_networks(tiny_config, kind):
    data = ready(tiny_config(f"data/heatmaps={kind}", "data.joint_size=2"))
    batch = data.val.batch([0])
    pair = data.on_after_batch_transfer(batch, 0)
    y, x = (int(place) for place in batch.target_joints[0, 1])
    neck = pair.target_heatmaps[0, 1]
    # One pixel, 13 of a disc, or a Gaussian's mean distance.
    assert neck[y, x] == 1
    assert {"gaussian": 13 < neck.sum() < 30, "delta": neck.sum() == 1, "disc": 5 < neck.sum() <= 13}[kind]
