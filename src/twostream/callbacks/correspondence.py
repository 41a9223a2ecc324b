"""Pictures of where the AT-blocks look while training."""

from pathlib import Path

import torch
from PIL import Image
from pytorch_lightning import Callback, LightningModule, Trainer

from twostream.data.datamodule import PairDataModule
from twostream.data.dataset import to_pose_pair, to_uint8
from twostream.data.pose import Heatmaps
from twostream.data.visualize import BlockView, correspondence_strip, points_of, positions_of_points, stacked
from twostream.files import atomic_write
from twostream.module import TwoStreamModule
from twostream.nets.generator import TwoStreamGenerator
from twostream.types import ImagePair

STRIDE = 4
"""Pixels along a side of a position of the AT-modules' map."""
FOOTNOTE = "dot: where D is highest; ring: the joint itself; matched: the source's patches put where they match"


class CorrespondencePictures(Callback):
    """Draws the correspondence of validation pairs to `samples/correspondence_<iteration>.png` after each validation.

    The pairs are always the same. Draws nothing for a generator without AT-modules.
    """

    def __init__(self, run_dir: str | Path, num_pairs: int) -> None:
        self.folder = Path(run_dir) / "samples"
        self.num_pairs = num_pairs

    @torch.no_grad()
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the pairs and write the picture."""
        assert isinstance(pl_module, TwoStreamModule)
        generator = pl_module.generator
        if not (trainer.is_global_zero and isinstance(generator, TwoStreamGenerator) and generator.has_at_modules):
            return
        data: PairDataModule = trainer.datamodule  # type: ignore[attr-defined]
        count = min(self.num_pairs, len(data.val))
        strips = [
            draw_pair(generator, data.val.batch([i * len(data.val) // count]).to(pl_module.device), data.heatmaps)
            for i in range(count)
        ]
        path = self.folder / f"correspondence_{trainer.global_step:06d}.png"
        with atomic_write(path) as temporary:
            stacked(strips, FOOTNOTE).save(temporary)
        for logger in trainer.loggers:
            if hasattr(logger, "log_image"):
                logger.log_image("correspondence", [str(path)], step=trainer.global_step)


def draw_pair(generator: TwoStreamGenerator, batch: ImagePair, heatmaps: Heatmaps) -> Image.Image:
    """Draw where the AT-blocks look for the points of a batch of one pair, which lies where the generator is."""
    pair = to_pose_pair(batch, heatmaps)
    inputs = pair.source_image, pair.source_heatmaps, pair.target_heatmaps
    generated = to_uint8(generator(*inputs).float()).cpu()[0]
    alone = ImagePair(*(tensor.cpu()[0] for tensor in batch))
    height, width = generated.shape[-2:]
    map_size = (height // STRIDE, width // STRIDE)
    points = points_of(alone.target_joints, (height, width))
    positions = positions_of_points(alone.target_joints[points], map_size, (height, width)).to(
        batch.source_image.device
    )
    # Of D, which has the square of the map's positions, only what is drawn leaves the device.
    blocks = [
        BlockView(d[0, positions.to(d.device)].float().cpu(), d[0].argmax(dim=1).cpu())
        for d in generator.correspondences(*inputs)
    ]
    return correspondence_strip(alone, generated, points, blocks, map_size)
