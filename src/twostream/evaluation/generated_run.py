"""A finished run and the pairs of a split: what it is given and what it generates."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from twostream.data.datamodule import PairDataModule, images_of
from twostream.data.dataset import PairDataset
from twostream.data.pairs import Pair, identity_of, image_name, spread
from twostream.inference import PoseTransfer
from twostream.nets.inspection import Inputs


@dataclass(frozen=True)
class GeneratedRun:
    """A finished run with the images of all pairs of a split."""

    folder: Path  # contains the images and what is computed from them
    record: dict[str, Any]
    model: PoseTransfer
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

    def inputs(self, indices: Sequence[int]) -> Inputs:
        """Return the generator's arguments for some pairs."""
        pair = self.dataset.batch(indices)
        return self.model.inputs(pair.source_image, pair.source_joints, pair.target_joints)

    def generate(self, indices: Sequence[int]) -> UInt8[Tensor, "b 3 h w"]:
        """Return the generated images of some pairs."""
        pair = self.dataset.batch(indices)
        sources = [(pair.source_image, pair.source_joints)]
        if self.num_sources > 1:
            names = zip(*(self.more_sources(index) for index in indices), strict=True)
            sources += [self._images_of(one_each) for one_each in names]
        images, joints = (torch.stack(tensors, dim=1) for tensors in zip(*sources, strict=True))
        return self.model(images, pair.target_joints, joints)

    def _images_of(self, names: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return images of the data set by name, and their joints."""
        of_names = torch.tensor([[self.dataset.images.index_of[name]] * 2 for name in names])
        pair = self.dataset.images.gather(of_names)
        return pair.source_image, pair.source_joints

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
