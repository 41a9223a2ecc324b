"""The pose pairs of one split of a data folder, and what the networks get of them."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from twostream.data.images import AnnotatedImages
from twostream.data.keypoints import JointArray, read_annotations
from twostream.data.pairs import Pair, read_pairs
from twostream.data.pose import Heatmaps
from twostream.types import ImagePair, PosePair


class PairDataset(Dataset[ImagePair]):
    """Pose pairs of a split's pictures.

    Args:
        pictures: all that the pairs name.
        pairs: names of source and target, at least one pair.

    """

    def __init__(self, pictures: AnnotatedImages, pairs: Sequence[Pair]) -> None:
        self.pictures = pictures
        self.pairs = list(pairs)
        # A tensor, not the list: looking into a list makes loader processes copy it.
        self._places = torch.tensor([[pictures.index_of[name] for name in pair] for pair in pairs])

    @classmethod
    def of_split(cls, root: Path, split: str, image_size: tuple[int, int], in_memory: bool = True) -> "PairDataset":
        """Read the pairs of `split` (`train` or `test`) of a data folder in the field's layout."""
        joints, pairs = read_split(root, split, image_size)
        return cls(AnnotatedImages(root / split, joints, named_in(pairs), image_size, in_memory), pairs)

    @property
    def joints(self) -> dict[str, JointArray]:
        """Picture name -> joints."""
        return self.pictures.joints

    def __len__(self) -> int:
        return len(self.pairs)

    def batch(self, indices: Sequence[int]) -> ImagePair:
        """Return the pairs of `indices` as one batch."""
        return self.pictures.take(self._places[list(indices)])

    # The loader asks for whole batches by this name.
    __getitems__ = batch


def named_in(pairs: Sequence[Pair]) -> list[str]:
    """Return the names of all pictures in the pairs, sorted."""
    return sorted({name for pair in pairs for name in pair})


def read_split(
    root: Path, split: str, image_size: tuple[int, int] | None = None
) -> tuple[dict[str, JointArray], list[Pair]]:
    """Read a split's annotations and pairs.

    Raises ValueError with file and line for what is not of the form, for a pair of an unknown name, for no pairs at all
    and, where the pictures' height and width are given, for x of another frame.
    """
    width = None if image_size is None else image_size[1]
    joints = read_annotations(root / f"annotation-{split}.csv", width)
    return joints, read_pairs(root / f"pairs-{split}.csv", known=joints)


def to_pose_pair(batch: ImagePair, heatmaps: Heatmaps) -> PosePair:
    """Make a batch ready for the networks, on the device where it lies: images to [-1, 1], joints to heatmaps."""
    height, width = batch.source_image.shape[-2:]
    return PosePair(
        source_image=to_unit_range(batch.source_image),
        source_heatmaps=heatmaps(batch.source_joints, (height, width)),
        target_heatmaps=heatmaps(batch.target_joints, (height, width)),
        target_image=to_unit_range(batch.target_image),
    )


def to_unit_range(image: Tensor) -> Float[Tensor, "b 3 h w"]:
    """Map uint8 to [-1, 1]."""
    return image.float() / 127.5 - 1


def to_uint8(image: Float[Tensor, "b 3 h w"]) -> Tensor:
    """Map [-1, 1] to uint8, rounding to the nearest level."""
    return ((image.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
