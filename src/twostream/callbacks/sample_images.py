"""Draw validation pairs during training: generated images, and the correspondences in the generator."""

from pathlib import Path

import torch
from PIL import Image
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn
from typing_extensions import override

from twostream.callbacks import data_of, module_of
from twostream.data.dataset import to_pose_pair, to_uint8
from twostream.data.pairs import spread
from twostream.data.pose import Heatmaps
from twostream.data.visualize import (
    CORRESPONDENCE_FOOTNOTE,
    View,
    correspondence_strip,
    points_of,
    sample_grid,
    stacked,
)
from twostream.files import atomic_write
from twostream.metrics.correspondence import positions_of
from twostream.module import TwoStreamModule
from twostream.nets.inspection import attention_matrices, correspondences, map_size
from twostream.types import ImagePair


class SampleImages(Callback):
    """Draws validation pairs, always the same, to `samples/<iteration>.png` after each validation.

    A row shows source image, source pose, target pose, true target image and generated image.
    """

    name = "samples"  # in the loggers
    prefix = ""  # of the file's name

    def __init__(self, run_dir: str | Path, num_pairs: int) -> None:
        if num_pairs < 1:
            raise ValueError(f"{type(self).__name__}: num_pairs: expected at least 1, got {num_pairs}")
        self.folder = Path(run_dir) / "samples"
        self.num_pairs = num_pairs

    @override
    @torch.no_grad()
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data, module = data_of(trainer), module_of(trainer)
        if not trainer.is_global_zero:
            return
        batch = data.val.batch(spread(len(data.val), self.num_pairs))
        path = self.folder / f"{self.prefix}{module.iteration:06d}.png"
        with atomic_write(path) as temporary:
            self.draw(module, batch.to(module.device), data.heatmaps).save(temporary)
        for logger in trainer.loggers:
            if hasattr(logger, "log_image"):
                logger.log_image(self.name, [str(path)], step=module.iteration)

    def draw(self, module: TwoStreamModule, batch: ImagePair, heatmaps: Heatmaps) -> Image.Image:
        """Draw a batch on the module's device."""
        generated = module(to_pose_pair(batch, heatmaps)).float()
        return sample_grid(batch.to(torch.device("cpu")), to_uint8(generated).cpu())


class CorrespondenceImages(SampleImages):
    """Draws where the AT-blocks attend in validation pairs to `samples/correspondence_<iteration>.png`.

    It does so after each validation, for the same pairs each time; never for a generator without any.
    """

    name = "correspondence"
    prefix = "correspondence_"

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if correspondences(module_of(trainer).generator):
            super().on_validation_end(trainer, pl_module)

    @override
    def draw(self, module: TwoStreamModule, batch: ImagePair, heatmaps: Heatmaps) -> Image.Image:
        pairs = [ImagePair(*tensors) for tensors in zip(*(tensor.split(1) for tensor in batch), strict=True)]
        return stacked(
            [draw_correspondence(module.generator, pair, heatmaps) for pair in pairs], CORRESPONDENCE_FOOTNOTE
        )


def draw_correspondence(generator: nn.Module, batch: ImagePair, heatmaps: Heatmaps) -> Image.Image:
    """Draw the attention of each AT-block and of a warp at the joints of the target pose, for a batch of one pair."""
    pair = to_pose_pair(batch, heatmaps)
    inputs = pair.source_image, pair.source_heatmaps, pair.target_heatmaps
    generated = to_uint8(generator(*inputs).float()).cpu()[0]
    images = ImagePair(*(tensor.cpu()[0] for tensor in batch))
    image_size = (generated.shape[1], generated.shape[2])
    points = points_of(images.target_joints, image_size)
    pixels = images.target_joints[points].round().long().numpy()
    views = {}
    for name, attention in attention_matrices(generator, inputs).items():
        size = map_size(attention.shape[1], image_size)
        # Attention matrices are large: only the rows that are drawn leave the device.
        rows = attention[0, torch.from_numpy(positions_of(pixels, image_size, size)).to(attention.device)]
        views[name] = View(rows.float().cpu(), attention[0].argmax(dim=1).cpu(), size)
    return correspondence_strip(images, generated, points, views)
