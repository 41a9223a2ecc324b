"""`twostream-prepare` and its steps, in this process."""

import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from tiny_run import compose_config
from twostream.cli.prepare import main
from twostream.data.keypoints import ANY_FRAME, read_annotations, write_annotations
from twostream.data.pairs import matching_pairs, read_pairs


def test_a_zip_becomes_a_data_folder(tmp_path, people_folder, pose_file, monkeypatch, capsys):
    """The joints of the test images are published, those of the training images are estimated."""
    with zipfile.ZipFile(tmp_path / "market.zip", "w") as file:
        for split in ("train", "test"):
            for path in (people_folder / split).iterdir():
                Image.open(path).resize((64, 128)).save(tmp_path / "large.jpg")
                file.write(tmp_path / "large.jpg", f"Market-1501-v15.09.15/bounding_box_{split}/{path.name}")
    joints = read_annotations(people_folder / "annotation-test.csv", ANY_FRAME)
    published = tmp_path / "market-annotation-test.csv"
    write_annotations(published, {name: np.where(array == -1, -1, array * 4) for name, array in joints.items()})
    settings = ["data=market1501", "source=market.zip", "num_workers=1", f"pose_estimator.pose_weights={pose_file}"]
    monkeypatch.chdir(tmp_path)
    main(compose_config("prepare", *settings))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Market-1501 subset"
    assert lines[2].split() == ["images", "20", "12,936", "8", "19,732"]
    assert "train keypoints: annotated by RTMPose, not the published keypoints" in lines
    assert "test keypoints: file market-annotation-test.csv" in lines
    assert "difference: train images: 20 here, 12,936 published (12,916 fewer)" in lines
    assert lines[-1] == "data/market1501: 28 images written"
    manifest = json.loads((tmp_path / "data/market1501/manifest.json").read_text())
    assert manifest["num_train_pairs"] == 5 * 4 * 3
    settings = manifest["settings"]["annotations_train"]
    assert settings["threshold"] == 0.3
    assert not {"device", "download"} & settings.keys()


def test_the_pairs_step_writes_the_pairs_of_an_annotation_file(tmp_path, people_folder, capsys):
    joints = read_annotations(people_folder / "annotation-train.csv", ANY_FRAME)
    annotations, out = tmp_path / "annotation.csv", tmp_path / "out/pairs.csv"
    write_annotations(annotations, {name: np.where(array == -1, -1, array * 4) for name, array in joints.items()})
    main(compose_config("prepare", "step=pairs", f"annotations={annotations}", f"out={out}"))
    pairs = read_pairs(out)
    assert pairs == matching_pairs(joints)
    assert capsys.readouterr().out.splitlines() == [f"{len(pairs)} pairs", str(out)]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["step=pears"], "step: expected all or pairs, got 'pears'"),
        ([], "source: expected a path, step=all needs source=PATH"),
        (["source=''"], "source: expected a path, step=all needs source=PATH"),
        (["step=pairs", "annotations=a.csv"], "out: expected a path, step=pairs needs out=PATH"),
        (["step=pairs", "out=a.csv"], "annotations: expected a path, step=pairs needs annotations=PATH"),
        (["step=pairs", "out=a.csv", "annotations=none.csv"], r"annotations: file not found: none\.csv"),
    ],
)
def test_missing_settings_are_named(overrides, message):
    with pytest.raises(ValueError, match=message):
        main(compose_config("prepare", *overrides))
