"""Market-1501 from download to data folder: what is written, verified, resumed and refused."""

import hashlib
import json
import shutil
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from twostream.data.keypoints import ANY_FRAME, found, read_annotations, write_annotations
from twostream.data.pairs import matching_pairs, pairs_hash, read_pairs, write_pairs
from twostream.prepare.market1501 import Market1501

SPLITS = ("train", "test")


@pytest.fixture
def source(market, tmp_path):
    return market.zip(tmp_path / "source/m.zip")


@pytest.fixture
def folder(market, tmp_path):
    """The unpacked download."""
    return market.folder(tmp_path / "folder")


@pytest.fixture
def tables(market, tmp_path):
    """Published annotations of both splits."""
    return market.annotate(tmp_path / "tables")


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data"


@pytest.mark.parametrize("top", ["", "Market-1501-v15.09.15"])
def test_images_are_copied_and_tables_written(market, prepare_tiny, folder, root, top):
    assert prepare_tiny("market1501", market.annotate(folder / top))[1] == 29
    for split, joints in market.joints.items():
        assert {path.name for path in (root / split).iterdir()} == joints.keys()
        written = read_annotations(root / f"annotation-{split}.csv", ANY_FRAME)
        assert all((written[name] == joints[name]).all() for name in joints)
        assert read_pairs(root / f"pairs-{split}.csv") == matching_pairs(joints)
        for name in joints:
            original = market.files[f"Market-1501-v15.09.15/bounding_box_{split}/{name}"]
            assert (root / split / name).read_bytes() == original


def test_a_zip_and_a_folder_give_the_same_data(prepare_tiny, source, folder, tables, tmp_path):
    from_folder, _ = prepare_tiny("market1501", folder, tables, root=tmp_path / "a")
    from_zip, _ = prepare_tiny("market1501", source, tables, root=tmp_path / "b")
    assert from_zip["data_hash"] == from_folder["data_hash"]
    assert from_zip["settings"] == from_folder["settings"]
    assert from_zip["inputs"][0]["file"] == "m.zip"


def test_published_files_are_found_next_to_a_zip(market, prepare_tiny, source):
    market.annotate(source.parent)
    assert prepare_tiny("market1501", source)[0]["num_train_annotated"] == 20


def test_the_manifest_contains_counts_and_origins(market, prepare_tiny, source, tables, root):
    write_pairs(tables / "market-pairs-test.csv", matching_pairs(market.joints["test"])[:3])
    manifest, _ = prepare_tiny("market1501", source, tables)
    assert manifest == json.loads((root / "manifest.json").read_text())
    assert (manifest["label"], manifest["codec"]) == ("Market-1501 subset", "JPEG files as downloaded")
    for split, joints in market.joints.items():
        are_found = np.stack([found(array) for array in joints.values()])
        assert manifest[f"num_{split}_images"] == manifest[f"num_{split}_annotated"] == len(joints)
        assert manifest[f"num_{split}_joints"] == are_found.sum()
        assert manifest[f"num_{split}_torsos"] == are_found[:, [2, 5, 8, 11]].all(axis=1).sum()
    assert (manifest["num_train_pairs"], manifest["num_test_pairs"]) == (len(matching_pairs(market.joints["train"])), 3)
    assert manifest["annotated_by"] == {split: f"file market-annotation-{split}.csv" for split in SPLITS}
    assert manifest["pairs"]["train"].startswith("rule: all ordered pairs")
    assert manifest["pairs"]["test"] == "file market-pairs-test.csv"
    assert [entry["file"] for entry in manifest["inputs"]] == [
        "m.zip",
        "market-annotation-train.csv",
        "market-annotation-test.csv",
        "market-pairs-test.csv",
    ]
    assert manifest["notes"] == []
    digest = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.suffix in (".jpg", ".csv")):
        digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    assert manifest["data_hash"] == digest.hexdigest()


def test_test_pairs_are_drawn_if_none_are_published(market, prepare_tiny, source, tables, root, monkeypatch):
    all_pairs = matching_pairs(market.joints["test"])
    monkeypatch.setattr(Market1501, "num_drawn", {"test": 4})
    manifest, _ = prepare_tiny("market1501", source, tables, seed=5)
    pairs = read_pairs(root / "pairs-test.csv")
    assert len(pairs) == 4
    assert set(pairs) < set(all_pairs)
    expected = f"drawn: 4 of the {len(all_pairs)} pairs of the rule with seed 5, not the published draw"
    assert manifest["pairs"]["test"] == expected
    assert manifest["num_train_pairs"] > 4


def test_a_published_draw_is_drawn_again_from_the_annotations(market, prepare_tiny, source, tables, root, monkeypatch):
    # PATN drew Market-1501's test pairs in this way: pairs in the order of the annotations, then legacy NumPy's choice.
    names = [name for name in market.joints["test"] if found(market.joints["test"][name])[[2, 5, 8, 11]].all()]
    identities = dict.fromkeys(name.split("_")[0] for name in names if name[:4] not in ("0000", "-1_c"))
    all_pairs = [
        pair for identity in identities for pair in permutations([n for n in names if n.startswith(f"{identity}_")], 2)
    ]
    published = [all_pairs[i] for i in np.random.RandomState(0).choice(len(all_pairs), 4, replace=False)]
    monkeypatch.setattr(Market1501, "num_drawn", {"test": 4})
    monkeypatch.setattr(Market1501, "draw_hash", {"test": pairs_hash(published)})
    manifest, _ = prepare_tiny("market1501", source, tables)
    assert read_pairs(root / "pairs-test.csv") == published
    assert manifest["pairs"]["test"] == "the published 4, drawn again from the annotations"


def test_a_complete_folder_is_only_verified(prepare_tiny, source, tables, root):
    manifest, _ = prepare_tiny("market1501", source, tables)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert prepare_tiny("market1501", source, tables) == (manifest, None)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_an_interrupted_preparation_is_resumed(prepare_tiny, source, tables, root):
    def read_folder():
        return {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and not path.name.startswith(".")}

    prepare_tiny("market1501", source, tables)
    complete = read_folder()
    (root / "manifest.json").unlink()
    (root / "pairs-test.csv").unlink()
    images = sorted((root / "train").iterdir())
    for path in images[:3]:
        path.unlink()
    images[3].write_bytes(b"")
    (root / "train" / f".{images[0].stem}.1.jpg").write_bytes(b"half an ima")
    assert prepare_tiny("market1501", source, tables)[1] == 4
    assert read_folder() == complete


def test_other_settings_are_refused_with_the_difference(market, prepare_tiny, source, tables):
    prepare_tiny("market1501", source, tables)
    with pytest.raises(ValueError, match=r"data: was prepared with other settings \(strict: True .*, False .*\); "):
        prepare_tiny("market1501", source, tables, strict=False)
    market.annotate(tables, shift=1)
    with pytest.raises(ValueError, match=r"\(annotations_test: '\w{64}' .*, '\w{64}' .*, annotations_train: '"):
        prepare_tiny("market1501", source, tables)


def test_changed_and_incomplete_folders_are_refused(prepare_tiny, source, tables, root):
    prepare_tiny("market1501", source, tables)
    (root / "train/more.jpg").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"train: 1 files are not images of the train split; remove them:\nmore\.jpg"):
        prepare_tiny("market1501", source, tables)
    (root / "train/more.jpg").unlink()
    path = min((root / "train").iterdir())
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(ValueError, match=rf"data: 1 files are missing; remove .*manifest\.json .*:\ntrain/{path.name}"):
        prepare_tiny("market1501", source, tables)
    path.write_bytes(content + b"x")
    with pytest.raises(ValueError, match=rf"prepared, 1 files differ; .*:\ntrain/{path.name}: changed$"):
        prepare_tiny("market1501", source, tables)


def test_a_folder_that_was_not_prepared_is_refused(prepare_tiny, source, tables, root):
    (root / "train").mkdir(parents=True)
    with pytest.raises(ValueError, match="data: train are not from a preparation; remove them or pass another"):
        prepare_tiny("market1501", source, tables)
    assert list(root.iterdir()) == [root / "train"]


def test_named_images_that_cannot_be_used_are_listed_or_left_out(market, prepare_tiny, source, tables, root):
    joints = dict(market.joints["train"])
    pairs = matching_pairs(joints)
    (first, target), last = pairs[0], pairs[-1]
    del joints[first]
    unknown = {f"0001_c1s1_{index:06d}_00.jpg": np.full((18, 2), 40) for index in range(30)}
    write_annotations(tables / "market-annotation-train.csv", {**joints, **unknown})
    write_pairs(tables / "market-pairs-train.csv", [(first, target), ("no.jpg", target), last])
    with pytest.raises(ValueError, match="32 images are named but cannot be used; strict=false leaves them") as error:
        prepare_tiny("market1501", source, tables)
    lines = str(error.value).splitlines()
    assert lines[1] == "train: 0001_c1s1_000000_00.jpg is annotated but not in the source"
    assert (len(lines), lines[-1]) == (22, "and 12 more")
    assert not root.exists()
    write_annotations(tables / "market-annotation-train.csv", joints)
    with pytest.raises(ValueError, match="2 images are named") as error:
        prepare_tiny("market1501", source, tables)
    assert str(error.value).splitlines()[1:] == [
        f"train: {first} is in a pair but not annotated",
        "train: no.jpg is in a pair but not in the source",
    ]
    manifest, _ = prepare_tiny("market1501", source, tables, strict=False)
    assert read_pairs(root / "pairs-train.csv") == [last]
    assert manifest["notes"] == [
        "2 images that the lists, annotations or pairs name cannot be used and were left out",
        "train: 1 images have no annotation",
    ]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_damaged_images_are_listed_and_the_others_written(prepare_tiny, folder, tables, root, num_workers):
    wrong, broken = sorted((folder / "Market-1501-v15.09.15/bounding_box_test").iterdir())[-2:]
    content = broken.read_bytes()
    Image.new("RGB", (64, 64)).save(wrong)
    broken.write_bytes(content[:200])
    with pytest.raises(ValueError, match=r"folder: 2 images cannot be used:") as error:
        prepare_tiny("market1501", folder, tables, num_workers=num_workers)
    assert f"{wrong.name}: expected an image of height x width 128x64, got 64x64" in str(error.value)
    assert f"{broken.name}: expected an image: " in str(error.value)
    assert not (root / "manifest.json").exists()
    assert sum(1 for path in root.rglob("*.jpg")) == 27


def test_annotations_of_another_frame_are_refused(market, prepare_tiny, source, tables, root):
    joints = market.joints["test"]
    outside = next(iter(joints.values())).copy()
    outside[1] = (5, 90)
    write_annotations(tables / "market-annotation-test.csv", {**joints, next(iter(joints)): outside})
    with pytest.raises(ValueError, match=r"market-annotation-test\.csv:2: x = 90 belongs to another frame: expected"):
        prepare_tiny("market1501", source, tables)
    assert not root.exists()


def test_a_file_of_the_other_split_is_refused(market, prepare_tiny, source, tables, tmp_path):
    other = tables / "market-annotation-test.csv"
    with pytest.raises(ValueError, match=r"annotation-test\.csv: expected annotations of train images, got none"):
        prepare_tiny("market1501", source, tables, annotations_train=other)
    write_pairs(tmp_path / "pairs.csv", matching_pairs(market.joints["test"]))
    with pytest.raises(ValueError, match=r"pairs\.csv: expected pairs of annotated train images, got none of them"):
        prepare_tiny("market1501", source, tables, pairs_train=tmp_path / "pairs.csv")


def test_joints_are_estimated_if_none_are_published(prepare_tiny, source, tables, root, estimator):
    given = {"annotations_test": tables / "market-annotation-test.csv"}
    manifest, _ = prepare_tiny("market1501", source, make=lambda: estimator, **given)
    assert estimator.num_calls == manifest["num_train_annotated"] == manifest["num_train_torsos"] == 20
    assert manifest["annotated_by"] == {
        "train": "annotated by pixel reader, not the published keypoints",
        "test": "file market-annotation-test.csv",
    }
    assert manifest["estimator_weights"] == "abc"
    assert not list(root.glob(".annotation*"))
    # A complete folder needs no estimator.
    assert prepare_tiny("market1501", source, **given)[1] is None


def test_an_estimator_that_finds_nobody_is_reported(prepare_tiny, source, estimator, monkeypatch):
    monkeypatch.setattr(type(estimator), "__call__", lambda self, images: np.full((len(images), 18, 2), -1))
    with pytest.raises(ValueError, match="pairs_train: expected two images of one identity with both shoulders"):
        prepare_tiny("market1501", source, make=lambda: estimator)


def test_a_download_of_another_data_set_is_refused(prepare_tiny, source):
    message = r"m\.zip: expected images of DeepFashion 256x256 \(img/WOMEN/CATEGORY/.*\), got none"
    with pytest.raises(ValueError, match=message):
        prepare_tiny("deepfashion", source)


def test_a_download_without_one_split_is_refused(prepare_tiny, folder):
    shutil.rmtree(folder / "Market-1501-v15.09.15/bounding_box_test")
    with pytest.raises(ValueError, match=r"expected test images \(bounding_.*\), got none"):
        prepare_tiny("market1501", folder)


def test_the_first_image_is_checked_before_anything_is_written(prepare_tiny, folder, root):
    first = min((folder / "Market-1501-v15.09.15/bounding_box_train").glob("*.jpg"))
    first.write_bytes(b"x")
    with pytest.raises(ValueError, match=rf"folder: .*{first.name}: expected an image"):
        prepare_tiny("market1501", folder)
    assert not root.exists()


TABLE_SETTINGS = ("annotations_train", "annotations_test", "pairs_train", "pairs_test", "test_list")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        *(({setting: Path("none.csv")}, rf"{setting}: file not found: none\.csv") for setting in TABLE_SETTINGS),
        ({"train_list": Path(__file__)}, "train_list, test_list: expected null, as folders split Market-1501"),
        ({"annotations": Path("none")}, "annotations: folder not found: none"),
        ({"annotation_frame": 256}, "annotation_frame: expected null for Market-1501, got 256"),
    ],
)
def test_settings_that_do_not_fit_are_refused(prepare_tiny, source, tables, given, message):
    with pytest.raises(ValueError, match=message):
        prepare_tiny("market1501", source, **{"annotations": tables} | given)


def test_an_annotation_folder_has_to_contain_annotations(prepare_tiny, source, tables):
    path = tables / "market-annotation-train.csv"
    path.write_text("name:keypoints_y:keypoints_x\n")
    with pytest.raises(ValueError, match=r"market-annotation-train\.csv: expected annotated images, got none"):
        prepare_tiny("market1501", source, tables)
    path.unlink()
    with pytest.raises(ValueError, match=r"tables: expected market-annotation-train\.csv, file not found"):
        prepare_tiny("market1501", source, tables)


def test_several_published_files_are_refused(fashion, prepare_tiny, tmp_path):
    tables = fashion.annotate(tmp_path / "tables")
    (tables / "fashion-annotation-train.csv").write_text("")
    names = r"fasion-resize-annotation-train\.csv and fashion-annotation-train\.csv"
    with pytest.raises(ValueError, match=rf"tables: expected one file, got {names}: pass one as annotations_train="):
        prepare_tiny("deepfashion", fashion.folder(tmp_path / "source"), tables)
