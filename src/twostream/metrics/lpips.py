"""LPIPS, the learned perceptual distance on AlexNet's features (Zhang et al. 2018)."""

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

# torchmetrics' public function and class download the backbone themselves; only this class takes loaded weights.
from torchmetrics.functional.image.lpips import _LPIPS
from torchvision.models import AlexNet_Weights
from typing_extensions import override

from twostream.metrics.metric import Columns, ImageBatch, Metric, to_tensor
from twostream.metrics.protocols import EvaluationProtocol
from twostream.weights import WeightFile, WeightStore, load_tensors

ALEXNET = WeightFile("alexnet-owt-7be5be79.pth", AlexNet_Weights.IMAGENET1K_V1.url, "7be5be79", "lpips")
MIN_SIZE = 31  # height and width in pixels below which AlexNet's second pooling has no input


class LPIPSNet:
    """The distance of two images by torchmetrics, which ships the linear heads.

    Raises MissingWeightsError without the weights, and ValueError if the file is not of AlexNet, whose convolutions
    suffice, or as `WeightStore.find`.
    """

    name = "AlexNet, LPIPS v0.1"  # version of the heads; with a remark if AlexNet's file is not the published one

    def __init__(self, store: WeightStore, device: torch.device, *, file: WeightFile = ALEXNET) -> None:
        found = store.find(file)
        net = _LPIPS(pnet_rand=True)
        # AlexNet's own name of a parameter "slice3.6.weight" is "features.6.weight".
        backbone = net.net.state_dict()
        names = {key: f"features.{key.split('.', 1)[1]}" for key in backbone}
        state = load_tensors(found.path, "AlexNet", {names[key]: value.shape for key, value in backbone.items()})
        net.net.load_state_dict({key: state[name] for key, name in names.items()})
        self.name, self.weights_hash = found.mark(self.name), found.sha256
        self._device = device
        self._net = net.to(device)

    @torch.inference_mode()
    def __call__(
        self,
        generated: UInt8[Tensor, "b 3 h w"],
        target: UInt8[Tensor, "b 3 h w"],
        masks: Bool[Tensor, "b 1 h w"] | None = None,
    ) -> Float[np.ndarray, "b"]:
        """Return the distance of each pair of images of at least 31x31 pixels; 0 for equal images.

        Outside of a person's mask both images are 0 in [-1, 1], a medium grey, as in GFLA's script.
        """
        first, second = (images.to(self._device) / 127.5 - 1 for images in (generated, target))
        if masks is not None:
            first, second = (images * masks.to(self._device) for images in (first, second))
        return self._net(first, second).flatten().cpu().numpy()


class LPIPS(Metric):
    """The mean LPIPS of all images. Raises ValueError for images that are too small for AlexNet."""

    name = "lpips"

    def __init__(self, protocol: EvaluationProtocol, image_size: tuple[int, int], net: LPIPSNet) -> None:
        if min(image_size) < MIN_SIZE:
            height, width = image_size
            raise ValueError(f"LPIPS: expected images of at least {MIN_SIZE}x{MIN_SIZE}, got {height}x{width}")
        details = protocol.describe(image_size) | {"feature_net": net.name, "feature_net_hash": net.weights_hash}
        super().__init__(self.name, protocol.name, details, [f"{self.name}/{protocol.name}"])
        self._protocol = protocol
        self._net = net

    @override
    def update(self, images: ImageBatch) -> Columns:
        return {self.columns[0]: self._net(to_tensor(images.generated), to_tensor(images.true))}


class MaskLPIPS(LPIPS):
    """The mean LPIPS of all persons."""

    name = "mask_lpips"

    @override
    def update(self, images: ImageBatch) -> Columns:
        masks = torch.from_numpy(np.stack(images.masks(self._protocol)))[:, None]
        return {self.columns[0]: self._net(to_tensor(images.generated), to_tensor(images.true), masks)}
