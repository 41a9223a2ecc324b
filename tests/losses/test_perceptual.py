import shutil
from dataclasses import replace

import pytest
import torch
from torchvision.models import VGG19_Weights, vgg19

from twostream.files import sha256_of
from twostream.losses import perceptual
from twostream.losses.perceptual import VGG19, RandomFeaturesLoss, VGG19Loss
from twostream.weights import MissingWeightsError


@pytest.fixture(scope="module")
def first_layers() -> torch.nn.Sequential:
    """torchvision's own VGG-19 up to the ReLU after conv1_2."""
    torch.manual_seed(0)
    with torch.device("meta"):
        layers = vgg19().features[:4]
    layers.to_empty(device="cpu")
    for parameter in layers.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return layers


@pytest.fixture
def weights_file(first_layers, tmp_path):
    path = tmp_path / "vgg19.pth"
    torch.save({f"features.{name}": value for name, value in first_layers.state_dict().items()}, path)
    return path


def test_equals_torchvisions_layers(agree, first_layers, weights_file):
    generated, target = torch.rand(2, 1, 3, 8, 8) * 2 - 1
    normalise = VGG19_Weights.IMAGENET1K_V1.transforms()

    def features(image):
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (normalise.mean, normalise.std))
        return first_layers(((image + 1) / 2 - mean) / std)

    expected = (features(generated) - features(target)).abs().mean()
    value = VGG19Loss(weights_file)(generated, target)
    what, against = "perceptual loss (Eq. 8)", "torchvision's VGG-19 and normalisation, float32"
    agree("Losses and training", what, against, value, expected, 1e-5, relative=True)


def test_is_zero_on_equal_images_and_has_gradients_for_the_generated_only():
    loss = RandomFeaturesLoss()
    image = torch.rand(1, 3, 8, 8)
    assert loss(image, image) == 0
    generated, target = torch.rand(2, 1, 3, 8, 8).unbind()
    generated, target = generated.requires_grad_(), target.requires_grad_()
    loss(generated, target).backward()
    assert generated.grad.abs().sum() > 0
    assert target.grad is None


def test_is_frozen_and_stays_out_of_checkpoints():
    loss = RandomFeaturesLoss()
    assert list(loss.parameters()) == []
    assert loss.state_dict() == {}


def test_random_features_are_the_same_in_every_run():
    torch.manual_seed(1)
    first = RandomFeaturesLoss()
    torch.manual_seed(2)
    assert torch.equal(first.weight_2, RandomFeaturesLoss().weight_2)
    assert not torch.equal(first.weight_2, RandomFeaturesLoss(seed=1).weight_2)


def test_missing_file_says_what_to_do(tmp_path):
    message = r"weights\.vgg19: expected a state dict like .*, file not found: .*nothere"
    with pytest.raises(MissingWeightsError, match=message):
        VGG19Loss(tmp_path / "nothere.pth")
    message = rf"{VGG19.name} is missing: put it into {tmp_path}, .*weights\.vgg19=FILE"
    with pytest.raises(MissingWeightsError, match=message):
        VGG19Loss(folder=tmp_path, download=False)


def test_an_own_file_is_named_by_its_hash_and_the_published_one_is_not(weights_file, tmp_path, monkeypatch):
    digest = sha256_of(weights_file)
    assert VGG19Loss(weights_file).features_name == f"VGG-19 conv1_2, own file {digest[:8]}"
    shutil.copy(weights_file, tmp_path / VGG19.name)
    assert VGG19Loss(folder=tmp_path).features_name == f"VGG-19 conv1_2, own file {digest[:8]}"
    monkeypatch.setattr(perceptual, "VGG19", replace(VGG19, sha256=digest[:8]))
    assert VGG19Loss(weights_file).features_name == "VGG-19 conv1_2"


def test_foreign_file_says_what_was_expected(tmp_path):
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"expected VGG-19's features\.0\.weight of shape \(64, 3, 3, 3\), got \(1,\)"):
        VGG19Loss(tmp_path / "other.pth")
    (tmp_path / "broken.pth").write_bytes(b"no weights")
    with pytest.raises(ValueError, match="state dict that torch can load safely"):
        VGG19Loss(tmp_path / "broken.pth")
