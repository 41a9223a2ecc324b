import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from twostream.data.dataset import PairDataset, read_split, to_pose_pair, to_uint8, to_unit_range


@pytest.fixture
def folder(people_folder, tmp_path):
    return shutil.copytree(people_folder, tmp_path / "data")


def test_pairs_of_a_split(people_folder):
    dataset = PairDataset.of_split(people_folder, "test", (32, 16))
    assert len(dataset) == 6
    pair = dataset[0]
    source, _ = dataset.pairs[0]
    expected = np.asarray(Image.open(people_folder / "test" / source))
    assert (pair.source_image.permute(1, 2, 0).numpy() == expected).all()
    assert pair.source_joints.shape == (18, 2)


def test_batch_is_the_pairs_one_after_the_other(people_folder):
    dataset = PairDataset.of_split(people_folder, "test", (32, 16))
    batch = dataset.batch([3, 1])
    assert torch.equal(batch.target_image[1], dataset[1].target_image)


def test_pose_pair_is_in_range(people_folder):
    pair = to_pose_pair(PairDataset.of_split(people_folder, "test", (32, 16)).batch([0, 1]), heatmap_sigma=2)
    assert pair.source_image.shape == (2, 3, 32, 16)
    assert -1 <= pair.source_image.min() < pair.source_image.max() <= 1
    assert pair.target_heatmaps.shape == (2, 18, 32, 16)
    assert pair.target_heatmaps.amax() == 1


def test_uint8_goes_there_and_back():
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    assert torch.equal(to_uint8(to_unit_range(levels)), levels)
    assert to_uint8(torch.full((1, 3, 1, 1), 1.5)).max() == 255


def test_missing_picture(folder):
    name = read_split(folder, "test")[1][0][0]
    (folder / "test" / name).unlink()
    with pytest.raises(ValueError, match=f"{name}: the picture is named in the pairs but is not there"):
        PairDataset.of_split(folder, "test", (32, 16))


def test_unreadable_picture(folder):
    name = read_split(folder, "test")[1][0][0]
    (folder / "test" / name).write_bytes(b"no picture")
    with pytest.raises(ValueError, match=f"{name}: the picture can't be read"):
        PairDataset.of_split(folder, "test", (32, 16))


def test_wrong_size(folder):
    with pytest.raises(ValueError, match="expected a picture of height x width 64x32, got 32x16"):
        PairDataset.of_split(folder, "test", (64, 32))


def test_pair_without_annotation(people_folder):
    joints, pairs = read_split(people_folder, "test")
    with pytest.raises(ValueError, match=r"1 pictures of the pairs have no annotation, first 'nobody\.jpg'"):
        PairDataset(people_folder / "test", joints, [*pairs, ("nobody.jpg", pairs[0][0])], (32, 16))


def test_no_pairs(people_folder):
    with pytest.raises(ValueError, match="expected at least one pose pair, got none"):
        PairDataset(people_folder / "test", {}, [], (32, 16))
