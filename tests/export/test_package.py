"""A run as a model package: it generates what the run generates, and nothing that a file says is trusted."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tiny_run import train_tiny
from twostream.data.dataset import read_split
from twostream.export.onnx_file import TOLERANCE, compare_with_pytorch
from twostream.export.package import export_run
from twostream.inference import PoseTransfer
from twostream.model_package import read_weights, write_weights
from twostream.registry import NAME

NETWORKS = {
    "two_stream": ["averaging=ema"],
    "patn": ["generator=patn", "evaluate=false"],
    "warp": ["generator=warp", "generator.warp.key_channels=4", "evaluate=false"],
}


@pytest.fixture(scope="module")
def runs(people_parent, tmp_path_factory):
    """The folders of tiny runs, by generator."""
    folders = {}
    for name, overrides in NETWORKS.items():
        folder = folders[name] = tmp_path_factory.mktemp(name) / "seed0"
        train_tiny(people_parent, folder, *overrides)
    return folders


@pytest.fixture
def package(runs, tmp_path):
    export_run(runs["warp"], tmp_path / "package", onnx=False)
    return tmp_path / "package"


@pytest.fixture(scope="module")
def person(people_folder):
    """An image with its joints, and the joints of another."""
    joints, pairs = read_split(people_folder, "test", (32, 16))
    with Image.open(people_folder / "test" / pairs[0][0]) as image:
        return image.convert("RGB"), joints[pairs[0][0]], joints[pairs[0][1]]


def generate(model, person):
    image, source, target = person
    return np.asarray(model(image, target, source)).astype(int)


@pytest.mark.parametrize(
    ("name", "dtype", "steps"),
    [*((name, "float32", 0) for name in NETWORKS), ("two_stream", "float16", 2), ("warp", "int8", 12)],
)
def test_a_package_generates_what_its_run_generates(runs, person, tmp_path, name, dtype, steps):
    export_run(runs[name], tmp_path / "package", dtype=dtype, onnx=False)
    expected = generate(PoseTransfer.load(runs[name], "cpu"), person)
    got = generate(PoseTransfer.load(tmp_path / "package", "cpu"), person)
    assert np.abs(got - expected).max() <= steps  # of 256
    config = json.loads((tmp_path / "package/config.json").read_text())
    assert (config["rounding"]["largest"] == 0) == (dtype == "float32")


def test_the_weights_are_the_averaged_ones_on_request(runs, person, tmp_path):
    export_run(runs["two_stream"], tmp_path / "package", averaged=True, onnx=False)
    expected = generate(PoseTransfer.load(runs["two_stream"], "cpu", averaged=True), person)
    np.testing.assert_array_equal(generate(PoseTransfer.load(tmp_path / "package", "cpu"), person), expected)
    card = (tmp_path / "package/README.md").read_text()
    values = json.loads((runs["two_stream"] / "averaged/metrics.json").read_text())["values"]
    assert all(f"| {value['metric']} | {value['protocol']} | {value['value']:.4f} |" in card for value in values)
    assert "averaged weights |" in card
    assert (tmp_path / "package/examples.png").exists()


def test_the_card_says_what_is_not_known(package):
    card = (package / "README.md").read_text()
    assert "This run was not evaluated." in card
    assert "# Warp: a person in another pose" in card
    assert "It has seen synthetic people alone" in card
    assert not (package / "examples.png").exists()


def test_half_precision_is_half_as_large_and_integers_a_quarter(runs, tmp_path):
    sizes = {}
    for dtype in ("float32", "float16", "int8"):
        export_run(runs["two_stream"], tmp_path / dtype, dtype=dtype, onnx=False)
        sizes[dtype] = (tmp_path / dtype / "model.safetensors").stat().st_size
    assert sizes["float16"] < 0.65 * sizes["float32"]  # a header is in all
    assert sizes["int8"] < 0.7 * sizes["float16"]
    with pytest.raises(ValueError, match="dtype: expected float32 or float16 or int8, got 'int4'"):
        export_run(runs["warp"], tmp_path / "int4", dtype="int4", onnx=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["float16", "float32", "int8"]


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_counts_and_shared_weights_are_stored(tmp_path, dtype):
    shared = nn.Linear(3, 3)
    net = nn.Sequential(shared, shared, nn.BatchNorm1d(3))
    write_weights(tmp_path / "weights", net.state_dict(), dtype)
    stored = read_weights(tmp_path / "weights")
    torch.testing.assert_close(stored, dict(net.state_dict()), rtol=0.01, atol=0.01)


def test_a_package_is_replaced_and_other_folders_are_not(runs, package, tmp_path):
    export_run(runs["two_stream"], package, onnx=False)
    assert json.loads((package / "config.json").read_text())["generator"][NAME] == "TwoStreamGenerator"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("keep")
    with pytest.raises(ValueError, match="mine: expected a new folder or a model package, got a folder with other"):
        export_run(runs["two_stream"], tmp_path / "mine", onnx=False)
    assert (tmp_path / "mine/notes.txt").read_text() == "keep"


def edit(package, **changes):
    config = json.loads((package / "config.json").read_text())
    (package / "config.json").write_text(json.dumps(config | changes))
    return config


def test_another_config_is_refused(package):
    generator = edit(package, image_size=[32, "16"])["generator"]
    with pytest.raises(ValueError, match=r"config\.json: image_size: expected \[height, width\] in pixels"):
        PoseTransfer.load(package, "cpu")
    for changes, message in (
        ({"format": 2}, r"config\.json: expected the config of a model package of format 1"),
        ({"generator": {**generator, NAME: "os.system"}}, r"config\.json and .*: generator: expected the name"),
        (
            {"generator": {**generator, "width": 8}},
            r"config\.json and model\.safetensors: .*: expected float32 of shape \(.*\), got float32 of shape",
        ),
        ({"generator": {**generator, "num_blocks": 1}}, r"model\.safetensors: .*: expected nothing, got float32"),
        (
            {"weights_sha256": "0" * 64},
            r"model\.safetensors: expected the SHA-256 '0000.*' of config\.json, got [0-9a-f]{64}$",
        ),
        (
            {"weights_sha256": ["x" * 1000]},
            r"expected the SHA-256 \['x{118}\.\.\. .* of config\.json, got [0-9a-f]{64}$",
        ),
        (
            {"generator": [1]},
            r"config\.json and .*: generator: expected the description of a Module, got that of a list",
        ),
        (
            {"generator": {**generator, "num_blocks": 10_000}},
            r"config\.json and .*: num_blocks: expected at most 100, got 10000$",
        ),
        ({"generator": {**generator, "width": 2000}}, r"model\.safetensors: generator: weights: \d+ differ: "),
        ({"heatmaps": {NAME: "open"}}, r"config\.json: heatmaps: expected the name of an option"),
    ):
        before = edit(package, image_size=[32, 16], **changes)
        with pytest.raises(ValueError, match=message):
            PoseTransfer.load(package, "cpu")
        (package / "config.json").write_text(json.dumps(before))


def test_damaged_weights_are_refused(package):
    from safetensors.torch import save_file

    from twostream.files import sha256_of

    path = package / "model.safetensors"
    weights = dict(PoseTransfer.load(package, "cpu").generator.state_dict())
    name = next(iter(weights))
    for content, message in (
        ({**weights, name: torch.full_like(weights[name], float("nan"))}, f"{name}: expected finite values"),
        ({key: value for key, value in weights.items() if key != name}, f"1 differ: {name}: expected .*, got nothing"),
    ):
        write_weights(path, content, "float32")
        edit(package, weights_sha256=sha256_of(path))
        with pytest.raises(ValueError, match=rf"model\.safetensors: generator: weights: {message}"):
            PoseTransfer.load(package, "cpu")
    save_file({**weights, name: weights[name].int()}, path)
    edit(package, weights_sha256=sha256_of(path))
    with pytest.raises(ValueError, match=rf"model\.safetensors: {name}: expected float32 or .* or int8, got int32"):
        PoseTransfer.load(package, "cpu")
    save_file({**weights, name: weights[name].to(torch.int8)}, path)
    edit(package, weights_sha256=sha256_of(path))
    with pytest.raises(ValueError, match=rf"{name}\.scale: expected a scale for each row of {name}, got none"):
        PoseTransfer.load(package, "cpu")
    path.write_bytes(b"no weights")
    edit(package, weights_sha256=sha256_of(path))
    with pytest.raises(ValueError, match=r"model\.safetensors: expected weights in safetensors, got: "):
        PoseTransfer.load(package, "cpu")


def test_a_run_that_is_not_trained_is_refused(runs, tmp_path):
    shutil.copytree(runs["warp"], tmp_path / "run")
    shutil.rmtree(tmp_path / "run/checkpoints")
    with pytest.raises(ValueError, match="checkpoint not found"):
        export_run(tmp_path / "run", tmp_path / "package")
    assert not (tmp_path / "package").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_onnx_file_generates_what_pytorch_generates(runs, tmp_path, name, dtype):
    export_run(runs[name], tmp_path / "package", dtype=dtype)
    model = PoseTransfer.load(tmp_path / "package", "cpu")
    found = compare_with_pytorch(tmp_path / "package/model.onnx", model)
    assert 0 < found.largest < TOLERANCE
    config = json.loads((tmp_path / "package/config.json").read_text())
    assert config["onnx"]["largest"] == found.largest
    assert f"{found.largest:.2g} at batch sizes 1, 2, 5" in (tmp_path / "package/README.md").read_text()
    if dtype == "float32":
        # Another network's images are told apart.
        other = PoseTransfer.load(runs["warp" if name == "patn" else "patn"], "cpu")
        assert compare_with_pytorch(tmp_path / "package/model.onnx", other).largest > 0.01
