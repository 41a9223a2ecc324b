"""Draw validation pairs during training: generated images, and the correspondence of the AT-modules."""

from pathlib import Path

import torch
from PIL import Image
from pytorch_lightning import Callback, LightningModule, Trainer
from typing_extensions import override

from twostream.callbacks import data_of, module_of
from twostream.data.dataset import to_pose_pair, to_uint8
from twostream.data.pose import Heatmaps
from twostream.data.visualize import (
    BlockView,
    correspondence_strip,
    points_of,
    positions_of_points,
    sample_grid,
    stacked,
)
from twostream.files import atomic_write
from twostream.nets.generator import TwoStreamGenerator
from twostream.types import ImagePair

STRIDE = 4  # pixels per position of the AT-modules' feature maps
FOOTNOTE = "dot: maximum of the attention matrix; ring: the joint itself; matched: source patches at their best match"


class SampleImages(Callback):
    """Draws validation pairs, always the same, to `samples/<iteration>.png` after each validation.

    A row shows source image, source pose, target pose, true target image and generated image.
    """

    def __init__(self, run_dir: str | Path, num_pairs: int) -> None:
        self.folder = Path(run_dir) / "samples"
        self.num_pairs = num_pairs

    @override
    @torch.no_grad()
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        data, module = data_of(trainer), module_of(trainer)
        batch = data.val.batch(evenly_spaced(len(data.val), self.num_pairs))
        pair = to_pose_pair(batch.to(module.device), data.heatmaps)
        generated = to_uint8(module(pair).float()).cpu()
        image = sample_grid(batch.to(torch.device("cpu")), generated)
        save_image(trainer, image, self.folder / f"{module.iteration:06d}.png", "samples")


class CorrespondenceImages(Callback):
    """Draws the correspondence of validation pairs to `samples/correspondence_<iteration>.png` after each validation.

    The pairs are always the same. Without AT-modules nothing is drawn.
    """

    def __init__(self, run_dir: str | Path, num_pairs: int) -> None:
        self.folder = Path(run_dir) / "samples"
        self.num_pairs = num_pairs

    @override
    @torch.no_grad()
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data, module = data_of(trainer), module_of(trainer)
        generator = module.generator
        if not (trainer.is_global_zero and isinstance(generator, TwoStreamGenerator) and generator.has_at_modules):
            return
        strips = [
            draw_correspondence(generator, data.val.batch([index]).to(module.device), data.heatmaps)
            for index in evenly_spaced(len(data.val), self.num_pairs)
        ]
        path = self.folder / f"correspondence_{module.iteration:06d}.png"
        save_image(trainer, stacked(strips, FOOTNOTE), path, "correspondence")


def draw_correspondence(generator: TwoStreamGenerator, batch: ImagePair, heatmaps: Heatmaps) -> Image.Image:
    """Draw the attention of each AT-block at the joints of the target pose.

    Args:
        generator: with AT-modules.
        batch: one pair, on the generator's device.
        heatmaps: of a pose.

    """
    pair = to_pose_pair(batch, heatmaps)
    inputs = pair.source_image, pair.source_heatmaps, pair.target_heatmaps
    generated = to_uint8(generator(*inputs).float()).cpu()[0]
    images = ImagePair(*(tensor.cpu()[0] for tensor in batch))
    height, width = generated.shape[-2:]
    map_size = (height // STRIDE, width // STRIDE)
    points = points_of(images.target_joints, (height, width))
    positions = positions_of_points(images.target_joints[points], map_size, (height, width))
    positions = positions.to(batch.source_image.device)
    # Attention matrices are large: only the rows that are drawn leave the device.
    blocks = [
        BlockView(attention[0, positions].float().cpu(), attention[0].argmax(dim=1).cpu())
        for attention in generator.correspondences(*inputs)
    ]
    return correspondence_strip(images, generated, points, blocks, map_size)


def evenly_spaced(length: int, count: int) -> list[int]:
    """Return up to `count` evenly spaced indices of a sequence."""
    count = min(count, length)
    return [i * length // count for i in range(count)]


def save_image(trainer: Trainer, image: Image.Image, path: Path, name: str) -> None:
    """Save an image atomically and give it to the loggers that show images."""
    with atomic_write(path) as temporary:
        image.save(temporary)
    for logger in trainer.loggers:
        if hasattr(logger, "log_image"):
            logger.log_image(name, [str(path)], step=module_of(trainer).iteration)
