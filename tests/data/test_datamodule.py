import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hydra.utils import instantiate
from PIL import Image

from tiny_run import fit
from twostream.build import build_datamodule
from twostream.data.augment import Augmentation
from twostream.data.datamodule import COUNTS, PairDataModule
from twostream.data.manifest import CHECKS
from twostream.data.pairs import identity_of
from twostream.data.sampling import PairStream
from twostream.module import TwoStreamModule
from twostream.types import ImagePair

GPU = torch.device("cuda")


def trainer_of(rank=0, world_size=1, iterations=3, iteration=0):
    return SimpleNamespace(
        global_rank=rank,
        world_size=world_size,
        training=True,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
        lightning_module=SimpleNamespace(schedule=SimpleNamespace(iterations=iterations), iteration=iteration),
    )


def ready(cfg, **trainer) -> PairDataModule:
    data = instantiate(cfg.data)
    data.trainer = trainer_of(**trainer)
    data.prepare_data()
    data.setup("fit")
    return data


def equal(one, other) -> bool:
    return all(torch.equal(a.nan_to_num(-7), b.nan_to_num(-7)) for a, b in zip(one, other, strict=True))


def identities(pairs):
    return {identity_of(name) for pair in pairs for name in pair}


def test_identities_of_train_validation_and_test_are_disjoint(tiny_config):
    data = ready(tiny_config())
    train, val, test = (identities(dataset.pairs) for dataset in (data.train, data.val, data.test_dataset()))
    assert (len(train), len(val)) == (4, 1)
    assert not train & val
    assert not (train | val) & test


def test_validation_pairs_do_not_depend_on_the_seed(tiny_config):
    first, second = (ready(tiny_config(f"seed={seed}")) for seed in (0, 1))
    assert first.val.pairs == second.val.pairs


def test_a_missing_folder_is_refused(tiny_config, tmp_path):
    data = instantiate(tiny_config("data.source=null", f"data.root={tmp_path / 'missing'}").data)
    with pytest.raises(ValueError, match=r"data\.root: expected a prepared data folder, folder not found: .*missing"):
        data.prepare_data()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        *(([f"{key}=0"], f"{key}: expected a finite number above 0, got 0") for key in COUNTS),
        *(
            ([f"joint_size={x}"], f"joint_size: expected a finite number above 0, got {x}")
            for x in ("nan", "inf", "-1")
        ),
        (["joint_size=33"], "joint_size: expected 0.1 to 32 pixels for images of 32x16, got 33"),
        (["joint_size=1e-30"], "joint_size: expected 0.1 to 32 pixels for images of 32x16, got 1e-30"),
        (["num_workers=-1"], "num_workers: expected at least 0, got -1"),
        (["image_size=[8192,16]"], "image_size: expected sides of 1 to 4096 pixels, got 8192x16"),
        (["cache=disk"], "cache: expected auto, none, ram, device, got 'disk'"),
        (["cache=device", "num_workers=1"], "cache=device: expected data.num_workers=0 and data/augmentation=none"),
        (["cache=device", "augmentation=flip"], "cache=device: expected data.num_workers=0 and data/augmentation=none"),
    ],
)
def test_settings_that_can_not_work_are_refused(tiny_config, overrides, message):
    keys = [f"data/{o}" if o.startswith("augmentation") else f"data.{o}" for o in overrides]
    with pytest.raises(Exception, match=rf"data\.{re.escape(message)}"):
        instantiate(tiny_config(*keys).data)


@pytest.mark.parametrize(
    ("cache", "num_workers", "augmentation"),
    [
        *(("ram", 2, "none"), ("none", 0, "none"), ("device", 0, "none"), ("auto", 0, "none")),
        *(("ram", 2, "full"), ("none", 0, "full"), ("none", 2, "full"), ("auto", 2, "full")),
    ],
)
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_batches_do_not_depend_on_cache_and_workers(tiny_config, cache, num_workers, augmentation):
    settings = f"data/augmentation={augmentation}"
    expected = ready(tiny_config("data.cache=ram", settings))
    other = ready(tiny_config(f"data.cache={cache}", f"data.num_workers={num_workers}", settings))
    for one, same in zip(expected.train_dataloader(), other.train_dataloader(), strict=True):
        assert equal(one, same)


def test_training_batches_are_those_of_the_stream_augmented(tiny_config):
    data = ready(tiny_config("data.pairs_per_epoch=5", "data/augmentation=flip", "seed=3"), iterations=4)
    augmentation = Augmentation({"HorizontalFlip": {"p": 0.5}})
    batches = list(data.train_dataloader())
    for batch, samples in zip(batches, PairStream(len(data.train), 4, 2, 3, 5), strict=True):
        for i, sample in enumerate(samples):
            alone = ImagePair(*(tensor[0] for tensor in data.train.batch([sample.pair_index])))
            expected = augmentation(alone, 3, sample.epoch, sample.position)
            assert equal([tensor[i] for tensor in batch], expected)


def test_training_resumes_from_the_iteration_of_the_module_whose_pairs_are_named(tiny_config):
    data = ready(tiny_config())
    batches = list(data.train_dataloader())
    rest = list(ready(tiny_config(), iteration=1).train_dataloader())
    assert len(batches) == 3
    assert all(equal(one, other) for one, other in zip(batches[1:], rest, strict=True))
    for iteration, batch in enumerate(batches):
        indices = [data.train.pairs.index(pair) for pair in data.pairs_of_iteration(iteration)]
        assert equal(data.train.batch(indices), batch)


@pytest.mark.parametrize(
    ("overrides", "spare", "is_moved"),
    [
        (["data.cache=auto"], 0, True),
        (["data.cache=auto"], -1, False),
        (["data.cache=auto", "data.num_workers=1"], 10**12, False),
        (["data.cache=auto", "data/augmentation=flip"], 10**12, False),
        (["data.cache=none"], 10**12, False),
        (["data.cache=ram"], 10**12, False),
        (["data.cache=device"], -1, True),
    ],
)
def test_images_move_to_a_gpu_with_room_if_the_cache_allows(tiny_config, monkeypatch, overrides, spare, is_moved):
    """The GPU has four times the bytes of the images and `spare` more free."""
    data = instantiate(tiny_config(*overrides).data)
    data.setup("fit")
    images = data.train.images
    num_bytes = len(images) * images.gather(torch.tensor([[0, 1]])).source_image.nbytes
    moved = []
    monkeypatch.setattr(images, "move_to", moved.append)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (4 * num_bytes + spare, 10**15))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    data.move_to(GPU)
    assert (moved, data.is_on_device) == ([GPU] * is_moved, is_moved)
    # A tensor on a GPU can't be pinned.
    assert data.training_loader(1).pin_memory is not is_moved


def test_auto_keeps_images_in_memory_without_a_gpu(tiny_config):
    assert not ready(tiny_config("data.cache=auto")).is_on_device
    data = ready(tiny_config("data.cache=device"))
    assert data.is_on_device
    data.trainer = None
    data.setup("fit")
    assert not data.is_on_device


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_processes_split_the_validation_pairs_without_repetition(tiny_config, world_size):
    cfg = tiny_config("data.num_val_pairs=3")
    ranks = [ready(cfg, rank=rank, world_size=world_size) for rank in range(world_size)]
    served = [batch.source_joints for data in ranks for batch in data.val_dataloader()]
    expected = torch.cat([ranks[0].val.batch(range(rank, 3, world_size)).source_joints for rank in range(world_size)])
    assert torch.equal(torch.cat(served).nan_to_num(-7), expected.nan_to_num(-7))


def test_fewer_validation_pairs_than_processes_are_refused(tiny_config):
    with pytest.raises(ValueError, match=r"data\.num_val_pairs: expected at least one for each of 4 processes, got 3"):
        ready(tiny_config(), world_size=4).val_dataloader()


def add_unknown_pair(folder):
    with (folder / "pairs-test.csv").open("a") as file:
        file.write("unknown.jpg,other.jpg\n")


def resize_an_image(folder):
    (folder / CHECKS).unlink(missing_ok=True)
    Image.new("RGB", (16, 48)).save(next((folder / "test").iterdir()))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (add_unknown_pair, r"pairs-test\.csv:\d+: expected names of annotated images, got 'unknown"),
        (resize_an_image, r"\.jpg: expected .*32"),
    ],
)
def test_broken_test_data_are_refused_before_the_training(tiny_config, people_folder, tmp_path, spoil, message):
    folder = shutil.copytree(people_folder, tmp_path / "data")
    spoil(folder)
    with pytest.raises(ValueError, match=message):
        build_datamodule(tiny_config("data.source=null", f"data.root={folder}")).setup("fit")


@pytest.mark.parametrize(("kind", "least", "most"), [("gaussian", 13, 30), ("delta", 1, 1), ("disc", 5, 13)])
def test_each_kind_of_heatmaps_reaches_the_networks(tiny_config, kind, least, most):
    data = ready(tiny_config(f"data/heatmaps={kind}", "data.joint_size=2"))
    batch = data.val.batch([0])
    pair = data.on_after_batch_transfer(batch, 0)
    y, x = batch.target_joints[0, 1].int().tolist()
    neck = pair.target_heatmaps[0, 1]
    assert neck[y, x] == 1
    assert least <= neck.sum() <= most


def test_the_first_iterations_can_have_half_the_size(tiny_config, monkeypatch):
    shapes = []
    step = TwoStreamModule.training_step

    def record(module, pair, batch_idx):
        shapes.append([tuple(tensor.shape[-2:]) for tensor in pair])
        return step(module, pair, batch_idx)

    monkeypatch.setattr(TwoStreamModule, "training_step", record)
    trainer = fit(tiny_config("data.half_size_iterations=3"))
    assert shapes == [[(16, 8)] * 4] * 3 + [[(32, 16)] * 4]
    data = trainer.datamodule
    batch = data.train.batch([0, 1])
    full = data.on_after_batch_transfer(batch, 0)
    assert full.source_image.shape[-2:] == (32, 16)  # not in training
    trainer.training, trainer.lightning_module.iteration = True, 0
    half = data.on_after_batch_transfer(batch, 0)
    for small, large in zip(half, full, strict=True):
        mean = (large[..., ::2, ::2] + large[..., 1::2, ::2] + large[..., ::2, 1::2] + large[..., 1::2, 1::2]) / 4
        torch.testing.assert_close(small, mean)


@pytest.mark.parametrize("override", ["data.half_size_iterations=-1", "data.image_size=[36,16]"])
def test_half_sizes_that_the_networks_can_not_take_are_refused(tiny_config, override):
    with pytest.raises(Exception, match="half_size_iterations: expected at least 0, and an image size divisible by 8"):
        build_datamodule(tiny_config("data.half_size_iterations=1", override))


def test_the_data_of_a_run_are_found_from_any_folder(tiny_config, tmp_path, monkeypatch):
    run_dir = tmp_path / "project/runs/a/b/seed0"
    run_dir.mkdir(parents=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)

    def root():
        data = build_datamodule(tiny_config("data.root=data/synthetic"))
        data.look_beside(run_dir)
        return Path(data.root)

    assert root() == Path("data/synthetic")
    (tmp_path / "project/data/synthetic").mkdir(parents=True)
    assert root() == tmp_path / "project/data/synthetic"
    Path("data/synthetic").mkdir(parents=True)
    assert root() == Path("data/synthetic")
