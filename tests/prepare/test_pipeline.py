import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from PIL import Image

from twostream.cli import CONF
from twostream.data.keypoints import found, read_annotations, write_annotations
from twostream.data.pairs import matching_pairs, read_pairs, write_pairs
from twostream.files import hash_files
from twostream.prepare.market1501 import Market1501
from twostream.prepare.pipeline import pairs_alone
from twostream.prepare.preset import About


def read_folder(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def first_batch(preset, root):
    """Build the data module of the preset's own config and read what the trainer reads."""
    with initialize_config_dir(version_base="1.3", config_dir=CONF):
        overrides = [f"data={preset}", f"data.root={root}", "scale=paper", "loss/perceptual=random"]
        overrides += ["data.num_val_identities=1", "data.num_val_pairs=2", "run_dir=x", "variant=full"]
        data = instantiate(compose("train", overrides).data)
    data.prepare_data()
    data.setup("fit")
    batch = data.on_after_batch_transfer(data.val.batch([0, 1]), 0)
    return data, batch, data.test_dataset()


@pytest.mark.parametrize("wrapped", [True, False])
def test_market_from_folder_to_batch(market, prepare_tiny, tmp_path, wrapped):
    source = market.folder(tmp_path / "source")
    source = market.annotate(source if wrapped else source / "Market-1501-v15.09.15")
    outcome = prepare_tiny("market1501", source)
    root = tmp_path / "data"
    assert outcome.num_written == 29
    for split, joints in market.joints.items():
        assert {path.name for path in (root / split).iterdir()} == joints.keys()
        written = read_annotations(root / f"annotation-{split}.csv")
        assert all((written[name] == joints[name]).all() for name in joints)
        assert read_pairs(root / f"pairs-{split}.csv") == matching_pairs(joints)
        for name in joints:
            original = market.files[f"Market-1501-v15.09.15/bounding_box_{split}/{name}"]
            assert (root / split / name).read_bytes() == original
    data, batch, test = first_batch("market1501", root)
    assert batch.source_image.shape == (2, 3, 128, 64)
    assert batch.source_heatmaps.amax() == 1
    assert {name for pair in test.pairs for name in pair} <= market.joints["test"].keys()
    assert data.data_hash == outcome.manifest["data_hash"]


def test_a_zip_gives_the_same_folder(market, prepare_tiny, tmp_path):
    tables = market.annotate(tmp_path / "tables")
    from_folder = prepare_tiny("market1501", market.folder(tmp_path / "source"), tables, root=tmp_path / "a").manifest
    from_zip = prepare_tiny("market1501", market.zip(tmp_path / "m.zip"), tables, root=tmp_path / "b").manifest
    assert from_zip["data_hash"] == from_folder["data_hash"]
    assert from_zip["settings"] == from_folder["settings"]
    assert from_zip["inputs"][0]["file"] == "m.zip"


def test_tables_are_found_beside_a_zip(market, prepare_tiny, tmp_path):
    market.annotate(tmp_path)
    assert prepare_tiny("market1501", market.zip(tmp_path / "m.zip")).manifest["num_train_annotated"] == 20


def test_the_manifest_counts_and_names_everything(market, prepare_tiny, tmp_path):
    tables = market.annotate(tmp_path / "tables")
    pairs = matching_pairs(market.joints["test"])
    write_pairs(tables / "market-pairs-test.csv", pairs[:3])
    manifest = prepare_tiny("market1501", market.zip(tmp_path / "m.zip"), tables).manifest
    assert manifest == json.loads((tmp_path / "data/manifest.json").read_text())
    assert manifest["label"] == "Market-1501"
    for split, joints in market.joints.items():
        are_found = np.stack([found(array) for array in joints.values()])
        assert manifest[f"num_{split}_images"] == manifest[f"num_{split}_annotated"] == len(joints)
        assert manifest[f"num_{split}_joints"] == are_found.sum()
        assert manifest[f"num_{split}_torsos"] == are_found[:, [2, 5, 8, 11]].all(axis=1).sum()
    assert (manifest["num_train_pairs"], manifest["num_test_pairs"]) == (len(matching_pairs(market.joints["train"])), 3)
    assert manifest["annotated_by"] == {split: f"file market-annotation-{split}.csv" for split in ("train", "test")}
    assert manifest["pairs"]["train"].startswith("rule: all ordered pairs")
    assert manifest["pairs"]["test"] == "file market-pairs-test.csv"
    assert [entry["file"] for entry in manifest["inputs"]] == [
        "m.zip",
        "market-annotation-train.csv",
        "market-annotation-test.csv",
        "market-pairs-test.csv",
    ]
    assert manifest["notes"] == []
    alone = tmp_path / "alone"
    shutil.copytree(tmp_path / "data", alone, ignore=shutil.ignore_patterns("manifest.json", ".*"))
    assert manifest["data_hash"] == hash_files(alone, sorted(path for path in alone.rglob("*") if path.is_file()))


def test_test_pairs_that_no_file_gives_are_drawn(market, prepare_tiny, tmp_path, monkeypatch):
    tables = market.annotate(tmp_path / "tables")
    everything = matching_pairs(market.joints["test"])

    monkeypatch.setattr(About, "num_drawn", lambda self, split: 4 if split == "test" else None)
    manifest = prepare_tiny("market1501", market.zip(tmp_path / "m.zip"), tables, seed=5).manifest
    pairs = read_pairs(tmp_path / "data/pairs-test.csv")
    assert len(pairs) == 4
    assert set(pairs) < set(everything)
    expected = f"drawn: 4 of the {len(everything)} pairs of the rule with seed 5, not the published draw"
    assert manifest["pairs"]["test"] == expected
    assert manifest["num_train_pairs"] > 4


def test_a_second_run_checks_and_writes_nothing(market, prepare_tiny, tmp_path):
    source, tables = market.zip(tmp_path / "m.zip"), market.annotate(tmp_path / "tables")
    first = prepare_tiny("market1501", source, tables)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*")}
    second = prepare_tiny("market1501", source, tables)
    assert second.manifest == first.manifest
    assert second.num_written is None
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*")} == before


def test_a_killed_run_is_finished_by_the_next(market, prepare_tiny, tmp_path):
    source, tables, root = market.zip(tmp_path / "m.zip"), market.annotate(tmp_path / "tables"), tmp_path / "data"
    prepare_tiny("market1501", source, tables)
    whole = read_folder(root)
    (root / "manifest.json").unlink()
    (root / "pairs-test.csv").unlink()
    pictures = sorted((root / "train").iterdir())
    for path in pictures[:3]:
        path.unlink()
    pictures[3].write_bytes(b"")
    (root / "train" / f".{pictures[0].stem}.1.jpg").write_bytes(b"half a pict")
    assert prepare_tiny("market1501", source, tables).num_written == 4
    assert {name: content for name, content in read_folder(root).items() if "/." not in name} == whole


def test_a_run_with_other_settings_is_refused_with_the_difference(market, prepare_tiny, tmp_path):
    source, tables = market.zip(tmp_path / "m.zip"), market.annotate(tmp_path / "tables")
    prepare_tiny("market1501", source, tables)
    with pytest.raises(
        ValueError, match=r"data: was prepared with other settings \(strict: True there, False asked\); "
    ):
        prepare_tiny("market1501", source, tables, strict=False)
    market.annotate(tables, shift=1)
    message = r"\(annotations_train: '\w{64}' there, '\w{64}' asked; annotations_test: '"
    with pytest.raises(ValueError, match=message):
        prepare_tiny("market1501", source, tables)


def test_a_changed_or_incomplete_folder_is_refused(market, prepare_tiny, tmp_path):
    source, tables, root = market.zip(tmp_path / "m.zip"), market.annotate(tmp_path / "tables"), tmp_path / "data"
    prepare_tiny("market1501", source, tables)
    (root / "train/more.jpg").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"train: holds 1 other files; remove:\nmore\.jpg"):
        prepare_tiny("market1501", source, tables)
    (root / "train/more.jpg").unlink()
    lost = min((root / "train").iterdir())
    content = lost.read_bytes()
    lost.unlink()
    with pytest.raises(ValueError, match=rf"data: 1 files are gone; remove .*manifest\.json .*:\ntrain/{lost.name}"):
        prepare_tiny("market1501", source, tables)
    lost.write_bytes(content + b"x")
    with pytest.raises(ValueError, match=r"data: was changed after it was prepared: expected data_hash \w{64}, got \w"):
        prepare_tiny("market1501", source, tables)


def test_a_folder_of_another_origin_is_refused(market, prepare_tiny, tmp_path):
    (tmp_path / "data/train").mkdir(parents=True)
    with pytest.raises(ValueError, match="data: holds train of another origin; remove that or name another"):
        prepare_tiny("market1501", market.zip(tmp_path / "m.zip"), market.annotate(tmp_path / "tables"))
    assert list((tmp_path / "data").iterdir()) == [tmp_path / "data/train"]


def test_named_pictures_that_can_not_be_used_are_listed_or_left_out(market, prepare_tiny, tmp_path):
    tables = market.annotate(tmp_path / "tables")
    joints = dict(market.joints["train"])
    pairs = matching_pairs(joints)
    (source, target), last = pairs[0], pairs[-1]
    del joints[source]
    ghosts = {f"0001_c1s1_{index:06d}_00.jpg": np.zeros((18, 2), dtype=int) for index in range(30)}
    write_annotations(tables / "market-annotation-train.csv", {**joints, **ghosts})
    write_pairs(tables / "market-pairs-train.csv", [(source, target), ("no.jpg", target), last])
    download = market.zip(tmp_path / "m.zip")
    with pytest.raises(ValueError, match="32 pictures are named but can't be used; strict=false leaves them") as error:
        prepare_tiny("market1501", download, tables)
    lines = str(error.value).splitlines()
    assert lines[1] == "train: 0001_c1s1_000000_00.jpg is annotated but not in the source"
    assert (len(lines), lines[-1]) == (22, "and 12 more")
    assert not (tmp_path / "data").exists()
    write_annotations(tables / "market-annotation-train.csv", joints)
    with pytest.raises(ValueError, match="2 pictures are named") as error:
        prepare_tiny("market1501", download, tables)
    assert str(error.value).splitlines()[1:] == [
        f"train: {source} is in a pair but not annotated",
        "train: no.jpg is in a pair but not in the source",
    ]
    manifest = prepare_tiny("market1501", download, tables, strict=False).manifest
    assert read_pairs(tmp_path / "data/pairs-train.csv") == [last]
    assert manifest["notes"] == [
        "2 pictures that the lists, annotations or pairs name can't be used and are left out",
        "train: 1 pictures have no annotation",
    ]


@pytest.mark.parametrize("num_workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_damaged_pictures_are_listed_and_the_others_kept(market, prepare_tiny, tmp_path, num_workers):
    source, tables = market.folder(tmp_path / "source"), market.annotate(tmp_path / "tables")
    wrong, broken = sorted((source / "Market-1501-v15.09.15/bounding_box_test").iterdir())[-2:]
    content = broken.read_bytes()
    Image.new("RGB", (64, 64)).save(wrong)
    broken.write_bytes(content[:200])
    with pytest.raises(ValueError, match=r"2 pictures of .*source can't be used:") as error:
        prepare_tiny("market1501", source, tables, num_workers=num_workers)
    assert f"{wrong.name}: expected 64x128 (width x height), got 64x64" in str(error.value)
    assert f"{broken.name}: the picture can't be read" in str(error.value)
    assert not (tmp_path / "data/manifest.json").exists()
    assert sum(1 for path in (tmp_path / "data").rglob("*.jpg")) == 27


def test_a_forks_format_is_refused(market, prepare_tiny, tmp_path):
    tables = market.annotate(tmp_path / "tables")
    zeros = {name: np.where(joints == -1, 0, joints) for name, joints in market.joints["test"].items()}
    write_annotations(tables / "market-annotation-test.csv", zeros)
    with pytest.raises(
        ValueError, match=r"market-annotation-test\.csv:\d+: .*\(0, 0\), and no joint of the file is -1"
    ):
        prepare_tiny("market1501", market.zip(tmp_path / "m.zip"), tables)


def test_a_file_of_the_other_split_is_refused(market, prepare_tiny, tmp_path):
    source, tables = market.zip(tmp_path / "m.zip"), market.annotate(tmp_path / "tables")
    other = tables / "market-annotation-test.csv"
    with pytest.raises(ValueError, match=r"annotation-test\.csv: expected annotations of the train pictures, got none"):
        prepare_tiny("market1501", source, tables, annotations_train=other)
    write_pairs(tmp_path / "pairs.csv", matching_pairs(market.joints["test"]))
    with pytest.raises(ValueError, match=r"pairs\.csv: expected pairs of annotated train pictures, got none of theirs"):
        prepare_tiny("market1501", source, tables, pairs_train=tmp_path / "pairs.csv")


class FirstIsMissing:
    """Finds all joints in a corner, but none in the first picture."""

    name = "corner finder"
    weights_hash = "abc"

    def __init__(self):
        self.num_calls = 0

    def __call__(self, images):
        self.num_calls += len(images)
        return np.full((len(images), 18, 2), -1 if self.num_calls == 1 else 3)


def test_joints_that_no_file_gives_are_estimated(market, prepare_tiny, tmp_path):
    estimator = FirstIsMissing()
    source = market.zip(tmp_path / "m.zip")
    market.annotate(tmp_path / "tables")
    given = {"annotations_test": tmp_path / "tables/market-annotation-test.csv"}
    manifest = prepare_tiny("market1501", source, make=lambda: estimator, **given).manifest
    assert estimator.num_calls == manifest["num_train_annotated"] == 20
    assert manifest["num_train_torsos"] == 19
    assert manifest["annotated_by"] == {
        "train": "annotated by corner finder, not the published joints",
        "test": "file market-annotation-test.csv",
    }
    assert manifest["estimator_weights"] == "abc"
    assert not list((tmp_path / "data").glob(".annotation*"))
    # The second run needs no estimator.
    assert prepare_tiny("market1501", source, **given).num_written is None


def test_an_estimator_that_finds_nobody_is_said(market, prepare_tiny, tmp_path):
    class Blind(FirstIsMissing):
        def __call__(self, images):
            return np.full((len(images), 18, 2), -1)

    with pytest.raises(ValueError, match="pairs_train: expected two pictures of one person with both shoulders"):
        prepare_tiny("market1501", market.zip(tmp_path / "m.zip"), make=Blind)


def test_pairs_alone(market, tmp_path):
    market.annotate(tmp_path)
    expected = matching_pairs(market.joints["test"])
    preset = Market1501("Market-1501")
    assert pairs_alone(preset, tmp_path / "market-annotation-test.csv", tmp_path / "out/p.csv") == len(expected)
    assert read_pairs(tmp_path / "out/p.csv") == expected
    with pytest.raises(ValueError, match=r"annotations: expected an annotation file, there is none at .*none\.csv"):
        pairs_alone(preset, tmp_path / "none.csv", tmp_path / "p.csv")


def test_joints_of_another_frame_are_refused_before_anything_is_written(market, prepare_tiny, tmp_path):
    annotations = market.annotate(tmp_path / "annotations")
    path = annotations / "market-annotation-test.csv"
    joints = read_annotations(path)
    joints[next(iter(joints))][1] = (5, 90)
    write_annotations(path, joints)
    with pytest.raises(ValueError, match=r"market-annotation-test\.csv:2: x = 90 belongs to another frame: expected"):
        prepare_tiny("market1501", market.zip(tmp_path / "Market-1501-v15.09.15.zip"), annotations)
    assert not list((tmp_path / "data").glob("*"))
