import json
import shutil
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from commands import call
from tiny_run import compose_config, train_tiny
from twostream.cli import generate
from twostream.data.images import read_image
from twostream.data.keypoints import JointFrame, read_annotations, write_annotations
from twostream.data.pose import gaussian_heatmaps
from twostream.inference import PoseTransfer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(people_parent, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "seed0"
    train_tiny(people_parent, folder, "evaluate=false")
    return folder


@pytest.fixture
def folder(people_folder, tmp_path):
    """Two sources with their joints, and a file of two poses in the frame of an image twice as large."""
    names = sorted(path.name for path in (people_folder / "test").iterdir())[:2]
    (tmp_path / "people").mkdir()
    for name in names:
        shutil.copy(people_folder / "test" / name, tmp_path / "people")
    joints = read_annotations(people_folder / "annotation-test.csv", JointFrame(None, 16))
    poses = []
    for name in names:
        # The centres of pixels, enlarged.
        rows = [(2 * x + 0.5, 2 * y + 0.5, 1 if y >= 0 else 0) for y, x in joints[name]]
        poses.append({"pose_keypoints_2d": [float(number) for row in rows for number in row]})
    for index, person in enumerate(poses):
        (tmp_path / f"pose{index}.json").write_text(json.dumps({"people": [person]}))
    return tmp_path


@pytest.fixture
def generated(folder, people_folder, monkeypatch, capsys):
    """Calls the command on a person in this process; returns what it prints. Its network draws the target's joints."""

    class Drawn(torch.nn.Module):
        def forward(self, image, source, target):
            return 2 * target.amax(dim=1, keepdim=True).expand_as(image) - 1

    def main(*arguments):
        given = [f"source={people[0]}", f"joints={people_folder / 'annotation-test.csv'}", *arguments]
        generate.main(compose_config("generate", *given))
        return capsys.readouterr().out

    people = sorted((folder / "people").iterdir())
    model = PoseTransfer(Drawn(), (32, 16), partial(gaussian_heatmaps, sigma=0.5), torch.device("cpu"))
    monkeypatch.setattr(PoseTransfer, "load", lambda *_: model)
    monkeypatch.chdir(folder)
    return main


def test_a_video_is_named_by_its_source_and_poses_without_their_suffixes(generated, folder):
    assert generated("pose=pose0.json", "video=gif", "pose_size=[64,32]") == "1 video in generated\n"
    (folder / "poses.v2").mkdir()
    shutil.copy(folder / "pose0.json", folder / "poses.v2")
    assert generated("pose=poses.v2", "video=gif", "pose_size=[64,32]") == "1 video in generated\n"
    names = sorted(path.name.partition("_2_")[2] for path in (folder / "generated").glob("*.gif"))
    assert names == ["pose0.gif", "poses.v2.gif"]


@pytest.mark.parametrize("video", ["null", "gif"])
def test_a_small_person_its_pose_and_result_are_side_by_side_at_one_scale(generated, folder, people_folder, video):
    from twostream.data.videos import read_video

    (source, *_) = sorted((folder / "people").iterdir())
    joints = read_annotations(people_folder / "annotation-test.csv", JointFrame(None, 16))[source.name]
    Image.new("RGB", (300, 400)).save(folder / "small.png")
    placed = np.where(joints == -1, -1, joints * 4 + (200, 60))
    write_annotations(folder / "small.csv", {"small.png": placed})
    generated("source=small.png", "joints=small.csv", "pose=front", "side_by_side=true", f"video={video}")
    (path,) = (folder / "generated").glob("small_2_front.*")
    image = next(read_video(path)) if video == "gif" else read_image(path)
    _, drawn, lit = np.split(image.max(axis=2), 3, axis=1)
    assert (lit > 200).sum() > 18
    assert (drawn > 128)[lit > 200].mean() > 0.95, "joints are in the same places"
    assert (drawn > 128).sum() < 2000, "limbs are as thick as in an image of the person alone"


@pytest.mark.parametrize(
    ("asked", "change", "message"),
    [
        (["pose=front"], "model=other", r"front\.png\.model: '\w{12}' on disk, '\w{12}' requested"),
        (["pose=front"], "side_by_side=true", r"front\.png\.side_by_side: False on disk, True requested"),
        (["pose=walk", "video=gif"], "fps=5", r"walk\.gif\.fps: 12 on disk, 5 requested"),
        (
            ["pose=pose0.json", "pose_size=[64,32]"],
            "pose_size=[80,40]",
            r"pose0\.png\.pose_size: \[64, 32\] on disk",
        ),
    ],
)
def test_files_that_were_generated_otherwise_are_not_taken_for_those_asked_for(
    generated, folder, asked, change, message
):
    (folder / "other/checkpoints").mkdir(parents=True)
    (folder / "other/checkpoints/last.ckpt").write_bytes(b"another model")
    generated(*asked)
    before = {path: path.read_bytes() for path in (folder / "generated").iterdir()}
    assert len(before) == 2
    with pytest.raises(ValueError, match=rf"^generated/settings.json: .*_2_{message}.*; remove .*, or choose another"):
        generated(*asked, change)
    assert {path: path.read_bytes() for path in (folder / "generated").iterdir()} == before
    assert generated(*asked, change, "out=others").endswith(" in others\n")
    assert generated(*asked).endswith(" in generated\n")
    assert generated("pose=back", change).endswith(" in generated\n"), "another file, of other settings"


def test_every_source_is_generated_in_every_pose_once(run, people_folder, folder):
    annotations = people_folder / "annotation-test.csv"
    asked = [f"model={run}", "source=people", f"joints={annotations}", "device=cpu"]
    done = call("generate", folder, *asked, "pose=pose0.json", "pose_size=[64,32]")
    assert (done.returncode, done.stdout) == (0, "2 images in generated\n"), done.stdout + done.stderr
    paths = sorted((folder / "generated").glob("*.png"))
    assert [path.name.endswith("_2_pose0.png") for path in paths] == [True, True]
    assert {read_image(path).shape for path in paths} == {(32, 16, 3)}
    times = [path.stat().st_mtime_ns for path in paths]
    paths[0].unlink()
    assert call("generate", folder, *asked, "pose=pose0.json", "pose_size=[64,32]").returncode == 0
    assert [path.stat().st_mtime_ns == before for path, before in zip(paths, times, strict=True)] == [False, True]
    # The same pose as a row of the annotation file, in the sources' own frame.
    first = paths[0].name.split("_2_")[0]
    done = call("generate", folder, *asked, f"source=people/{first}.jpg", f"pose={annotations}", "out=rows")
    assert done.returncode == 0, done.stdout
    np.testing.assert_array_equal(read_image(folder / f"rows/{first}_2_{first}.png"), read_image(paths[0]))


def test_a_preset_becomes_a_video_of_each_source(run, people_folder, folder):
    from twostream.data.videos import read_video

    asked = [f"model={run}", "source=people", f"joints={people_folder / 'annotation-test.csv'}", "device=cpu"]
    done = call("generate", folder, *asked, "pose=turn", "video=gif", "side_by_side=true")
    assert (done.returncode, done.stdout) == (0, "2 videos in generated\n"), done.stdout + done.stderr
    paths = sorted((folder / "generated").glob("*.gif"))
    assert [path.name.endswith("_2_turn.gif") for path in paths] == [True, True]
    frames = list(read_video(paths[0]))
    assert [frame.shape for frame in frames] == [(32, 48, 3)] * 24
    assert len({frame[:, 32:].tobytes() for frame in frames}) > 20, "the person turns"
    done = call("generate", folder, *asked, "pose=front", "out=images")
    assert (done.returncode, done.stdout) == (0, "2 images in images\n"), done.stdout + done.stderr
    assert len(list((folder / "images").glob("*_2_front.png"))) == 2


def test_a_broken_source_does_not_keep_the_others_from_being_generated(generated, folder, people_folder, capsys):
    (folder / "people/broken.jpg").write_bytes(b"no image")
    (folder / "joints.csv").write_text((people_folder / "annotation-test.csv").read_text())
    row = (folder / "joints.csv").read_text().splitlines()[1]
    with (folder / "joints.csv").open("a") as file:
        file.write("broken.jpg:" + row.partition(":")[2] + "\n")
    with pytest.raises(ValueError, match=r"^people/broken\.jpg: expected an image: "):
        generated("source=people", "joints=joints.csv", "pose=front")
    assert capsys.readouterr().out == "2 images in generated\n"


@pytest.mark.parametrize("name", ["joints", "pose"])
def test_joints_and_poses_of_another_frame_are_refused(generated, folder, people_folder, name):
    header, *lines = (people_folder / "annotation-test.csv").read_text().splitlines()
    wrong = [f"{line.rpartition(':')[0]}: {[3000] * 18}" for line in lines]
    (folder / "wrong.csv").write_text("\n".join([header, *wrong]) + "\n")
    with pytest.raises(ValueError, match=f"{name}: expected x of -3 to 18 in this image, got x = 3000"):
        generated("pose=front", f"{name}=wrong.csv")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pose=pose0.json", "joints=null"], "joints: expected the joints of "),
        (["pose=none.json", "joints=pose0.json"], "joints: expected the joints of "),
        (["pose=walk", "video=avi"], "video: expected gif or mp4, got 'avi'"),
        (["pose=walk", "fps=0"], "fps: expected more than 0 frames per second, got 0"),
    ],
)
def test_what_is_missing_is_named(generated, folder, arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        generated(*arguments)
    assert not (folder / "generated").exists()
