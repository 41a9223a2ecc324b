import hashlib
import re
import zipfile
from dataclasses import replace
from http.client import IncompleteRead
from pathlib import Path

import pytest
import torch

from stand_ins import Code
from tiny_run import assert_same_leaves
from twostream.data.pose_estimators import KEYPOINT_RCNN
from twostream.losses.perceptual import VGG19
from twostream.metrics.inception import INCEPTION, TORCHVISION
from twostream.metrics.lpips import ALEXNET
from twostream.weights import MissingWeightsError, WeightFile, WeightStore, check_tensor, load_state, load_tensors

CONTENT = b"weights"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()


@pytest.fixture
def published(tmp_path):
    """A file on a server, which here is a folder."""
    path = tmp_path / "server" / "net.pth"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    return WeightFile("net.pth", path.as_uri(), DIGEST[:8])


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "deep" / "weights"


def put(folder, content=CONTENT):
    folder.mkdir(parents=True)
    path = folder / "net.pth"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("file", [INCEPTION, TORCHVISION, ALEXNET, VGG19, KEYPOINT_RCNN], ids=lambda file: file.name)
def test_name_and_hash_of_a_published_file_are_those_of_its_url(file):
    assert file.url.rsplit("/", 1)[1] == file.name
    assert file.name.endswith(f"-{file.sha256}.pth")


@pytest.mark.parametrize("digits", [8, 64])
@pytest.mark.parametrize("download", [True, False])
def test_an_existing_file_is_found(folder, digits, download):
    path = put(folder)
    found = WeightStore(folder, download).find(WeightFile("net.pth", "https://nowhere", DIGEST[:digits]))
    assert found == (path, DIGEST, False)
    assert found.mark("net") == "net"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """torch.hub's folder."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


def test_the_default_folder_is_that_of_torch_hub(hub, published):
    path = hub / "net.pth"
    with pytest.raises(MissingWeightsError, match=f"put it into {path.parent}, from"):
        WeightStore(download=False).find(published)
    assert WeightStore().find(published).path == path
    assert path.read_bytes() == CONTENT


def test_a_missing_file_is_named_with_its_folder_and_address(folder, published):
    message = f"net.pth is missing: put it into {folder}, from {published.url}"
    with pytest.raises(MissingWeightsError, match=f"^{re.escape(message)}$"):
        WeightStore(folder, download=False).find(published)
    assert not folder.exists()


def test_messages_do_not_spell_out_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "my" / "weights"
    with pytest.raises(MissingWeightsError, match=r"put it into ~/my/weights, from") as error:
        WeightStore(folder, download=False).find(WeightFile("net.pth", "https://nowhere", DIGEST))
    assert str(tmp_path) not in str(error.value)
    path = put(folder, b"other")
    with pytest.raises(ValueError, match=r"^~/my/weights/net\.pth: expected a state dict"):
        load_state(path)


def test_a_file_with_a_wrong_hash_is_refused_in_torch_hubs_folder_and_kept(hub, published):
    path = put(hub, b"other")
    message = f"{path}: expected a SHA-256 that starts with {DIGEST[:8]}, got {OTHER}; replace it by {published.url}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$") as error:
        WeightStore().find(published)
    assert not isinstance(error.value, MissingWeightsError)
    assert path.read_bytes() == b"other"


def test_a_file_in_a_given_folder_may_have_any_hash(folder, published):
    path = put(folder, b"other")
    found = WeightStore(folder, download=False).find(published)
    assert found == (path, OTHER, True)
    assert found.mark("net") == "net (own file)"


@pytest.mark.parametrize(("content", "digest"), [(b"other", OTHER), (CONTENT, DIGEST)])
def test_a_named_file_is_used_before_the_published_one(tmp_path, folder, published, content, digest):
    put(folder)
    mine = tmp_path / "mine.bin"
    mine.write_bytes(content)
    store = WeightStore(folder, lpips=str(mine))
    assert store.find(replace(published, option="lpips")) == (mine, digest, content != CONTENT)
    assert store.find(replace(published, option="inception")).path == folder / "net.pth"
    assert store.find(published).path == folder / "net.pth"


def test_a_named_file_that_is_missing_is_not_replaced_by_the_published_one(folder, published):
    put(folder)
    message = f"weights.vgg19: expected a state dict like that of {published.url}, file not found: nothere.pth"
    with pytest.raises(MissingWeightsError, match=f"^{re.escape(message)}$"):
        WeightStore(folder, vgg19="nothere.pth").find(replace(published, option="vgg19"))


def test_a_file_that_can_be_named_is_asked_for_by_its_option(folder, published):
    with pytest.raises(MissingWeightsError, match=r"from file:///.*, or name a file: weights\.lpips=FILE$"):
        WeightStore(folder, download=False).find(replace(published, option="lpips"))


def test_a_missing_file_is_downloaded_once(folder, published, tmp_path):
    store = WeightStore(folder)
    assert store.find(published) == (folder / "net.pth", DIGEST, False)
    assert (folder / "net.pth").read_bytes() == CONTENT
    (tmp_path / "server" / "net.pth").unlink()
    assert store.find(published).path == folder / "net.pth"


def test_a_download_with_a_wrong_hash_is_not_kept(folder, published, tmp_path):
    (tmp_path / "server" / "net.pth").write_bytes(b"other")
    with pytest.raises(MissingWeightsError, match=r"net\.pth is missing and can't be downloaded \(invalid hash value"):
        WeightStore(folder).find(published)
    assert list(folder.iterdir()) == []


def test_a_failed_download_is_a_missing_file(folder, published, tmp_path, monkeypatch):
    (tmp_path / "server" / "net.pth").unlink()
    message = rf"net\.pth is missing and can't be downloaded \(.*No such file.*\): put it into {folder}, from file:///"
    with pytest.raises(MissingWeightsError, match=message):
        WeightStore(folder).find(published)
    assert list(folder.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(MissingWeightsError, match="can't be downloaded"):
        WeightStore(tmp_path / "file" / "weights").find(published)

    def break_off(*_args, **_options):
        raise IncompleteRead(b"wei")

    monkeypatch.setattr(torch.hub, "download_url_to_file", break_off)
    with pytest.raises(MissingWeightsError, match=r"can't be downloaded \(IncompleteRead\(3 bytes read\)\)"):
        WeightStore(folder).find(published)


def test_a_state_dict_is_loaded(tmp_path):
    net = torch.nn.Linear(3, 2)
    torch.save(net.state_dict(), tmp_path / "net.pth")
    assert_same_leaves(load_state(tmp_path / "net.pth"), dict(net.state_dict()))


def test_code_in_a_file_is_not_executed(tmp_path):
    path, trace = tmp_path / "net.pth", tmp_path / "executed"
    torch.save({"weight": Code(trace)}, path)
    with pytest.raises(ValueError, match=r"net\.pth: expected a state dict that torch can load safely, got: "):
        load_state(path)
    assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists()


def test_a_compressed_file_is_refused_before_it_is_unpacked(tmp_path):
    torch.save({"weight": torch.zeros(10**6)}, tmp_path / "stored.pth")
    with zipfile.ZipFile(tmp_path / "stored.pth") as stored, zipfile.ZipFile(tmp_path / "net.pth", "w") as packed:
        for name in stored.namelist():
            packed.writestr(name, stored.read(name), zipfile.ZIP_DEFLATED)
    with pytest.raises(
        ValueError, match=r"net\.pth: expected a state dict that torch can .*, got: compressed content$"
    ):
        load_state(tmp_path / "net.pth")


def test_a_tensor_that_repeats_its_values_is_refused():
    with pytest.raises(ValueError, match=r"^here: expected float32 of shape \(9, 9\), got .* that repeats its values$"):
        check_tensor(torch.zeros(1).expand(9, 9), torch.zeros(9, 9), "here")


@pytest.mark.parametrize("content", [b"", b"no state dict"])
def test_a_file_of_another_type_is_refused(tmp_path, content):
    (tmp_path / "net.pth").write_bytes(content)
    with pytest.raises(ValueError, match=r"net\.pth: expected a state dict that torch can load safely, got: "):
        load_state(tmp_path / "net.pth")


@pytest.mark.parametrize("content", [[torch.zeros(2)], torch.zeros(2), {"weight": torch.zeros(2), "epoch": 3}])
def test_what_is_no_state_dict_of_tensors_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "net.pth")
    kind = type(content).__name__
    with pytest.raises(ValueError, match=rf"net\.pth: expected a state dict of tensors, got {kind}$"):
        load_state(tmp_path / "net.pth")


def test_the_tensors_that_a_network_needs_are_checked(tmp_path):
    path = tmp_path / "net.pth"
    state = {"weight": torch.zeros(2, 3), "more": torch.zeros(1)}
    torch.save(state, path)
    assert_same_leaves(load_tensors(path, "Net", {"weight": (2, 3)}), {"weight": state["weight"]})
    with pytest.raises(ValueError, match=r"net\.pth: expected Net's weight of shape \(3, 2\), got \(2, 3\)$"):
        load_tensors(path, "Net", {"weight": (3, 2)})
    with pytest.raises(ValueError, match=r"net\.pth: expected Net's bias of shape \(2,\), got nothing$"):
        load_tensors(path, "Net", {"weight": (2, 3), "bias": torch.zeros(2).shape})


@pytest.fixture
def zipped(tmp_path):
    """A file that is published in a zip."""
    path = tmp_path / "net.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("20230504/net/end2end.onnx", CONTENT)
        packed.writestr("20230504/net/readme.txt", "other")
    return WeightFile("net.onnx", path.as_uri(), DIGEST, member="end2end.onnx")


def test_a_file_in_a_zip_is_unpacked_and_verified(folder, zipped):
    assert WeightStore(folder).find(zipped) == (folder / "net.onnx", DIGEST, False)
    assert [path.name for path in folder.iterdir()] == ["net.onnx"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": OTHER}, f"expected end2end.onnx with the SHA-256 {OTHER}, got {DIGEST}"),
        ({"member": "nothere"}, "expected one nothere of at most"),
        ({"url": Path(__file__).as_uri()}, "File is not a zip file"),
    ],
)
def test_a_zip_without_the_published_file_leaves_nothing(folder, zipped, change, message):
    with pytest.raises(MissingWeightsError, match=re.escape(f"net.onnx is missing and can't be downloaded ({message}")):
        WeightStore(folder).find(replace(zipped, **change))
    assert not any(folder.iterdir())
