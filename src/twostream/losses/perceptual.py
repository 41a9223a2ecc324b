"""The perceptual loss on conv1_2 features of VGG-19 (Eq. 8)."""

import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.error import URLError

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import VGG19_Weights

from twostream.weights import load_state

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# conv1_1 and conv1_2 of VGG-19 under the names of torchvision's `vgg19`.
SHAPES = {
    "features.0.weight": (64, 3, 3, 3),
    "features.0.bias": (64,),
    "features.2.weight": (64, 64, 3, 3),
    "features.2.bias": (64,),
}


class PerceptualLoss(nn.Module):
    """Mean absolute difference of the features after conv1_2 and its ReLU (Eq. 8; PATN cuts VGG-19 at the same layer).

    The two convolutions are frozen: buffers that stay out of optimizers and checkpoints.

    Args:
        state: weights and biases under the names of `SHAPES`.

    """

    features_name: str
    weight_0: Tensor
    bias_0: Tensor
    weight_2: Tensor
    bias_2: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        for name in SHAPES:
            _, index, kind = name.split(".")
            self.register_buffer(f"{kind}_{index}", state[name].float(), persistent=False)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def features(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 64 h w"]:
        """Return phi of images in [-1, 1]."""
        hidden = ((image + 1) / 2 - self.mean) / self.std
        hidden = F.relu(F.conv2d(hidden, self.weight_0, self.bias_0, padding=1))
        return F.relu(F.conv2d(hidden, self.weight_2, self.bias_2, padding=1))

    def forward(self, generated: Float[Tensor, "b 3 h w"], target: Float[Tensor, "b 3 h w"]) -> Float[Tensor, ""]:
        """Return the loss of `generated` images; no gradient flows into `target`."""
        with torch.no_grad():
            target_features = self.features(target)
        return F.l1_loss(self.features(generated), target_features)


class VGG19Loss(PerceptualLoss):
    """The perceptual loss with VGG-19's weights trained on ImageNet.

    Args:
        weights: file with torchvision's `vgg19` state dict (its first two convolutions suffice); None downloads it.

    Raises ValueError for any other file, ConnectionError if the download fails.

    """

    features_name = "VGG-19 conv1_2"

    def __init__(self, weights: str | Path | None = None) -> None:
        super().__init__(_download() if weights is None else _read(Path(weights)))


class RandomFeaturesLoss(PerceptualLoss):
    """The same two convolutions with fixed random weights (He et al. 2015), for runs without a download.

    The weights depend on the seed alone, so that they are the same in every run. It is not the paper's loss.
    """

    features_name = "random weights in place of VGG-19"

    def __init__(self, seed: int = 0) -> None:
        random = torch.Generator().manual_seed(seed)
        state = {name: torch.zeros(shape) for name, shape in SHAPES.items()}
        for name in ("features.0.weight", "features.2.weight"):
            state[name].normal_(0, (2 / state[name][0].numel()) ** 0.5, generator=random)
        super().__init__(state)


def _download() -> Mapping[str, Tensor]:
    weights = VGG19_Weights.IMAGENET1K_V1
    try:
        return weights.get_state_dict(progress=sys.stderr.isatty(), check_hash=True)
    except (URLError, OSError) as error:
        raise ConnectionError(
            f"the weights of VGG-19 could not be downloaded ({error}); fetch {weights.url} elsewhere and pass "
            "loss.perceptual.weights=FILE, or use loss/perceptual=random, which is not the paper's loss"
        ) from error


def _read(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise ValueError(
            f"loss.perceptual.weights: file not found: {path}; expected torchvision's vgg19 state dict, "
            f"{VGG19_Weights.IMAGENET1K_V1.url}"
        )
    state = load_state(path)
    for name, shape in SHAPES.items():
        got = tuple(state[name].shape) if name in state else "nothing"
        if got != shape:
            raise ValueError(f"{path}: expected VGG-19's {name} of shape {shape}, got {got}")
    return state
