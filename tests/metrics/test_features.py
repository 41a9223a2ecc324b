import io
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3
from torchmetrics.functional.image.lpips import learned_perceptual_image_patch_similarity
from torchvision.models import AlexNet_Weights, alexnet

from twostream.files import sha256_of
from twostream.metrics.features import ALEXNET, INCEPTION, LPIPS, InceptionFeatures
from twostream.weights import MissingWeightsError, WeightFile, WeightStore

CPU = torch.device("cpu")
NETWORKS = pytest.mark.parametrize(("network", "file"), [(InceptionFeatures, INCEPTION), (LPIPS, ALEXNET)])


class UntrainedInception(FeatureExtractorInceptionV3):
    def load_state_dict(self, state_dict):
        pass


@pytest.fixture(scope="module")
def inception_path(tmp_path_factory):
    """A file of random weights that keep the features at the scale of 1."""
    nothing = io.BytesIO()
    torch.save({}, nothing)
    nothing.seek(0)
    net = UntrainedInception("untrained", ["2048"], nothing)
    random = torch.Generator().manual_seed(0)
    for name, value in net.state_dict().items():
        if value.ndim > 1:
            torch.nn.init.kaiming_normal_(value, generator=random)
        elif name.endswith(("bias", "running_mean")):
            value.normal_(std=0.1, generator=random)
    path = tmp_path_factory.mktemp("inception") / INCEPTION.name
    torch.save(net.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def inception(inception_path):
    return InceptionFeatures(WeightStore(inception_path.parent, download=False), CPU, file=as_published(inception_path))


@pytest.fixture(scope="module")
def alexnet_path(tmp_path_factory):
    """A file of random weights; the classifier, which LPIPS has no use for, is all zero and takes no room."""
    random = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        state = alexnet().state_dict()
    for name, value in state.items():
        if name.startswith("features"):
            state[name] = torch.empty(value.shape).normal_(std=value[0].numel() ** -0.5, generator=random)
        else:
            state[name] = torch.zeros(()).expand(value.shape)
    path = tmp_path_factory.mktemp("torch") / "hub" / "checkpoints" / ALEXNET.name
    path.parent.mkdir(parents=True)
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def lpips(alexnet_path):
    return LPIPS(WeightStore(alexnet_path.parent, download=False), CPU, file=as_published(alexnet_path))


def as_published(path):
    return WeightFile(path.name, "https://example.org/weights", sha256_of(path)[:8])


def draw(*shape, seed=0):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_the_files_are_those_that_the_libraries_fetch():
    assert INCEPTION.url == URL_INCEPTION_V3
    assert AlexNet_Weights.IMAGENET1K_V1.url == ALEXNET.url
    for file in (INCEPTION, ALEXNET):
        assert file.url.rsplit("/", 1)[1] == file.name
        assert file.name.endswith(f"-{file.sha256}.pth")


def test_inception_equals_torch_fidelity(inception, inception_path):
    reference = FeatureExtractorInceptionV3("inception-v3-compat", ["2048", "logits_unbiased"], str(inception_path))
    images = draw(3, 3, 64, 32)
    for got, expected in zip(inception(images), reference(images), strict=True):
        assert 0.1 < expected.std() < 100
        np.testing.assert_array_equal(got, expected.numpy())
        assert got.dtype == np.float32


def test_inception_sees_each_image_alone(inception):
    images = draw(3, 3, 40, 24)
    together = inception(images)
    for i in range(3):
        for alone, row in zip(inception(images[i : i + 1]), together, strict=True):
            np.testing.assert_allclose(alone[0], row[i], rtol=1e-4, atol=1e-4)


def test_inception_takes_uint8_only(inception):
    with pytest.raises(TypeCheckError, match="images"):
        inception(draw(1, 3, 40, 24).float())


@pytest.mark.parametrize("size", [(64, 32), (128, 64), (31, 31)])
def test_lpips_equals_torchmetrics(lpips, alexnet_path, monkeypatch, size):
    monkeypatch.setenv("TORCH_HOME", str(alexnet_path.parents[2]))
    generated, target = draw(3, 3, *size), draw(3, 3, *size, seed=1)
    expected = learned_perceptual_image_patch_similarity(
        generated / 255, target / 255, "alex", reduction="none", normalize=True
    )
    assert expected.min() > 1e-3
    got = lpips(generated, target)
    np.testing.assert_allclose(got, expected.numpy(), rtol=1e-4)
    assert got.dtype == np.float32


def test_lpips_is_0_between_equals_and_a_batch_of_one_has_one(lpips):
    images = draw(2, 3, 64, 32)
    np.testing.assert_array_equal(lpips(images, images), [0, 0])
    assert lpips(images[:1], images[1:]).shape == (1,)


@pytest.mark.parametrize("size", [(30, 64), (64, 30)])
def test_lpips_names_the_least_size(lpips, size):
    images = draw(2, 3, *size)
    with pytest.raises(ValueError, match=rf"one size, at least 31x31, got \(2, 3, {size[0]}, {size[1]}\)"):
        lpips(images, images)


def test_networks_are_frozen_and_run_in_inference_mode(inception, lpips):
    images = draw(1, 3, 32, 32)
    modes = []
    for network, inputs in ((inception, (images,)), (lpips, (images, images))):
        assert not any(value.requires_grad for value in network._net.parameters())
        hook = network._net.register_forward_pre_hook(lambda *_: modes.append(torch.is_inference_mode_enabled()))
        with hook, torch.enable_grad():
            network(*inputs)
    assert modes == [True, True]


def test_networks_say_what_they_are(inception, inception_path, lpips, alexnet_path):
    assert inception.name == "inception-v3-compat (2015-12-05)"
    assert inception.weights_hash == sha256_of(inception_path)
    assert lpips.name == "AlexNet, LPIPS v0.1"
    assert lpips.weights_hash == sha256_of(alexnet_path)


@NETWORKS
def test_a_missing_file_is_named_with_its_folder(network, file, tmp_path):
    with pytest.raises(MissingWeightsError, match=f"{file.name} is missing: put it into {tmp_path}, from {file.url}"):
        network(WeightStore(tmp_path, download=False), CPU)


@NETWORKS
def test_a_file_of_another_hash_is_refused(network, file, tmp_path):
    (tmp_path / file.name).write_bytes(b"other")
    with pytest.raises(ValueError, match=f"{file.name}: expected a SHA-256 that starts with {file.sha256}"):
        network(WeightStore(tmp_path, download=False), CPU)


class Code:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


@NETWORKS
def test_code_in_a_file_is_not_executed(network, file, tmp_path):
    path, trace = tmp_path / file.name, tmp_path / "executed"
    torch.save({"features.0.weight": Code(trace)}, path)
    with pytest.raises(ValueError, match=f"{file.name}: expected a state dict that torch can load safely"):
        network(WeightStore(tmp_path, download=False), CPU, file=as_published(path))
    assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists()


@NETWORKS
@pytest.mark.parametrize("state", [{"fc.weight": torch.zeros(2, 2)}, {"features.0.weight": torch.zeros(2, 2)}])
def test_weights_of_another_network_are_refused(network, file, state, tmp_path):
    path = tmp_path / file.name
    torch.save(state, path)
    with pytest.raises(ValueError, match=f"{file.name}: expected the weights of .*, these do not fit it"):
        network(WeightStore(tmp_path, download=False), CPU, file=as_published(path))


def test_alexnet_with_a_layer_of_another_shape_is_refused(alexnet_path, tmp_path):
    path = tmp_path / ALEXNET.name
    state = torch.load(alexnet_path, weights_only=True)
    torch.save(state | {"features.6.weight": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"size mismatch for slice3\.6\.weight"):
        LPIPS(WeightStore(tmp_path), CPU, file=as_published(path))


def test_inception_without_torch_fidelity_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(ImportError, match=r"pip install twostream\[inception\]"):
        InceptionFeatures(WeightStore(tmp_path, download=False), CPU)
