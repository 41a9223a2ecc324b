"""The frozen networks that metrics look through: Inception for IS and FID, AlexNet for LPIPS (Zhang et al. 2018)."""

from io import BytesIO

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torchmetrics.functional.image.lpips import _LPIPS
from torchvision.models import AlexNet_Weights

from twostream.files import sha256_of
from twostream.weights import WeightFile, WeightStore, load_state

INCEPTION = WeightFile(
    "weights-inception-2015-12-05-6726825d.pth",
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
    "6726825d",
)
"""The Inception of the original IS and FID code, which torch-fidelity brought from TensorFlow."""

ALEXNET = WeightFile("alexnet-owt-7be5be79.pth", AlexNet_Weights.IMAGENET1K_V1.url, "7be5be79")
"""torchvision's AlexNet."""

MIN_SIZE = 31
"""Height and width in pixels below which AlexNet's second pooling has nothing left to pool."""


class InceptionFeatures:
    """Inception as the original IS and FID code runs it, resizing to 299x299 included, by torch-fidelity.

    Attributes:
        name: of the network.
        weights_hash: SHA-256 of its weight file in hex.

    Raises ImportError without torch-fidelity, MissingWeightsError without the weights and ValueError where the file has
    another hash or is not of this network.

    """

    name = "inception-v3-compat (2015-12-05)"

    def __init__(self, store: WeightStore, device: torch.device, *, file: WeightFile = INCEPTION) -> None:
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError as error:
            raise ImportError("IS and FID need torch-fidelity: pip install twostream[inception]") from error
        path = store.find(file)
        # The network's own loader would execute what a file says: it gets tensors that are read and written anew.
        state = BytesIO()
        torch.save(load_state(path), state)
        state.seek(0)
        try:
            net = FeatureExtractorInceptionV3("inception-v3-compat", ["2048", "logits_unbiased"], state)
        except RuntimeError as error:
            raise ValueError(f"{path}: expected the weights of {self.name}, these do not fit it") from error
        self.weights_hash = sha256_of(path)
        self._device = device
        self._net = net.to(device)

    @torch.inference_mode()
    def __call__(
        self, images: UInt8[Tensor, "b 3 h w"]
    ) -> tuple[Float[np.ndarray, "b 2048"], Float[np.ndarray, "b 1008"]]:
        """Return the features that FID takes and the logits without bias that IS takes."""
        features, logits = self._net(images.to(self._device))
        return features.cpu().numpy(), logits.cpu().numpy()


class LPIPS:
    """The learned perceptual distance on AlexNet's features, by torchmetrics, which ships the linear heads.

    Attributes:
        name: of the network and of the heads' version.
        weights_hash: SHA-256 of AlexNet's weight file in hex.

    Raises MissingWeightsError without the weights and ValueError where the file has another hash or is not of AlexNet.

    """

    name = "AlexNet, LPIPS v0.1"

    def __init__(self, store: WeightStore, device: torch.device, *, file: WeightFile = ALEXNET) -> None:
        path = store.find(file)
        state = load_state(path)
        # torchmetrics takes no file for the backbone, so it gets a random one, which is then filled.
        net = _LPIPS(pnet_rand=True)
        backbone = net.net
        try:
            # Of a parameter "slice3.6.weight", AlexNet's own name is "features.6.weight".
            backbone.load_state_dict({key: state[f"features.{key.split('.', 1)[1]}"] for key in backbone.state_dict()})
        except (KeyError, RuntimeError) as error:
            raise ValueError(f"{path}: expected the weights of AlexNet, these do not fit it: {error}") from error
        self.weights_hash = sha256_of(path)
        self._device = device
        self._net = net.to(device)

    @torch.inference_mode()
    def __call__(self, generated: UInt8[Tensor, "b 3 h w"], target: UInt8[Tensor, "b 3 h w"]) -> Float[np.ndarray, "b"]:
        """Return the distance of each pair of pictures; 0 is equal.

        Raises ValueError for pictures of different size or with a side under 31 pixels.
        """
        if generated.shape != target.shape or min(generated.shape[2:]) < MIN_SIZE:
            raise ValueError(
                f"expected two batches of pictures of one size, at least {MIN_SIZE}x{MIN_SIZE}, "
                f"got {tuple(generated.shape)} and {tuple(target.shape)}"
            )
        first, second = (images.to(self._device) / 127.5 - 1 for images in (generated, target))
        return self._net(first, second).flatten().cpu().numpy()
