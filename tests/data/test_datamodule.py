import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from twostream.cli import CONF
from twostream.data import datamodule
from twostream.data.datamodule import free_memory, split_identities
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


CACHES_AND_WORKERS = [("ram", 2), ("none", 0), ("none", 2), ("device", 0), ("auto", 0), ("auto", 2)]


@pytest.mark.parametrize(("cache", "num_workers"), CACHES_AND_WORKERS)
def test_batches_do_not_depend_on_cache_and_workers(tiny_config, cache, num_workers):
    plain = ready(tiny_config("data.cache=ram"))
    other = ready(tiny_config(f"data.cache={cache}", f"data.num_workers={num_workers}"))
    for one, same in zip(plain.train_dataloader(), other.train_dataloader(), strict=True):
        assert all(torch.equal(a.nan_to_num(-7), b.nan_to_num(-7)) for a, b in zip(one, same, strict=True))


@pytest.mark.parametrize("override", ["data.num_workers=1", "data/augmentation=flip"])
def test_pictures_on_the_device_allow_no_work_on_the_cpu(tiny_config, override):
    with pytest.raises(Exception, match=r"data\.cache=device: expected data\.num_workers=0 and data/augmentation=none"):
        instantiate(tiny_config("data.cache=device", override).data)


def moves_to_gpu(monkeypatch, cfg, spare):
    """Whether the pictures go to a GPU with four times their bytes free, and so many more."""
    data = instantiate(cfg.data)
    data.setup("fit")
    pictures = data.train.pictures
    num_bytes = len(pictures) * pictures.take(torch.tensor([[0, 1]])).source_image.nbytes
    moved = []
    monkeypatch.setattr(pictures, "move_to", moved.append)
    monkeypatch.setattr(datamodule, "free_memory", lambda device: 4 * num_bytes + spare)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    data.move_to(torch.device("cuda"))
    assert moved == [torch.device("cuda")] * data.is_on_device
    # What lies on a GPU can't be pinned.
    assert data.training_loader(1).pin_memory is not data.is_on_device
    return data.is_on_device


@pytest.mark.parametrize(("spare", "expected"), [(0, True), (-1, False)])
def test_auto_moves_pictures_that_take_a_quarter_of_the_gpus_free_memory(tiny_config, monkeypatch, spare, expected):
    assert moves_to_gpu(monkeypatch, tiny_config("data.cache=auto"), spare) is expected


@pytest.mark.parametrize("override", ["data.num_workers=1", "data/augmentation=flip"])
def test_auto_leaves_pictures_to_work_on_the_cpu(tiny_config, monkeypatch, override):
    assert not moves_to_gpu(monkeypatch, tiny_config("data.cache=auto", override), 10**12)


@pytest.mark.parametrize(("cache", "expected"), [("none", False), ("ram", False), ("device", True)])
def test_other_caches_do_not_ask_what_is_free(tiny_config, monkeypatch, cache, expected):
    for spare in (-1, 10**12):
        assert moves_to_gpu(monkeypatch, tiny_config(f"data.cache={cache}"), spare) is expected


def test_auto_leaves_pictures_where_they_are_without_a_gpu(tiny_config, monkeypatch):
    monkeypatch.setattr(datamodule, "free_memory", lambda device: 10**12)
    assert not ready(tiny_config("data.cache=auto")).is_on_device
    assert ready(tiny_config("data.cache=device")).is_on_device


def test_auto_is_the_default():
    for name in ("synthetic", "market1501", "deepfashion", "deepfashion_176"):
        with initialize_config_dir(version_base="1.3", config_dir=CONF):
            assert compose("train", [f"data={name}"]).data.cache == "auto"


def test_pictures_read_anew_are_in_memory_again(tiny_config):
    data = ready(tiny_config("data.cache=device"))
    data.trainer = None
    data.setup("fit")
    assert not data.is_on_device


def test_free_memory_is_what_the_driver_calls_free(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (3 * 2**30, 80 * 2**30))
    assert free_memory(torch.device("cuda", 0)) == 3 * 2**30


def test_refuses_a_cache_that_there_is_not(tiny_config):
    with pytest.raises(Exception, match=r"data\.cache: expected auto, none, ram, device, got 'disk'"):
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
