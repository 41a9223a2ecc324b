"""DeepFashion from download to data folder: splits, frames, spellings, and zips inside downloads."""

import zipfile
from io import BytesIO

import numpy as np
import pytest

from twostream.data.dataset import PairDataset
from twostream.data.keypoints import ANY_FRAME, JointFrame, read_annotations, write_annotations
from twostream.data.pairs import matching_pairs, read_pairs

TOP = "In-shop Clothes Retrieval Benchmark"


def write_lists(folder, fashion):
    folder.mkdir(parents=True, exist_ok=True)
    for split, names in fashion.lists.items():
        (folder / f"{split}.lst").write_text("\n".join(names) + "\n")
    return folder


def as_path(name):
    """Undo the joining of the tiny download's names."""
    sex = "WOMEN/Blouses_Shirts" if "WOMEN" in name else "MEN/Denim"
    item, view = name.partition("id")[2][:8], name[-12:]
    number, _, rest = view.partition("_")
    return f"fashion/{sex}/id_{item}/{number[-2:]}_{rest[0]}_{rest[1:]}"


@pytest.fixture
def source(fashion, tmp_path):
    """The unpacked official download."""
    return fashion.folder(tmp_path / TOP)


@pytest.fixture
def tables(fashion, tmp_path):
    """Published annotations of the wide frame, and PATN's lists."""
    return write_lists(fashion.annotate(tmp_path / "tables"), fashion)


def test_the_wide_frame_copies_images(fashion, prepare_tiny, source, tables, tmp_path):
    manifest, _ = prepare_tiny("deepfashion", source, tables)
    originals = {name: content for name, content in fashion.files.items() if name.endswith(".jpg")}
    written = {path.name: path.read_bytes() for path in (tmp_path / "data").rglob("*.jpg")}
    assert sorted(written.values()) == sorted(originals.values())
    assert (
        written["fashionWOMENBlouses_Shirtsid0000000102_0back.jpg"]
        == (originals["img/WOMEN/Blouses_Shirts/id_00000001/02_0_back.jpg"])
    )
    for split, joints in fashion.joints.items():
        assert {path.name for path in (tmp_path / "data" / split).iterdir()} == joints.keys()
        prepared = read_annotations(tmp_path / f"data/annotation-{split}.csv", JointFrame(None, 256))
        assert all((prepared[name] == joints[name]).all() for name in joints)
        assert read_pairs(tmp_path / f"data/pairs-{split}.csv") == matching_pairs(joints)
    assert manifest["annotation_frame"] == {"train": 256, "test": 256}
    assert manifest["codec"] == "JPEG files as downloaded"
    assert "train.lst" in [entry["file"] for entry in manifest["inputs"]]
    assert PairDataset.of_split(tmp_path / "data", "test", (256, 256)).batch([0]).target_image.shape == (1, 3, 256, 256)


def test_the_narrow_frame_crops_images_and_shifts_joints(fashion, prepare_tiny, source, tables, tmp_path):
    manifest, _ = prepare_tiny("deepfashion_176", source, tables)
    for split, joints in fashion.joints.items():
        prepared = read_annotations(tmp_path / f"data/annotation-{split}.csv", JointFrame(None, 176))
        for name, array in joints.items():
            x = np.where((array[:, 0] == -1) | (array[:, 1] == 39), -1, array[:, 1] - 40)
            assert prepared[name][:, 1].tolist() == x.tolist()
    assert manifest["frame"] == [256, 176]
    assert manifest["annotation_frame"] == {"train": 256, "test": 256}
    assert manifest["codec"] == "cropped by 40 pixels at each side; JPEG of quality 95 without chroma subsampling"
    batch = PairDataset.of_split(tmp_path / "data", "train", (256, 176)).batch([0, 1])
    assert batch.source_image.shape == (2, 3, 256, 176)


def test_annotations_of_the_narrow_frame_are_detected(fashion, prepare_tiny, source, tmp_path):
    tables = write_lists(fashion.annotate(tmp_path / "tables", shift=-40), fashion)
    manifest, _ = prepare_tiny("deepfashion", source, tables)
    assert manifest["annotation_frame"] == {"train": 176, "test": 176}
    prepared = read_annotations(tmp_path / "data/annotation-train.csv", ANY_FRAME)
    assert all((prepared[name] == joints).all() for name, joints in fashion.joints["train"].items())


def test_joints_that_the_narrow_frame_loses_are_noted(fashion, prepare_tiny, source, tables):
    joints = {name: array.copy() for name, array in fashion.joints["test"].items()}
    first = next(iter(joints))
    joints[first][0] = [5, 39]
    write_annotations(tables / "fasion-resize-annotation-test.csv", joints)
    notes = prepare_tiny("deepfashion_176", source, tables)[0]["notes"]
    assert "test: 1 keypoints move to x = -1 in the images' frame and read as not found" in notes


def test_an_ambiguous_frame_has_to_be_given(fashion, prepare_tiny, source, tables):
    middle = {name: np.where(array == -1, -1, [50, 100]) for name, array in fashion.joints["test"].items()}
    write_annotations(tables / "fasion-resize-annotation-test.csv", middle)
    with pytest.raises(
        ValueError, match=r"annotation-test\.csv: x from 100 to 100 fits .* pass annotation_frame=256 or"
    ):
        prepare_tiny("deepfashion", source, tables)
    assert prepare_tiny("deepfashion", source, tables, annotation_frame=256)[1] == 28


def test_published_files_may_name_paths_and_spell_fashion_in_two_ways(fashion, prepare_tiny, source, tmp_path):
    tables = write_lists(tmp_path / "tables", fashion)
    for split, joints in fashion.joints.items():
        rows = [f"{as_path(name)}:{a[:, 0].tolist()}:{a[:, 1].tolist()}" for name, a in joints.items()]
        header = "name:keypoints_y:keypoints_x" + "," * 34
        (tables / f"fashion-annotation-{split}.csv").write_text("\n".join([header, *rows]))
        pairs = [f"{as_path(source)},{as_path(target)}" for source, target in matching_pairs(joints)[:5]]
        (tables / f"fasion-resize-pairs-{split}.csv").write_text("\n".join(pairs))
    manifest, _ = prepare_tiny("deepfashion", source, tables)
    for split, joints in fashion.joints.items():
        assert read_annotations(tmp_path / f"data/annotation-{split}.csv", ANY_FRAME).keys() == joints.keys()
        assert read_pairs(tmp_path / f"data/pairs-{split}.csv") == matching_pairs(joints)[:5]
    assert manifest["pairs"]["train"] == "file fasion-resize-pairs-train.csv"


def test_an_image_annotated_in_two_spellings_is_refused(fashion, prepare_tiny, source, tables):
    name, joints = next(iter(fashion.joints["test"].items()))
    path = tables / "fasion-resize-annotation-test.csv"
    write_annotations(path, {**fashion.joints["test"], as_path(name): joints})
    with pytest.raises(ValueError, match=r"annotation-test\.csv: 1 images are annotated twice, in two spellings"):
        prepare_tiny("deepfashion", source, tables)


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_the_official_partition_is_used_without_patns_lists(fashion, prepare_tiny, source, tmp_path, kind):
    """Its query and gallery are the test split."""
    path = source if kind == "folder" else fashion.zip(tmp_path / "zips/all.zip")
    manifest, _ = prepare_tiny("deepfashion", path, fashion.annotate(tmp_path / "tables"))
    assert manifest["inputs"][-1]["file"] == "list_eval_partition.txt"
    for split, joints in fashion.joints.items():
        assert {path.name for path in (tmp_path / "data" / split).iterdir()} == joints.keys()


def test_lists_can_be_named_where_some_are_missing(fashion, prepare_tiny, source, tables, tmp_path):
    (source / "Eval/list_eval_partition.txt").unlink()
    lists = write_lists(tmp_path / "lists", fashion)
    (tables / "test.lst").unlink()
    with pytest.raises(ValueError, match=r"train\.lst and test\.lst, or list_eval.*, got train\.lst; pass train_list="):
        prepare_tiny("deepfashion", source, tables)
    given = {f"{split}_list": lists / f"{split}.lst" for split in ("train", "test")}
    assert prepare_tiny("deepfashion", source, tables, **given)[1] == 28


def test_unlisted_images_are_left_out_and_missing_ones_are_refused(fashion, prepare_tiny, source, tables):
    first, *rest = fashion.lists["test"]
    ghost = first.replace("back", "front")
    (tables / "test.lst").write_text("\n".join([*rest, ghost]))
    with pytest.raises(ValueError, match="2 images are named but cannot be used") as error:
        prepare_tiny("deepfashion", source, tables)
    assert str(error.value).splitlines()[1:] == [
        f"test: {ghost} is in train.lst or test.lst but not in the source",
        f"test: {first} is annotated but not in the source",
    ]
    manifest, _ = prepare_tiny("deepfashion", source, tables, strict=False)
    assert manifest["num_test_images"] == 7
    assert manifest["notes"][0] == "1 images of the source are in no split and were left out"


@pytest.mark.parametrize("level", ["zip in folder", "zip in zip", "inner zip", "img folder"])
def test_any_level_of_the_download_is_accepted(fashion, prepare_tiny, source, tables, tmp_path, level):
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for name, content in fashion.files.items():
            if name.startswith("img/"):
                file.writestr(name, content)
    if level == "img folder":
        path = source / "img"
    elif level == "zip in folder":
        path = tmp_path / "folder"
        (path / "Img").mkdir(parents=True)
        (path / "Img/img.zip").write_bytes(packed.getvalue())
    elif level == "inner zip":
        path = tmp_path / "img.zip"
        path.write_bytes(packed.getvalue())
    else:
        path = tmp_path / "all.zip"
        with zipfile.ZipFile(path, "w") as file:
            file.writestr(f"{TOP}/Img/img.zip", packed.getvalue())
            file.writestr(f"{TOP}/Eval/train.lst", "not this one")
    manifest, _ = prepare_tiny("deepfashion", path, tables)
    assert (manifest["num_train_images"], manifest["num_test_images"]) == (20, 8)
    assert not (tmp_path / "data/.unpacked").exists()
