"""A trained network as an object: give it an image of a person and a pose, get that person in that pose."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from numpy.typing import ArrayLike
from PIL import Image
from torch import Tensor, nn

from twostream.build import choose_device
from twostream.callbacks.averaging import KEY as AVERAGED
from twostream.data.dataset import to_uint8, to_unit_range
from twostream.data.keypoints import JOINT_NAMES, MISSING, NUM_JOINTS
from twostream.data.pose import Heatmaps
from twostream.data.pose_estimators import PoseEstimator
from twostream.model_package import CONFIG, WEIGHTS, is_package, load_weights, read_config
from twostream.nets.inspection import attention_matrices
from twostream.nets.warp import WarpGenerator
from twostream.registry import build
from twostream.resume import load_checkpoint

ImageOrImages = Image.Image | Sequence[Image.Image]
CHECKPOINT = Path("checkpoints", "last.ckpt")  # in the folder of a run


class PoseTransfer:
    """A generator with the image size and the heatmaps that it was trained with.

    Joints are (y, x) in pixels, in the order of `twostream.data.keypoints.JOINT_NAMES`; a joint that was not found is
    -1 or NaN. Loading executes nothing that a file says: it holds names of registered options, numbers and tensors.

    Args:
        generator: a trained network, in evaluation mode.
        image_size: height and width in pixels.
        heatmaps: draws joints.
        device: of the generator.
        estimator: finds the joints of source images that are given without.

    """

    def __init__(
        self,
        generator: nn.Module,
        image_size: tuple[int, int],
        heatmaps: Heatmaps,
        device: torch.device,
        estimator: PoseEstimator | None = None,
    ) -> None:
        self.generator = generator
        self.image_size = image_size
        self.heatmaps = heatmaps
        self.device = device
        self.estimator = estimator

    @classmethod
    def load(
        cls, path: str | Path, device: str = "auto", averaged: bool = False, estimator: PoseEstimator | None = None
    ) -> "PoseTransfer":
        """Load a model package, the folder of a run, or one of its checkpoints.

        Args:
            path: a folder of `twostream-export`, `runs/<data>/<scale>/<variant>/seed<k>`, or a `.ckpt` file.
            device: auto, cpu, cuda or cuda:1.
            averaged: the averaged weights of a run with `averaging=ema`.
            estimator: finds the joints of source images that are given without.

        Raises ValueError for a file that is missing, damaged or describes something else than the registered options.

        """
        folder, chosen = Path(path), choose_device(device)
        if is_package(folder):
            model = read_config(folder)
            if averaged and not model["averaged"]:
                raise ValueError(f"{folder}: averaged: expected a package of averaged weights, got one of others")
            generator = build(model["generator"], f"{folder / CONFIG}: generator")
            load_weights(folder / WEIGHTS, generator)
            generator.to(chosen).eval()
        else:
            folder = folder / CHECKPOINT if folder.is_dir() else folder
            checkpoint = load_checkpoint(folder)
            model = checkpoint["hyper_parameters"]["data"]
            generator = load_generator(checkpoint, chosen, averaged)
        height, width = model["image_size"]
        return cls(generator, (height, width), build(model["heatmaps"], f"{folder}: heatmaps"), chosen, estimator)

    @overload
    def __call__(
        self,
        image: ImageOrImages,
        target_joints: ArrayLike,
        source_joints: ArrayLike | None = None,
    ) -> Image.Image: ...

    @overload
    def __call__(self, image: Tensor, target_joints: ArrayLike, source_joints: ArrayLike | None = None) -> Tensor: ...

    @torch.inference_mode()
    def __call__(
        self,
        image: ImageOrImages | Tensor,
        target_joints: ArrayLike,
        source_joints: ArrayLike | None = None,
    ) -> Image.Image | Tensor:
        """Generate the person of an image in another pose.

        Args:
            image: an image of any size; several images of one size and one person, for a network that takes them; or a
                batch of RGB images in 0 to 255, (b, 3, h, w), of the network's size.
            target_joints: (18, 2), in pixels of the image; (b, 18, 2) for a batch.
            source_joints: (18, 2), (n, 18, 2) for several images, (b, 18, 2) for a batch; None for the estimator's.

        Returns:
            An image of the size of `image`, which is scaled and padded for the network; or a batch like `image`.

        Raises ValueError for other shapes, and without `source_joints` and an estimator.

        """
        if isinstance(image, Tensor):
            return self._generate(
                image, self._source_joints(image, source_joints), _as_joints(target_joints, len(image))
            )
        images = [image] if isinstance(image, Image.Image) else list(image)
        if len({one.size for one in images}) != 1:
            sizes = ", ".join(f"{one.height}x{one.width}" for one in images) or "none"
            raise ValueError(f"image: expected images of one size, got {sizes}")
        frame = Frame((images[0].height, images[0].width), self.image_size)
        batch = torch.cat([frame.to_network(one) for one in images])
        sources = self._source_joints(batch, source_joints, frame)
        target = frame.joints_to_network(_as_joints(target_joints, 1))
        if len(images) == 1:
            return frame.from_network(self._generate(batch, sources, target)[0])
        if not isinstance(self.generator, WarpGenerator):
            raise ValueError(f"image: expected one image for {type(self.generator).__name__}, got {len(images)}")
        maps = self._heatmaps(sources)[None], self._heatmaps(target)
        generated = self.generator.generate(to_unit_range(batch.to(self.device))[None], *maps)
        return frame.from_network(to_uint8(generated.float()).cpu()[0])

    @torch.inference_mode()
    def correspondence(
        self, image: Image.Image, target_joints: ArrayLike, source_joints: ArrayLike | None = None
    ) -> dict[str, Float[np.ndarray, "positions sources"]]:
        """Return the attention matrix (Eq. 4) of each AT-block and of a warp by name; rows are target positions.

        Positions number a map of the network's image row by row. Raises TypeError for a generator without any.
        """
        frame = Frame((image.height, image.width), self.image_size)
        batch = frame.to_network(image)
        sources = self._source_joints(batch, source_joints, frame)
        target = frame.joints_to_network(_as_joints(target_joints, 1))
        inputs = to_unit_range(batch.to(self.device)), self._heatmaps(sources), self._heatmaps(target)
        return {
            name: matrix[0].float().cpu().numpy() for name, matrix in attention_matrices(self.generator, inputs).items()
        }

    def _generate(self, images: Tensor, sources: Tensor, targets: Tensor) -> UInt8[Tensor, "b 3 h w"]:
        if tuple(images.shape[1:]) != (3, *self.image_size) or images.dtype != torch.uint8:
            height, width = self.image_size
            got = f"{tuple(images.shape)} of {images.dtype}"
            raise ValueError(f"image: expected uint8 images of shape (b, 3, {height}, {width}), got {got}")
        generated = self.generator(
            to_unit_range(images.to(self.device)), self._heatmaps(sources), self._heatmaps(targets)
        )
        return to_uint8(generated.float()).to(images.device)

    def _heatmaps(self, joints: Tensor) -> Float[Tensor, "b 18 h w"]:
        return self.heatmaps(joints.to(self.device), self.image_size)

    def _source_joints(
        self, images: Tensor, given: ArrayLike | None, frame: "Frame | None" = None
    ) -> Float[Tensor, "b 18 2"]:
        """Return the given joints in the network's frame, or those that the estimator finds in images of its size."""
        if given is not None:
            joints = _as_joints(given, images.shape[0])
            return frame.joints_to_network(joints) if frame else joints
        if self.estimator is None:
            raise ValueError("source_joints: expected the joints of the source, or a pose estimator, got neither")
        return _as_joints(self.estimator(images.cpu()), images.shape[0])


class Frame:
    """The frame of an image and that of a network: the image is scaled to fit, and padded by its own edges."""

    def __init__(self, image_size: tuple[int, int], network_size: tuple[int, int]) -> None:
        self.image_size, self.network_size = image_size, network_size
        self.scale = min(inner / outer for inner, outer in zip(network_size, image_size, strict=True))
        self.size = tuple(max(1, round(side * self.scale)) for side in image_size)
        self.offset = tuple((inner - side) // 2 for inner, side in zip(network_size, self.size, strict=True))

    def to_network(self, image: Image.Image) -> UInt8[Tensor, "1 3 h w"]:
        """Return an image in the network's frame."""
        scaled = image.convert("RGB").resize((self.size[1], self.size[0]), Image.Resampling.BICUBIC, reducing_gap=3)
        pixels = torch.from_numpy(np.array(scaled)).permute(2, 0, 1)[None].float()
        (height, width), (top, left) = self.network_size, self.offset
        margins = (left, width - left - self.size[1], top, height - top - self.size[0])
        return F.pad(pixels, margins, mode="replicate").to(torch.uint8)

    def joints_to_network(self, joints: Float[Tensor, "b 18 2"]) -> Float[Tensor, "b 18 2"]:
        """Return joints of the image as pixels of the network's frame."""
        return (joints + 0.5) * self.scale - 0.5 + torch.tensor(self.offset)

    def from_network(self, image: UInt8[Tensor, "3 h w"]) -> Image.Image:
        """Return a generated image in the frame of the given one."""
        (top, left), (height, width) = self.offset, self.size
        inner = image[:, top : top + height, left : left + width].permute(1, 2, 0).cpu().numpy()
        return Image.fromarray(inner).resize((self.image_size[1], self.image_size[0]), Image.Resampling.BICUBIC)


def load_generator(checkpoint: dict[str, Any], device: torch.device, averaged: bool = False) -> nn.Module:
    """Build a checkpoint's generator with its weights or their average, in evaluation mode.

    Raises ValueError if the checkpoint describes something else than the registered options, see `twostream.registry`,
    and if averaged weights are asked for that it does not have.
    """
    generator = build(checkpoint["hyper_parameters"]["generator"], "generator")
    if averaged and AVERAGED not in checkpoint:
        raise ValueError("averaged: expected a run with averaging=ema, got one without averaged weights")
    prefix = "generator."
    weights = {
        key.removeprefix(prefix): value for key, value in checkpoint["state_dict"].items() if key.startswith(prefix)
    }
    generator.load_state_dict(checkpoint[AVERAGED] if averaged else weights)
    return generator.to(device).eval()


def _as_joints(joints: ArrayLike, count: int) -> Float[Tensor, "b 18 2"]:
    """Return joints as floats (y, x), NaN if missing, with a batch axis."""
    array = np.asarray(joints, np.float32)
    array = array[None] if array.ndim == 2 else array
    if array.shape != (count, NUM_JOINTS, 2):
        raise ValueError(
            f"joints: expected {count} x {NUM_JOINTS} joints ({JOINT_NAMES[0]} to {JOINT_NAMES[-1]}) as (y, x), "
            f"got an array of shape {np.shape(joints)}"
        )
    is_missing = (array == MISSING).any(axis=2, keepdims=True) | np.isnan(array).any(axis=2, keepdims=True)
    return torch.from_numpy(np.where(is_missing, np.float32(np.nan), array))
