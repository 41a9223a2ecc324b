import shutil
from functools import partial

import pytest
import torch
from PIL import Image

from twostream.data import dataset as dataset_module
from twostream.data.dataset import AnnotatedImages, PairDataset, read_split, to_pose_pair, to_uint8, to_unit_range
from twostream.data.images import read_image
from twostream.data.keypoints import ANY_FRAME, read_annotations, write_annotations
from twostream.data.manifest import CHECKS, MANIFEST
from twostream.data.pose import gaussian_heatmaps

SIZE = (32, 16)


@pytest.fixture
def folder(people_folder, tmp_path):
    return shutil.copytree(people_folder, tmp_path / "data", ignore=shutil.ignore_patterns(CHECKS))


@pytest.fixture
def split(people_folder):
    """Folder of images and joints of the test split."""
    joints, _ = read_split(people_folder, "test", SIZE)
    return people_folder / "test", joints


@pytest.fixture
def pairs(people_folder):
    return PairDataset.of_split(people_folder, "test", SIZE)


def test_pairs_of_a_split(people_folder, pairs):
    assert len(pairs) == 6
    batch = pairs.batch([3, 1])
    source, target = pairs.pairs[1]
    assert (batch.source_image[1].permute(1, 2, 0).numpy() == read_image(people_folder / "test" / source)).all()
    assert (batch.target_joints[1].nan_to_num(-1).numpy() == pairs.joints[target]).all()


def test_a_pose_pair_is_in_range(pairs):
    pair = to_pose_pair(pairs.batch([0, 1]), partial(gaussian_heatmaps, sigma=2))
    assert pair.source_image.shape == (2, 3, *SIZE)
    assert -1 <= pair.source_image.min() < pair.source_image.max() <= 1
    assert pair.target_heatmaps.shape == (2, 18, *SIZE)
    assert pair.target_heatmaps.amax() == 1


def test_uint8_round_trip():
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    assert torch.equal(to_uint8(to_unit_range(levels)), levels)
    assert to_uint8(torch.full((1, 3, 1, 1), 1.5)).max() == 255


def test_joints_of_another_frame_are_refused(folder):
    path = folder / "annotation-test.csv"
    joints = read_annotations(path, ANY_FRAME)
    next(iter(joints.values()))[1] = (5, 30)
    write_annotations(path, joints)
    with pytest.raises(ValueError, match=r"annotation-test\.csv:2: x = 30 belongs to another frame: expected -3 to 18"):
        PairDataset.of_split(folder, "test", SIZE)


def test_images_on_disk_equal_those_in_memory(split):
    in_memory, on_disk = (AnnotatedImages(*split, SIZE, flag) for flag in (True, False))
    indices = torch.tensor([[0, 3], [2, 2]])
    for one, other in zip(in_memory.gather(indices), on_disk.gather(indices), strict=True):
        assert torch.equal(one.nan_to_num(-7), other.nan_to_num(-7))
    assert len(in_memory) == len(on_disk) == len(split[1])


def test_an_image_that_is_deleted_later_is_named(folder):
    joints, _ = read_split(folder, "test", SIZE)
    images = AnnotatedImages(folder / "test", joints, SIZE, in_memory=False)
    deleted = list(joints)[1]
    (folder / "test" / deleted).unlink()
    with pytest.raises(ValueError, match=f"{deleted}: file not found"):
        images.gather(torch.tensor([[0, 1]]))


def test_images_that_exceed_the_memory_are_refused(split, monkeypatch):
    monkeypatch.setattr(dataset_module.os, "sysconf", lambda name: 4096 if name == "SC_PAGE_SIZE" else 1)
    with pytest.raises(ValueError, match=r"data\.cache: expected at most the 0\.0 GB of .*data\.cache=none reads them"):
        AnnotatedImages(*split, SIZE)
    assert AnnotatedImages(*split, SIZE, in_memory=False)


def test_all_unusable_images_are_named_at_once(folder):
    names = sorted({name for pair in read_split(folder, "test", SIZE)[1] for name in pair})
    (folder / "test" / names[0]).unlink()
    (folder / "test" / names[1]).write_bytes(b"")
    Image.new("RGB", (16, 31)).save(folder / "test" / names[2])
    for in_memory in (True, False):
        with pytest.raises(ValueError, match=r"test: 3 of 8 images can't be used:\n") as error:
            PairDataset.of_split(folder, "test", SIZE, in_memory)
        lines = str(error.value).splitlines()[1:]
        assert [line.split(":")[0] for line in lines] == [str(folder / "test" / name) for name in names[:3]]
        assert lines[2].endswith("expected an image of height x width 32x16, got 31x16")


def test_headers_are_read_once_for_files_of_one_hash(folder, monkeypatch):
    joints, _ = read_split(folder, "test", SIZE)
    checked = []
    check = dataset_module.check_headers
    monkeypatch.setattr(dataset_module, "check_headers", lambda paths, size: checked.append(size) or check(paths, size))
    for _ in range(2):
        AnnotatedImages(folder / "test", joints, SIZE, in_memory=False)
    assert checked == [SIZE]
    with pytest.raises(ValueError, match=r"8 of 8 images can't be used"):
        AnnotatedImages(folder / "test", joints, (64, 32), in_memory=False)
    AnnotatedImages(folder / "test", dict(list(joints.items())[:3]), SIZE, in_memory=False)
    (folder / CHECKS).write_text("damaged")
    AnnotatedImages(folder / "test", joints, SIZE, in_memory=False)
    (folder / MANIFEST).unlink()
    for _ in range(2):
        AnnotatedImages(folder / "test", joints, SIZE, in_memory=False)
    assert checked == [SIZE, (64, 32), SIZE, SIZE, SIZE, SIZE]
