import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from twostream.data.dataset import PairDataset, read_split, to_pose_pair, to_uint8, to_unit_range
from twostream.data.keypoints import read_annotations, write_annotations
from twostream.data.pose import Gaussian


@pytest.fixture
def folder(people_folder, tmp_path):
    return shutil.copytree(people_folder, tmp_path / "data")


def test_pairs_of_a_split(people_folder):
    dataset = PairDataset.of_split(people_folder, "test", (32, 16))
    assert len(dataset) == 6
    pair = dataset.batch([0])
    source, _ = dataset.pairs[0]
    expected = np.asarray(Image.open(people_folder / "test" / source))
    assert (pair.source_image[0].permute(1, 2, 0).numpy() == expected).all()
    assert pair.source_joints.shape == (1, 18, 2)


def test_batch_is_the_pairs_one_after_the_other(people_folder):
    dataset = PairDataset.of_split(people_folder, "test", (32, 16))
    batch = dataset.batch([3, 1])
    assert torch.equal(batch.target_image[1], dataset.batch([1]).target_image[0])


def test_pose_pair_is_in_range(people_folder):
    pair = to_pose_pair(PairDataset.of_split(people_folder, "test", (32, 16)).batch([0, 1]), Gaussian(2))
    assert pair.source_image.shape == (2, 3, 32, 16)
    assert -1 <= pair.source_image.min() < pair.source_image.max() <= 1
    assert pair.target_heatmaps.shape == (2, 18, 32, 16)
    assert pair.target_heatmaps.amax() == 1


def test_uint8_goes_there_and_back():
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    assert torch.equal(to_uint8(to_unit_range(levels)), levels)
    assert to_uint8(torch.full((1, 3, 1, 1), 1.5)).max() == 255


def test_a_pair_of_an_unknown_name_is_refused_with_file_and_line(folder):
    with (folder / "pairs-test.csv").open("a") as file:
        file.write("nobody.jpg,nobody.jpg\n")
    with pytest.raises(ValueError, match=r"pairs-test\.csv:8: expected names of annotated pictures, got 'nobody\.jpg'"):
        PairDataset.of_split(folder, "test", (32, 16))


def test_joints_of_another_frame_are_refused_where_the_size_is_known(folder):
    path = folder / "annotation-test.csv"
    joints = read_annotations(path)
    next(iter(joints.values()))[1] = (5, 30)
    write_annotations(path, joints)
    with pytest.raises(ValueError, match=r"annotation-test\.csv:2: x = 30 belongs to another frame: expected -3 to 18"):
        PairDataset.of_split(folder, "test", (32, 16))
    assert len(read_split(folder, "test")[1]) == 6
