import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from tiny_run import train_tiny
from twostream.data.dataset import read_split
from twostream.data.frame import Frame
from twostream.data.pairs import image_name
from twostream.inference import PoseTransfer


@pytest.fixture(scope="module")
def run(people_parent, tmp_path_factory):
    """The folder of a tiny run of the 2s-ATN with averaged weights."""
    folder = tmp_path_factory.mktemp("averaged") / "seed0"
    train_tiny(people_parent, folder, "averaging=ema")
    return folder


@pytest.fixture(scope="module")
def two_stream(run):
    return PoseTransfer.load(run, device="cpu")


@pytest.fixture(scope="module")
def warp(finished_warp):
    return PoseTransfer.load(finished_warp[1], device="cpu")


@pytest.fixture(scope="module")
def people(people_folder):
    """Test pairs as images with joints: (image, its joints, the target's joints) by the name of the generated image."""
    joints, pairs = read_split(people_folder, "test", (32, 16))
    images = {name: Image.open(people_folder / "test" / name).convert("RGB") for name in joints}
    return {image_name(pair): (images[pair[0]], joints[pair[0]], joints[pair[1]]) for pair in pairs}


def test_a_run_generates_the_images_of_its_evaluation(run, two_stream, people):
    averaged = PoseTransfer.load(run, device="cpu", averaged=True)
    checkpoint = PoseTransfer.load(run / "checkpoints" / "last.ckpt", device="cpu")
    for name, (source, source_joints, target_joints) in people.items():
        for one, folder in ((two_stream, "images"), (averaged, "averaged/images"), (checkpoint, "images")):
            generated = one(source, target_joints, source_joints)
            with Image.open(run / folder / name) as stored:
                # Sums of other batches are rounded differently.
                assert np.abs(np.asarray(generated).astype(int) - np.asarray(stored)).max() <= 1


def test_a_batch_of_tensors_is_the_same(warp, people):
    sources, source_joints, target_joints = zip(*people.values(), strict=True)
    batch = torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in sources])
    generated = warp(batch, np.stack(target_joints), np.stack(source_joints))
    assert (generated.shape, generated.dtype) == (batch.shape, torch.uint8)
    for one, (source, source_joint, target_joint) in zip(generated, people.values(), strict=True):
        alone = np.asarray(warp(source, target_joint, source_joint)).astype(int)
        assert np.abs(one.permute(1, 2, 0).numpy() - alone).max() <= 1


def test_an_image_of_another_size_is_scaled_and_padded_and_put_back(warp, people):
    source, source_joints, target_joints = next(iter(people.values()))
    large = source.resize((64, 128), Image.Resampling.NEAREST)
    # The centre of a pixel that is enlarged four times.
    joints = [np.where(array == -1, np.nan, (array + 0.5) * 4 - 0.5) for array in (target_joints, source_joints)]
    generated = warp(large, *joints)
    assert generated.size == (64, 128)
    expected = np.asarray(warp(source, target_joints, source_joints)).astype(int)
    assert np.abs(np.asarray(generated.resize((16, 32), Image.Resampling.BOX)) - expected).mean() < 12
    wide = Image.new("RGB", (90, 30))
    assert warp(wide, *joints).size == (90, 30)


@pytest.mark.parametrize("size", [(32, 16), (128, 64), (20, 60), (60, 20), (7, 5)])
def test_joints_follow_the_pixels_into_the_frame_of_the_network(size):
    frame = Frame(size, (32, 16))
    corners = torch.tensor([[[-0.5, -0.5], [size[0] - 0.5, size[1] - 0.5]]]).expand(9, -1, -1).reshape(1, 18, 2)
    first, last = frame.joints_to_network(corners)[0, :2]
    inner = torch.tensor(frame.size) / torch.tensor(size) / frame.scale
    torch.testing.assert_close(first, torch.tensor(frame.offset) - 0.5)
    torch.testing.assert_close((last - first) * inner, torch.tensor(frame.size).float())
    image = Image.new("RGB", (size[1], size[0]), (10, 200, 30))
    network = frame.to_network(image)
    assert network.shape == (1, 3, 32, 16)
    assert (network[0, 1] == 200).all(), "padded by its own edges"
    assert frame.from_network(network[0], image).size == image.size


def test_several_images_of_a_person(warp, two_stream, people):
    (source, source_joints, target_joints), (other, other_joints, _), *_ = people.values()
    one = np.asarray(warp(source, target_joints, source_joints)).astype(int)
    twice = np.asarray(warp([source, source], target_joints, [source_joints, source_joints]))
    assert np.abs(twice - one).max() <= 1
    assert warp([source, other], target_joints, [source_joints, other_joints]).size == source.size
    with pytest.raises(ValueError, match="image: expected one image for TwoStreamGenerator, got 2"):
        two_stream([source, other], target_joints, [source_joints] * 2)
    pixels = torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in (source, other)])
    batch = warp(pixels[None], target_joints[None], np.stack([source_joints, other_joints])[None])
    both = np.asarray(warp([source, other], target_joints, [source_joints, other_joints]))
    np.testing.assert_array_equal(batch[0].permute(1, 2, 0), both)
    larger = warp([source, other.resize((32, 64))], target_joints, [source_joints, other_joints * 2])
    assert larger.size == source.size
    with pytest.raises(ValueError, match="image: expected at least one image, got none"):
        warp([], target_joints)


def test_the_correspondence_has_a_row_for_each_target_position(warp, people):
    source, source_joints, target_joints = next(iter(people.values()))
    matrices = warp.correspondence(source, target_joints, source_joints)
    assert {name: matrix.shape for name, matrix in matrices.items()} == {
        "block_1": (32, 32),
        "block_2": (32, 32),
        "warp": (128, 128),
    }
    for matrix in matrices.values():
        np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-4)


def test_an_estimator_finds_the_joints_of_the_source(run, two_stream, people):
    source, source_joints, target_joints = next(iter(people.values()))
    seen = []

    class Estimator:
        name, weights_hash = "stand-in", ""

        def __call__(self, images):
            seen.append(images)
            return source_joints[None]

    model = PoseTransfer.load(run, device="cpu", estimator=Estimator())
    np.testing.assert_array_equal(model(source, target_joints), model(source, target_joints, source_joints))
    assert seen[0].shape == (1, 3, 32, 16)
    with pytest.raises(ValueError, match="source_joints: expected the joints of the source, or a pose estimator"):
        two_stream(source, target_joints)


@pytest.mark.parametrize(
    ("image", "num_joints", "message"),
    [
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), 18, r"expected uint8 .* \(b, 3, 32, 16\), got \(1, 3, 8"),
        (torch.zeros(1, 3, 32, 16), 18, "got .* of torch.float32"),
        (torch.zeros(2, 3, 32, 16, dtype=torch.uint8), 18, r"expected 2 x 18 joints \(nose to left ear\)"),
        (torch.zeros(3, 32, 16, dtype=torch.uint8), 18, r"expected uint8 .* \(b, 3, 32, 16\), got \(3, 32"),
        (torch.zeros(0, 3, 32, 16, dtype=torch.uint8), 18, r"expected uint8 .* \(b, 3, 32, 16\), got \(0, 3"),
        (Image.new("RGB", (16, 32)), 17, r"joints: expected 1 x 18 joints .* got an array of shape \(17, 2\)"),
    ],
)
def test_wrong_images_and_joints_are_refused(two_stream, image, num_joints, message):
    joints = np.zeros((num_joints, 2))
    with pytest.raises(ValueError, match=message):
        two_stream(image, joints, joints)


@pytest.mark.parametrize("wrong", ["target_joints", "source_joints"])
@pytest.mark.parametrize(
    ("joints", "message"),
    [
        (np.full((18, 2), 300.0), "expected (y, x) in pixels of an image of 32x16, got a joint at 300"),
        (np.full((18, 2), np.inf), "expected (y, x) in pixels of an image of 32x16, got a joint at inf"),
        ([["a", "b"]] * 18, "expected 1 x 18 joints (nose to left ear) as (y, x), got no numbers"),
        ([[1, 2], [3]], "expected 1 x 18 joints (nose to left ear) as (y, x), got no numbers"),
        (np.zeros((2, 18)), "expected 1 x 18 joints (nose to left ear) as (y, x), got an array of shape (2, 18)"),
    ],
)
def test_wrong_joints_are_refused_by_name(two_stream, wrong, joints, message):
    given = {"target_joints": np.ones((18, 2)), "source_joints": np.ones((18, 2))} | {wrong: joints}
    with pytest.raises(ValueError, match=f"^{re.escape(f'{wrong}: {message}')}$"):
        two_stream(Image.new("RGB", (16, 32)), **given)


@pytest.mark.slow
def test_what_is_no_image_is_refused_in_one_line():
    """In a process whose types are not checked."""
    code = """
import numpy as np
from twostream.inference import PoseTransfer
model, joints = PoseTransfer.load("warp-128x64", "cpu"), np.ones((18, 2))
for image in ("person.jpg", ["person.jpg"], np.zeros((128, 64, 3)), None):
    for call in (model, model.correspondence):
        try:
            call(image, joints, joints)
        except TypeError as error:
            print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    expected = "image: expected a PIL.Image, a list of them or a tensor, got "
    lines = done.stdout.splitlines()
    assert [line.removeprefix(expected) for line in lines] == [
        *("str", "str", "str", "list", "ndarray", "ndarray", "NoneType", "NoneType")
    ]


def test_what_is_not_there_is_refused(finished_warp, tmp_path):
    with pytest.raises(ValueError, match=r"checkpoint not found: .*last\.ckpt"):
        PoseTransfer.load(tmp_path)
    with pytest.raises(ValueError, match="averaged: expected a run with averaging=ema"):
        PoseTransfer.load(finished_warp[1], device="cpu", averaged=True)
