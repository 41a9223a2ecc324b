import shutil
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from twostream.data import images as pictures_module
from twostream.data.dataset import PairDataset, read_split
from twostream.data.images import AnnotatedImages


@pytest.fixture
def folder(people_folder, tmp_path):
    return shutil.copytree(people_folder, tmp_path / "data")


@pytest.fixture
def split(people_folder):
    """Folder, joints, and all names of the test split."""
    joints, _ = read_split(people_folder, "test")
    return people_folder / "test", joints, sorted(joints)


def test_pictures_read_from_disk_are_those_in_memory(split):
    folder, joints, names = split
    kept, read = (AnnotatedImages(folder, joints, names, (32, 16), in_memory) for in_memory in (True, False))
    places = torch.tensor([[0, 3], [2, 2]])
    for one, other in zip(kept.take(places), read.take(places), strict=True):
        assert torch.equal(one.nan_to_num(-7), other.nan_to_num(-7))
    assert torch.equal(kept.take(places).source_image[1], kept.take(places).target_image[1])
    assert len(kept) == len(read) == len(names)


def test_a_picture_that_vanishes_later_is_named(folder):
    joints, _ = read_split(folder, "test")
    pictures = AnnotatedImages(folder / "test", joints, sorted(joints), (32, 16), in_memory=False)
    (folder / "test" / sorted(joints)[1]).unlink()
    with pytest.raises(ValueError, match=f"{sorted(joints)[1]}: file not found"):
        pictures.take(torch.tensor([[0, 1]]))


def test_more_pictures_than_memory_are_refused(split, monkeypatch):
    folder, joints, names = split
    monkeypatch.setattr(pictures_module.os, "sysconf", lambda name: 4096 if name == "SC_PAGE_SIZE" else 1)
    with pytest.raises(ValueError, match=r"data\.cache: expected at most the 0\.0 GB of .*data\.cache=none reads them"):
        AnnotatedImages(folder, joints, names, (32, 16))
    assert AnnotatedImages(folder, joints, names, (32, 16), in_memory=False)


def test_loader_processes_serve_the_same_pictures(split):
    folder, joints, names = split
    dataset = PairDataset(AnnotatedImages(folder, joints, names, (32, 16)), list(pairwise(names)))
    batches = [[0, 3], [1], [2, 0, 1]]
    loader = DataLoader(dataset, batch_sampler=batches, num_workers=2, collate_fn=list)
    for loaded, batch in zip(loader, batches, strict=True):
        assert torch.equal(loaded[0], dataset.batch(batch).source_image)


def test_missing_picture(folder):
    name = read_split(folder, "test")[1][0][0]
    (folder / "test" / name).unlink()
    with pytest.raises(ValueError, match=f"{name}: file not found"):
        PairDataset.of_split(folder, "test", (32, 16))


def test_unreadable_picture(folder):
    name = read_split(folder, "test")[1][0][0]
    (folder / "test" / name).write_bytes(b"no picture")
    with pytest.raises(ValueError, match=f"{name}: expected an image"):
        PairDataset.of_split(folder, "test", (32, 16))


def test_wrong_size(folder):
    with pytest.raises(ValueError, match="expected an image of height x width 64x32, got 32x16"):
        PairDataset.of_split(folder, "test", (64, 32))


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_half_a_picture_is_unreadable(folder, suffix):
    name = read_split(folder, "test")[1][0][0]
    path = folder / "test" / name
    noise = np.random.default_rng(0).integers(0, 256, (32, 16, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / f"noise.{suffix}")
    path.write_bytes((folder / f"noise.{suffix}").read_bytes()[:-300])
    with pytest.raises(ValueError, match=f"{name}: expected an image"):
        PairDataset.of_split(folder, "test", (32, 16))


def test_a_picture_of_another_size_is_not_decoded(folder):
    name = read_split(folder, "test")[1][0][0]
    path = folder / "test" / name
    Image.new("RGB", (3000, 3000)).save(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=f"{name}: expected an image of height x width 32x16, got 3000x3000"):
        PairDataset.of_split(folder, "test", (32, 16))


def test_pictures_over_pillows_limit_are_unreadable(folder, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(ValueError, match=r"8 of 8 .*\n.*expected an image: Image size \(512 pixels\) exceeds"):
        PairDataset.of_split(folder, "test", (32, 16))


def test_all_wrong_pictures_are_named_at_once(folder):
    names = sorted({name for pair in read_split(folder, "test")[1] for name in pair})
    (folder / "test" / names[0]).unlink()
    (folder / "test" / names[1]).write_bytes(b"")
    Image.new("RGB", (16, 31)).save(folder / "test" / names[2])
    with pytest.raises(ValueError, match=r"test: 3 of 8 pictures can't be used:\n") as error:
        PairDataset.of_split(folder, "test", (32, 16))
    lines = str(error.value).splitlines()[1:]
    assert [line.split(":")[0] for line in lines] == [str(folder / "test" / name) for name in names[:3]]
    assert lines[2].endswith("expected an image of height x width 32x16, got 31x16")


def test_ten_wrong_pictures_are_listed_and_the_others_counted(tmp_path):
    joints = {f"{i:02d}.png": np.ones((18, 2), dtype=np.int64) for i in range(13)}
    with pytest.raises(ValueError, match=r": 13 of 13 pictures can't be used:\n") as error:
        AnnotatedImages(tmp_path, joints, list(joints), (32, 16))
    lines = str(error.value).splitlines()
    assert len(lines) == 12
    assert "09.png: file not found" in lines[10]
    assert lines[11] == "and 3 more"


@pytest.mark.parametrize(("least", "is_shown"), [(7, True), (8, False)])
def test_a_bar_is_shown_while_many_pictures_are_decoded(people_folder, capsys, monkeypatch, least, is_shown):
    monkeypatch.setattr(pictures_module, "MANY_PICTURES", least)
    PairDataset.of_split(people_folder, "test", (32, 16))
    assert ("Read test: 100%" in capsys.readouterr().err) == is_shown


def test_a_name_without_annotation(split):
    folder, joints, names = split
    with pytest.raises(ValueError, match=r"1 pictures of the pairs have no annotation, first 'nobody\.jpg'"):
        AnnotatedImages(folder, joints, [*names, "nobody.jpg"], (32, 16))
