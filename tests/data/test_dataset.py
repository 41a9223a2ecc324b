import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from twostream.data import dataset as dataset_module
from twostream.data.annotations import read_annotations, write_annotations
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


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_half_a_picture_is_unreadable(folder, suffix):
    name = read_split(folder, "test")[1][0][0]
    path = folder / "test" / name
    noise = np.random.default_rng(0).integers(0, 256, (32, 16, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / f"noise.{suffix}")
    path.write_bytes((folder / f"noise.{suffix}").read_bytes()[:-300])
    with pytest.raises(ValueError, match=f"{name}: the picture can't be read"):
        PairDataset.of_split(folder, "test", (32, 16))


def test_a_picture_of_another_size_is_not_decoded(folder):
    name = read_split(folder, "test")[1][0][0]
    path = folder / "test" / name
    Image.new("RGB", (3000, 3000)).save(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=f"{name}: expected a picture of height x width 32x16, got 3000x3000"):
        PairDataset.of_split(folder, "test", (32, 16))


def test_pictures_over_pillows_limit_are_unreadable(folder, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(ValueError, match=r"8 of 8 .*\n.*the picture can't be read: Image size \(512 pixels\) exceeds"):
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
    assert lines[2].endswith("expected a picture of height x width 32x16, got 31x16")


def test_ten_wrong_pictures_are_listed_and_the_others_counted(tmp_path):
    joints = {f"{i:02d}.png": np.ones((18, 2), dtype=np.int64) for i in range(13)}
    pairs = [(name, "00.png") for name in joints]
    with pytest.raises(ValueError, match=r": 13 of 13 pictures can't be used:\n") as error:
        PairDataset(tmp_path, joints, pairs, (32, 16))
    lines = str(error.value).splitlines()
    assert len(lines) == 12
    assert "09.png: the picture is named in the pairs but is not there" in lines[10]
    assert lines[11] == "and 3 more"


@pytest.mark.parametrize(("least", "is_shown"), [(7, True), (8, False)])
def test_a_bar_is_shown_while_many_pictures_are_decoded(people_folder, capsys, monkeypatch, least, is_shown):
    monkeypatch.setattr(dataset_module, "MANY_PICTURES", least)
    PairDataset.of_split(people_folder, "test", (32, 16))
    assert ("Read test: 100%" in capsys.readouterr().err) == is_shown


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


def test_pair_without_annotation(people_folder):
    joints, pairs = read_split(people_folder, "test")
    with pytest.raises(ValueError, match=r"1 pictures of the pairs have no annotation, first 'nobody\.jpg'"):
        PairDataset(people_folder / "test", joints, [*pairs, ("nobody.jpg", pairs[0][0])], (32, 16))


def test_no_pairs(people_folder):
    with pytest.raises(ValueError, match="expected at least one pose pair, got none"):
        PairDataset(people_folder / "test", {}, [], (32, 16))
