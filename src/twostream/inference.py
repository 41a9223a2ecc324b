"""A trained network as an object: give it an image of a person and a pose, get that person in that pose."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import ArrayLike
from PIL import Image
from torch import Tensor, nn

from twostream.build import choose_device
from twostream.callbacks.averaging import KEY as AVERAGED
from twostream.data.dataset import to_uint8, to_unit_range
from twostream.data.frame import Frame, check_near
from twostream.data.keypoints import NUM_JOINTS
from twostream.data.pose import Heatmaps, as_joints
from twostream.data.pose_estimators import PoseEstimator
from twostream.model_package import CONFIG, WEIGHTS, find_model, is_package, read_config, read_image_size, read_weights
from twostream.nets.inspection import Inputs, attention_matrices
from twostream.nets.warp import WarpGenerator
from twostream.registry import build, build_as
from twostream.resume import load_checkpoint
from twostream.weights import check_tensors

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
            path: a folder of `twostream-export`, `runs/<data>/<scale>/<variant>/seed<k>`, a `.ckpt` file, or the name
                of a model that comes with the package (`twostream.model_package.packaged_models`).
            device: auto, cpu, cuda or cuda:1.
            averaged: the averaged weights of a run with `averaging=ema`.
            estimator: finds the joints of source images that are given without.

        Raises ValueError for a file that is missing, damaged or describes something else than the registered options.

        """
        folder, chosen = find_model(path), choose_device(device)
        where = described_in(folder)
        if is_package(folder):
            model = read_config(folder)
            if averaged and not model["averaged"]:
                raise ValueError(f"{folder}: averaged: expected a package of averaged weights, got one of others")
            weights = read_weights(folder / WEIGHTS)
            generator = (
                build_generator(model["generator"], weights, f"{where} and {WEIGHTS}: generator").to(chosen).eval()
            )
        else:
            checkpoint = load_checkpoint(where)
            model = checkpoint["hyper_parameters"]["data"]
            generator = load_generator(checkpoint, chosen, averaged, str(where))
        image_size = read_image_size(model, str(where))
        heatmaps = build_as(Callable, model.get("heatmaps"), f"{where}: heatmaps")
        return cls(generator, image_size, heatmaps, chosen, estimator)

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
            image: an image of any size; several images of one person, for a network that takes them; or a batch of RGB
                images in 0 to 255 of the network's size, (b, 3, h, w), or (b, n, 3, h, w) with n of each person.
            target_joints: (18, 2), in pixels of the (first) image; (b, 18, 2) for a batch.
            source_joints: (18, 2), (n, 18, 2) for several images, (b, 18, 2) or (b, n, 18, 2) for a batch; None for the
                estimator's.

        Returns:
            An image of the size of the (first) image, with the generated one in place of what the network saw: all of
            it, or the surroundings of a small person (see `Frame`); or a batch (b, 3, h, w).

        Raises ValueError for other shapes and for joints of another frame, and as `view`.

        """
        if isinstance(image, Tensor):
            self._check_batch(image)
            images = image if image.ndim == 5 else image[:, None]
            target = as_joints(target_joints, image.shape[:1], "target_joints")
            sources = self._batch_joints(image, source_joints).reshape(*images.shape[:2], NUM_JOINTS, 2)
            return self._generate(images, sources, target)
        given: list[Any] = list(image) if isinstance(image, list | tuple) else [image]
        views = self._views(given, source_joints)
        pixels, joints = torch.cat([view.pixels for view in views]), torch.cat([view.joints for view in views])
        frame = views[0].frame
        generated = self._generate(pixels[None], joints[None], _target(frame, target_joints))
        return frame.from_network(generated[0], given[0])

    def view(self, image: Image.Image, joints: ArrayLike | None = None) -> "View":
        """Return what the network sees of a source image with its joints, or with those that the estimator finds.

        Raises TypeError for something else than an image, and ValueError without joints and an estimator, if it finds
        no person, and for joints of another frame.
        """
        if not isinstance(image, Image.Image):
            raise TypeError(f"image: expected a PIL.Image, a list of them or a tensor, got {type(image).__name__}")
        if joints is not None:
            found = as_joints(joints, [1], "source_joints")
        elif self.estimator is not None:
            pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None]
            found = as_joints(self.estimator(pixels), [1], self.estimator.name)
            if found.isnan().all():
                raise ValueError(f"image: expected a person, {self.estimator.name} found none")
        else:
            raise ValueError("source_joints: expected the joints of the source, or a pose estimator, got neither")
        image_size = image.height, image.width
        check_near(found, image_size, self.image_size, "source_joints")
        frame = Frame(image_size, self.image_size, found[0])
        return View(frame, frame.to_network(image), frame.joints_to_network(found))

    def _views(self, images: Sequence[Image.Image], joints: ArrayLike | None) -> list["View"]:
        if not images:
            raise ValueError("image: expected at least one image, got none")
        given = [None] * len(images) if joints is None else as_joints(joints, [len(images)], "source_joints").unbind()
        return [self.view(image, one) for image, one in zip(images, given, strict=True)]

    @torch.inference_mode()
    def correspondence(
        self, image: Image.Image, target_joints: ArrayLike, source_joints: ArrayLike | None = None
    ) -> dict[str, Float[np.ndarray, "positions sources"]]:
        """Return the attention matrix (Eq. 4) of each AT-block and of a warp by name; rows are target positions.

        Positions number a map of the network's image row by row. Raises TypeError for a generator without any.
        """
        view = self.view(image, source_joints)
        target = _target(view.frame, target_joints)
        matrices = attention_matrices(self.generator, self.inputs(view.pixels, view.joints, target))
        return {name: matrix[0].float().cpu().numpy() for name, matrix in matrices.items()}

    def inputs(
        self,
        images: UInt8[Tensor, "b 3 h w"],
        source_joints: Float[Tensor, "b 18 2"],
        target_joints: Float[Tensor, "b 18 2"],
    ) -> Inputs:
        """Return the generator's arguments, on its device; joints are in the network's frame."""
        return to_unit_range(images.to(self.device)), self._heatmaps(source_joints), self._heatmaps(target_joints)

    def _generate(self, images: Tensor, sources: Tensor, targets: Tensor) -> UInt8[Tensor, "b 3 h w"]:
        """Generate people with one or several sources each: (b, n, 3, h, w) with joints (b, n, 18, 2)."""
        num_sources = images.shape[1]
        if num_sources == 1:
            generated = self.generator(*self.inputs(images[:, 0], sources[:, 0], targets))
        elif isinstance(self.generator, WarpGenerator):
            maps = self._heatmaps(sources.flatten(0, 1)).unflatten(0, (-1, num_sources))
            generated = self.generator.generate(to_unit_range(images.to(self.device)), maps, self._heatmaps(targets))
        else:
            raise ValueError(f"image: expected one image for {type(self.generator).__name__}, got {num_sources}")
        return to_uint8(generated.float()).to(images.device)

    def _heatmaps(self, joints: Tensor) -> Float[Tensor, "b 18 h w"]:
        return self.heatmaps(joints.to(self.device), self.image_size)

    def _check_batch(self, images: Tensor) -> None:
        is_of_size = images.ndim in (4, 5) and tuple(images.shape[-3:]) == (3, *self.image_size)
        if not is_of_size or images.dtype != torch.uint8 or images.numel() == 0:
            height, width = self.image_size
            got = f"{tuple(images.shape)} of {images.dtype}"
            raise ValueError(f"image: expected uint8 images of shape (b, 3, {height}, {width}), got {got}")

    def _batch_joints(self, images: Tensor, given: ArrayLike | None) -> Float[Tensor, "*b 18 2"]:
        """Return the given joints of a batch of the network's size, or those that the estimator finds."""
        count = images.shape[:-3]
        if given is None:
            if self.estimator is None:
                raise ValueError("source_joints: expected the joints of the sources, or a pose estimator, got neither")
            given = self.estimator(images.flatten(0, -4).cpu()).reshape(*count, NUM_JOINTS, 2)
        return as_joints(given, count, "source_joints")


class View(NamedTuple):
    """What a network sees of a source image."""

    frame: Frame
    pixels: UInt8[Tensor, "1 3 h w"]
    joints: Float[Tensor, "1 18 2"]  # in the network's frame


def described_in(model: Path) -> Path:
    """Return the file that says what a model is: a package's config, with the hash of its weights, or a checkpoint."""
    if is_package(model):
        return model / CONFIG
    return model / CHECKPOINT if model.is_dir() else model


def load_generator(
    checkpoint: dict[str, Any], device: torch.device, averaged: bool = False, where: str = "checkpoint"
) -> nn.Module:
    """Build a checkpoint's generator with its weights or their average, in evaluation mode.

    Raises ValueError, beginning with `where`, if the checkpoint describes something else than the registered options,
    see `twostream.registry`, or if a weight is missing, has another shape or dtype or is not finite; and if averaged
    weights are asked for that it does not have.
    """
    if averaged and AVERAGED not in checkpoint:
        raise ValueError("averaged: expected a run with averaging=ema, got one without averaged weights")
    prefix = "generator."
    weights = {
        key.removeprefix(prefix): value for key, value in checkpoint["state_dict"].items() if key.startswith(prefix)
    }
    description, chosen = checkpoint["hyper_parameters"]["generator"], checkpoint[AVERAGED] if averaged else weights
    return build_generator(description, chosen, f"{where}: generator").to(device).eval()


def build_generator(description: Any, weights: Any, where: str) -> nn.Module:
    """Build a generator with its weights.

    It takes memory only if names, shapes and dtypes of the weights are those of the description. Raises ValueError,
    beginning with `where`, if they are not, if a weight is not finite, and if the description is not of a network.
    """
    try:
        with torch.device("meta"):
            sketch = build_as(nn.Module, description, where)
    except ValueError as error:
        text = str(error)
        raise ValueError(text if text.startswith(where) else f"{where}: {text}") from None
    # Of sizes that no tensor can have.
    except (RuntimeError, OverflowError, TypeError) as error:
        raise ValueError(f"{where}: expected a network that can be built, got: {error}".splitlines()[0]) from None
    check_tensors(weights, sketch.state_dict(), f"{where}: weights")
    generator: nn.Module = build(description, where)
    generator.load_state_dict(weights)
    return generator


def _target(frame: Frame, joints: ArrayLike) -> Float[Tensor, "1 18 2"]:
    """Return target joints in the network's frame."""
    target = as_joints(joints, [1], "target_joints")
    check_near(target, frame.image_size, frame.network_size, "target_joints")
    return frame.joints_to_network(target)
