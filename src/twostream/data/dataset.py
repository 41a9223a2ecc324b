"""The pose pairs of one split of a data folder, decoded into memory."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset

from twostream.data.annotations import JointArray, read_annotations
from twostream.data.pairs import Pair, read_pairs
from twostream.data.pose import gaussian_heatmaps, joints_to_tensor
from twostream.types import PictureBatch, PosePair


class PairDataset(Dataset[PictureBatch]):
    """Pose pairs of the pictures in `folder`; each picture that a pair names is decoded once and kept as uint8.

    Args:
        folder: pictures, all of `image_size` (height, width).
        joints: picture name -> joints.
        pairs: names of source and target.
        image_size: height and width in pixels.

    Raises ValueError for a pair without annotation and for a picture that is missing, unreadable or of another size.

    """

    def __init__(
        self, folder: Path, joints: dict[str, JointArray], pairs: Sequence[Pair], image_size: tuple[int, int]
    ) -> None:
        if not pairs:
            raise ValueError(f"{folder}: expected at least one pose pair, got none")
        names = sorted({name for pair in pairs for name in pair})
        unknown = [name for name in names if name not in joints]
        if unknown:
            raise ValueError(f"{folder}: {len(unknown)} pictures of the pairs have no annotation, first {unknown[0]!r}")
        self.pairs = list(pairs)
        self.joints = {name: joints[name] for name in names}
        self._index = {name: index for index, name in enumerate(names)}
        self._pictures = torch.stack([_read_picture(folder / name, image_size) for name in names])
        self._joints = torch.stack([joints_to_tensor(joints[name]) for name in names])

    @classmethod
    def of_split(cls, root: Path, split: str, image_size: tuple[int, int]) -> "PairDataset":
        """Read the pairs of `split` (`train` or `test`) of a data folder in the field's layout."""
        return cls(root / split, *read_split(root, split), image_size)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> PictureBatch:
        """Return one pair, without a batch axis."""
        source, target = (self._index[name] for name in self.pairs[index])
        return PictureBatch(self._pictures[source], self._joints[source], self._pictures[target], self._joints[target])

    def batch(self, indices: Sequence[int]) -> PictureBatch:
        """Return the pairs of `indices` as one batch."""
        return PictureBatch(*(torch.stack(tensors) for tensors in zip(*(self[i] for i in indices), strict=True)))


def read_split(root: Path, split: str) -> tuple[dict[str, JointArray], list[Pair]]:
    """Read a split's annotations and pairs."""
    return read_annotations(root / f"annotation-{split}.csv"), read_pairs(root / f"pairs-{split}.csv")


def to_pose_pair(batch: PictureBatch, heatmap_sigma: float) -> PosePair:
    """Make a batch ready for the networks, on the device where it lies: images to [-1, 1], joints to heatmaps."""
    height, width = batch.source_image.shape[-2:]
    return PosePair(
        source_image=to_unit_range(batch.source_image),
        source_heatmaps=gaussian_heatmaps(batch.source_joints, (height, width), heatmap_sigma),
        target_heatmaps=gaussian_heatmaps(batch.target_joints, (height, width), heatmap_sigma),
        target_image=to_unit_range(batch.target_image),
    )


def to_unit_range(image: Tensor) -> Float[Tensor, "b 3 h w"]:
    """Map uint8 to [-1, 1]."""
    return image.float() / 127.5 - 1


def to_uint8(image: Float[Tensor, "b 3 h w"]) -> Tensor:
    """Map [-1, 1] to uint8, rounding to the nearest level."""
    return ((image.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def _read_picture(path: Path, image_size: tuple[int, int]) -> Tensor:
    try:
        with Image.open(path) as file:
            picture = np.asarray(file.convert("RGB"))
    except FileNotFoundError:
        raise ValueError(f"{path}: the picture is named in the pairs but is not there") from None
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"{path}: the picture can't be read: {error}") from error
    if picture.shape[:2] != image_size:
        expected, got = ("x".join(map(str, size)) for size in (image_size, picture.shape[:2]))
        raise ValueError(f"{path}: expected a picture of height x width {expected}, got {got}")
    return torch.from_numpy(picture.transpose(2, 0, 1).copy())
