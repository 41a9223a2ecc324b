"""A finished run and the pairs of a split: what it is given and what it generates."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from twostream.data.datamodule import PairDataModule, images_of
from twostream.data.dataset import PairDataset, to_pose_pair
from twostream.data.pairs import Pair, identity_of, image_name, spread
from twostream.nets.inspection import Inputs
from twostream.nets.warp import WarpGenerator


@dataclass(frozen=True)
class GeneratedRun:
    """A finished run with the images of all pairs of a split."""

    folder: Path  # contains the images and what is computed from them
    record: dict[str, Any]
    generator: nn.Module
    data: PairDataModule
    split: str  # test or val
    dataset: PairDataset  # the pairs of the split
    num_sources: int = 1  # source images of each person

    @property
    def grid(self) -> Path:
        """Path of the image with some of the pairs."""
        return self.folder / "samples" / f"{self.split}.png"

    @property
    def true_images(self) -> Path:
        """The folder of the true images."""
        return self.data.folder / images_of(self.split)

    def image_path(self, pair: Pair) -> Path:
        """Return the path of a pair's generated image."""
        return self.folder / "images" / image_name(pair)

    def spread(self, count: int) -> list[int]:
        """Return the indices of at most `count` pairs at equal distances."""
        return spread(len(self.dataset), count)

    def inputs(self, indices: Sequence[int], device: torch.device) -> Inputs:
        """Return the generator's arguments for some pairs."""
        pair = to_pose_pair(self.dataset.batch(indices).to(device), self.data.heatmaps)
        return pair.source_image, pair.source_heatmaps, pair.target_heatmaps

    def generate(self, indices: Sequence[int], device: torch.device) -> Tensor:
        """Return the generated images of some pairs, in [-1, 1]."""
        inputs = self.inputs(indices, device)
        if self.num_sources == 1:
            return self.generator(*inputs)
        assert isinstance(self.generator, WarpGenerator)
        names = zip(*(self.more_sources(index) for index in indices), strict=True)
        more = [self.inputs_of(one_each, device) for one_each in names]
        images, heatmaps = (torch.stack(tensors, dim=1) for tensors in zip(inputs[:2], *more, strict=True))
        return self.generator.generate(images, heatmaps, inputs[2])

    def inputs_of(self, names: Sequence[str], device: torch.device) -> tuple[Tensor, Tensor]:
        """Return images in [-1, 1] and heatmaps of images of the data set by name."""
        of_names = torch.tensor([[self.dataset.images.index_of[name]] * 2 for name in names])
        pair = to_pose_pair(self.dataset.images.gather(of_names).to(device), self.data.heatmaps)
        return pair.source_image, pair.source_heatmaps

    def more_sources(self, index: int) -> list[str]:
        """Return the further source images of a pair: random ones of the person, without its source and its target.

        Those of fewer sources are among those of more. Raises ValueError if the data set has too few.
        """
        pair = self.dataset.pairs[index]
        names = [name for name in sorted(self.dataset.joints) if identity_of(name) == identity_of(pair[0])]
        others = [name for name in names if name not in pair]
        if len(others) < self.num_sources - 1:
            expected = f"expected {self.num_sources - 1} more images of the person in {pair[0]}"
            raise ValueError(f"num_sources: {expected}, got {len(others)}")
        chosen = np.random.default_rng([index]).permutation(len(others))[: self.num_sources - 1]
        return [others[position] for position in chosen]
