"""The pose pairs of a data folder: annotated images, a data set of pairs, and what the networks receive."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from twostream.data.augment import Augmentation
from twostream.data.images import check_headers, decode_images, read_image
from twostream.data.keypoints import JointArray, JointFrame, read_annotations
from twostream.data.manifest import unless_passed
from twostream.data.pairs import Pair, read_pairs
from twostream.data.pose import Heatmaps, joints_to_tensor
from twostream.data.sampling import SampledPair
from twostream.types import ImagePair, PosePair


class AnnotatedImages:
    """Images with their joints, by index.

    A missing, unreadable or wrongly sized image is found in the constructor, which decodes every image, or reads the
    headers of images that are not kept in memory, once for files of one hash. Loader processes share the memory.

    Args:
        folder: of the images.
        joints: image name -> joints, in the order of the images' indices.
        image_size: height and width in pixels.
        in_memory: keep the decoded images as uint8; otherwise they are read from disk each time.

    Raises:
        ValueError: images can't be used (one error for all), or they exceed the memory.
    """

    def __init__(
        self, folder: Path, joints: dict[str, JointArray], image_size: tuple[int, int], in_memory: bool = True
    ) -> None:
        self.joints = joints
        self.index_of = {name: index for index, name in enumerate(joints)}
        self._folder, self._names = folder, list(joints)
        self._image_size = image_size
        self._joints = torch.stack([joints_to_tensor(array) for array in joints.values()])
        self._images = _allocate(len(joints), image_size) if in_memory else None
        if self._images is not None:
            decode_images([folder / name for name in joints], image_size, self._images)
        else:
            check_sizes(folder, self._names, image_size)

    def __len__(self) -> int:
        return len(self._names)

    def gather(self, indices: Int[Tensor, "b 2"]) -> ImagePair:
        """Return pairs by the indices of source and target, on the device of the images."""
        source, target = indices.unbind(dim=1)
        return ImagePair(self._gather(source), self._joints[source], self._gather(target), self._joints[target])

    def move_to(self, device: torch.device) -> None:
        """Move the images, which must be in memory, and their joints to a device."""
        assert self._images is not None
        self._images, self._joints = self._images.to(device), self._joints.to(device)

    def _gather(self, indices: Int[Tensor, "b"]) -> UInt8[Tensor, "b 3 h w"]:
        if self._images is not None:
            return self._images[indices]
        images = [read_image(self._folder / self._names[index], self._image_size) for index in indices.tolist()]
        return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()


def check_sizes(folder: Path, names: Sequence[str], image_size: tuple[int, int]) -> None:
    """Check the height and width of images by their headers, unless that has passed for this data folder.

    Raises ValueError for images that can't be used: one error for all.
    """
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
    with unless_passed(folder.parent, f"{folder.name} {image_size} {digest}") as has_passed:
        if not has_passed:
            check_headers([folder / name for name in names], image_size)


def _allocate(count: int, image_size: tuple[int, int]) -> UInt8[Tensor, "n 3 h w"]:
    needed = count * 3 * image_size[0] * image_size[1]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        raise ValueError(
            f"data.cache: expected at most the {memory / 1e9:.1f} GB of this machine's memory, got {count} images of "
            f"{needed / 1e9:.1f} GB; data.cache=none reads them from disk"
        )
    return torch.empty(count, 3, *image_size, dtype=torch.uint8)


@dataclass(eq=False)
class PairDataset(Dataset[ImagePair]):
    """Pose pairs of a split."""

    images: AnnotatedImages  # all images of the pairs
    pairs: Sequence[Pair]  # names of source and target, at least one pair
    augmentation: Augmentation | None = None  # of sampled pairs; None leaves them unchanged
    seed: int = 0  # of the augmentation

    def __post_init__(self) -> None:
        # Loader processes would copy a list, whose elements are counted at each access.
        self._indices = torch.tensor([[self.images.index_of[name] for name in pair] for pair in self.pairs])

    @classmethod
    def of_split(cls, root: Path, split: str, image_size: tuple[int, int], in_memory: bool = True) -> "PairDataset":
        """Read the pairs of `split` (`train` or `test`) of a data folder."""
        joints, pairs = read_split(root, split, image_size)
        joints = {name: joints[name] for name in image_names(pairs)}
        return cls(AnnotatedImages(root / split, joints, image_size, in_memory), pairs)

    @property
    def joints(self) -> dict[str, JointArray]:
        """Image name -> joints."""
        return self.images.joints

    def __len__(self) -> int:
        return len(self.pairs)

    def batch(self, indices: Sequence[int]) -> ImagePair:
        """Return the pairs of `indices` as one batch, without augmentation."""
        return self.images.gather(self._indices[list(indices)])

    def __getitem__(self, samples: Sequence[SampledPair]) -> ImagePair:
        """Return sampled pairs as one batch, augmented."""
        batch = self.batch([sample.pair_index for sample in samples])
        if self.augmentation is None or not self.augmentation.is_on:
            return batch
        augmented = [
            self.augmentation(ImagePair(*tensors), self.seed, sample.epoch, sample.position)
            for sample, tensors in zip(samples, zip(*batch, strict=True), strict=True)
        ]
        return ImagePair(*(torch.stack(tensors) for tensors in zip(*augmented, strict=True)))


def image_names(pairs: Sequence[Pair]) -> list[str]:
    """Return the sorted names of all images in the pairs."""
    return sorted({name for pair in pairs for name in pair})


def read_split(root: Path, split: str, image_size: tuple[int, int]) -> tuple[dict[str, JointArray], list[Pair]]:
    """Read the annotations and pairs of a split.

    Raises ValueError with file and line for a malformed line, a pair of an unknown name, a file without pairs, and
    joints of another frame than images of this height and width.
    """
    joints = read_annotations(root / f"annotation-{split}.csv", JointFrame(*image_size))
    return joints, read_pairs(root / f"pairs-{split}.csv", known=joints)


def to_pose_pair(batch: ImagePair, heatmaps: Heatmaps) -> PosePair:
    """Convert a batch for the networks, on its device: images to [-1, 1], joints to heatmaps."""
    height, width = batch.source_image.shape[-2:]
    return PosePair(
        source_image=to_unit_range(batch.source_image),
        source_heatmaps=heatmaps(batch.source_joints, (height, width)),
        target_heatmaps=heatmaps(batch.target_joints, (height, width)),
        target_image=to_unit_range(batch.target_image),
    )


def to_unit_range(image: Tensor) -> Float[Tensor, "*b 3 h w"]:
    """Map uint8 to [-1, 1]."""
    return image.float() / 127.5 - 1


def to_uint8(image: Float[Tensor, "b 3 h w"]) -> Tensor:
    """Map [-1, 1] to uint8, rounded to the nearest level."""
    return ((image.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
