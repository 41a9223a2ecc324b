"""The perceptual loss on conv1_2 features of VGG-19 (Eq. 8)."""

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import VGG19_Weights

from twostream.weights import WeightFile, WeightStore, load_tensors

VGG19 = WeightFile("vgg19-dcbb9e9d.pth", VGG19_Weights.IMAGENET1K_V1.url, "dcbb9e9d", "vgg19")
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

    Attributes:
        features_name: of the network and its weights.

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
        weights: file with torchvision's `vgg19` state dict (its first two convolutions suffice), of any hash.
        folder: of the published file if `weights` is None; None is torch.hub's folder of checkpoints.
        download: download the published file (548 MB) if it is missing.

    Raises:
        MissingWeightsError: the file is missing and can't be downloaded.
        ValueError: the file holds something else.
    """

    features_name = "VGG-19 conv1_2"

    def __init__(
        self, weights: str | Path | None = None, folder: str | Path | None = None, download: bool = True
    ) -> None:
        found = WeightStore(folder, download, vgg19=weights).find(VGG19)
        super().__init__(load_tensors(found.path, "VGG-19", SHAPES))
        if found.is_own:
            self.features_name += f", own file {found.sha256[:8]}"


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
