"""The pose pairs of one split of a data folder, decoded into memory."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from twostream.data.annotations import JointArray, read_annotations
from twostream.data.pairs import Pair, read_pairs
from twostream.data.pose import gaussian_heatmaps, joints_to_tensor
from twostream.types import PictureBatch, PosePair

# Pictures that take seconds to decode: the least number with a progress bar.
MANY_PICTURES = 2000
NUM_LISTED = 10


class PairDataset(Dataset[PictureBatch]):
    """Pose pairs of the pictures in `folder`; each picture that a pair names is decoded once and kept as uint8.

    Args:
        folder: pictures, all of `image_size` (height, width).
        joints: picture name -> joints.
        pairs: names of source and target.
        image_size: height and width in pixels.

    Raises ValueError for a pair without annotation, and one for all pictures that are missing, unreadable or of another
    size.

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
        self._pictures = _read_pictures(folder, names, image_size)
        self._joints = torch.stack([joints_to_tensor(joints[name]) for name in names])

    @classmethod
    def of_split(cls, root: Path, split: str, image_size: tuple[int, int]) -> "PairDataset":
        """Read the pairs of `split` (`train` or `test`) of a data folder in the field's layout."""
        return cls(root / split, *read_split(root, split, image_size), image_size)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> PictureBatch:
        """Return one pair, without a batch axis."""
        source, target = (self._index[name] for name in self.pairs[index])
        return PictureBatch(self._pictures[source], self._joints[source], self._pictures[target], self._joints[target])

    def batch(self, indices: Sequence[int]) -> PictureBatch:
        """Return the pairs of `indices` as one batch."""
        return PictureBatch(*(torch.stack(tensors) for tensors in zip(*(self[i] for i in indices), strict=True)))


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


def _read_pictures(folder: Path, names: Sequence[str], image_size: tuple[int, int]) -> UInt8[Tensor, "n 3 h w"]:
    pictures = torch.empty(len(names), 3, *image_size, dtype=torch.uint8)
    wrong = []
    bar = tqdm(names, desc=f"Read {folder.name}", unit="image", disable=len(names) <= MANY_PICTURES)
    for index, name in enumerate(bar):
        try:
            pictures[index] = _read_picture(folder / name, image_size)
        except ValueError as error:
            wrong.append(str(error))
    if wrong:
        listed = [*wrong[:NUM_LISTED], *([f"and {len(wrong) - NUM_LISTED} more"] if len(wrong) > NUM_LISTED else [])]
        raise ValueError("\n".join([f"{folder}: {len(wrong)} of {len(names)} pictures can't be used:", *listed]))
    return pictures


def _read_picture(path: Path, image_size: tuple[int, int]) -> UInt8[Tensor, "3 h w"]:
    try:
        with Image.open(path) as file:
            size = (file.height, file.width)
            # A picture that claims to be huge is not decoded.
            picture = np.asarray(file.convert("RGB")) if size == image_size else None
    except FileNotFoundError:
        raise ValueError(f"{path}: the picture is named in the pairs but is not there") from None
    # Pillow's decoders answer broken bytes with errors of many kinds.
    except Exception as error:
        raise ValueError(f"{path}: the picture can't be read: {error}") from error
    if picture is None:
        expected, got = ("x".join(map(str, size)) for size in (image_size, size))
        raise ValueError(f"{path}: expected a picture of height x width {expected}, got {got}")
    return torch.from_numpy(picture.transpose(2, 0, 1).copy())
