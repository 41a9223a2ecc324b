"""`twostream-annotate`, in this process."""

import inspect
import logging

import numpy as np
import pytest
from hydra.utils import get_class
from omegaconf import OmegaConf
from PIL import Image

from tflite_models import save_landmarks
from tiny_run import compose_config
from twostream.cli.annotate import main
from twostream.cli.errors import exit_on_error
from twostream.data.keypoints import ANY_FRAME, read_annotations


def test_a_folder_of_photos_is_annotated_by_blazepose(tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (104, 208)).save(tmp_path / "photos" / "a.jpg")
    landmarks = np.tile([100.5, 50.5, 0, 9, 9], (39, 1))
    model = save_landmarks(tmp_path / "tiny.tflite", landmarks)
    folders = [f"images={tmp_path / 'photos'}", f"out={tmp_path / 'out.csv'}"]
    main(compose_config("annotate", *folders, "pose_estimator=blazepose", f"pose_estimator.model={model}"))
    assert capsys.readouterr().out.startswith("BlazePose: 18 joints in 1 image\n")
    # The canvas' corner is 24 pixels above and 76 to the left of the image, whose scale is 1.
    assert np.unique(read_annotations(tmp_path / "out.csv", ANY_FRAME)["a.jpg"], axis=0).tolist() == [[26, 24]]


def test_a_folder_of_photos_is_annotated(tmp_path, pose_file, monkeypatch, capsys):
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (48, 64)).save(tmp_path / "photos" / "a.jpg")
    Image.new("RGB", (80, 100)).save(tmp_path / "photos" / "b.png")
    monkeypatch.chdir(tmp_path)
    main(compose_config("annotate", "images=photos", "out=annotation.csv", f"pose_estimator.pose_weights={pose_file}"))
    assert capsys.readouterr().out.splitlines() == [
        "RTMPose: 36 joints in 2 images",
        "both shoulders and both hips found in 2 of them",
        "annotation.csv",
    ]
    joints = read_annotations(tmp_path / "annotation.csv", ANY_FRAME)
    assert {name: np.unique(array, axis=0).tolist() for name, array in joints.items()} == {
        "a.jpg": [[32, 24]],
        "b.png": [[50, 40]],
    }


def test_missing_weights_are_reported_in_one_line(tmp_path, caplog):
    estimator = ["pose_estimator=keypoint_rcnn", f"pose_estimator.weights_dir={tmp_path}"]
    cfg = compose_config("annotate", "images=photos", "out=out.csv", *estimator, "pose_estimator.download=false")
    with pytest.raises(SystemExit), exit_on_error(logging.getLogger()):
        main(cfg)
    assert f"coco-fc266e95.pth is missing: put it into {tmp_path}, from https://" in caplog.messages[-1]
    assert "\n" not in caplog.messages[-1]
    assert not caplog.records[-1].exc_info


@pytest.mark.parametrize("option", ["rtmpose", "keypoint_rcnn", "blazepose"])
def test_the_config_states_every_argument_with_its_default(option):
    node = compose_config("annotate", f"pose_estimator={option}").pose_estimator
    config = OmegaConf.to_container(node, resolve=True)
    arguments = inspect.signature(get_class(config.pop("_target_"))).parameters
    assert config == {name: argument.default for name, argument in arguments.items()}
