"""Pose pairs for training and validation, counted in iterations."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from pytorch_lightning import LightningDataModule
from torch.nn.functional import avg_pool2d
from torch.utils.data import BatchSampler, DataLoader
from typing_extensions import override

from twostream.data.augment import Augmentation
from twostream.data.dataset import AnnotatedImages, PairDataset, check_sizes, image_names, read_split, to_pose_pair
from twostream.data.manifest import read_manifest, verify
from twostream.data.pairs import Pair, check_image_names, split_identities
from twostream.data.pose import Heatmaps
from twostream.data.sampling import PairStream, SampledPair
from twostream.types import ImagePair, PosePair

CACHES = ("auto", "none", "ram", "device")
MAX_SIDE = 4096  # pixels of an image
MIN_JOINT = 0.1  # pixels of a drawn joint
COUNTS = ("batch_size", "num_val_identities", "num_val_pairs", "joint_size", "pairs_per_epoch")


@runtime_checkable
class Source(Protocol):
    """Makes a data folder."""

    def prepare(self, parent: Path) -> Path:
        """Make the folder in `parent` unless it exists, and return it."""
        ...


def images_of(split: str) -> str:
    """Return the folder of a split's images: those of validation are held out from the training split."""
    return "test" if split == "test" else "train"


@dataclass(eq=False)
class PairDataModule(LightningDataModule):
    """Serves the pose pairs of a data folder: a stream of training pairs, and pairs of held-out identities.

    `cache` is the location of the decoded images: `ram`, the memory of the training `device`, or `none` to read them
    from disk each time. `auto` is `device` on a GPU if that is allowed and the images need at most a quarter of its
    free memory, else `ram`.

    Raises:
        ValueError: a number is not above 0, the cache is unknown, or it is `device` although the CPU needs the images.
    """

    name: str = field()  # of the data set, as in run folders; the field replaces Lightning's default
    label: str  # name of the data set in tables
    root: str | Path  # the data folder, or the parent of the folder that `source` makes
    source: Source | None  # renders the data; None for a prepared folder
    image_size: Sequence[int]  # height and width in pixels
    heatmaps: Heatmaps  # draws joints
    joint_size: float  # of a drawn joint in pixels, which the config passes to `heatmaps`; it is checked here
    batch_size: int  # pairs in an iteration, of all processes together
    num_val_identities: int  # training identities that are held out for validation
    num_val_pairs: int  # number of random pairs of the held-out identities
    cache: str
    num_workers: int  # loader processes of each training process
    seed: int  # of the order of the training pairs and of their augmentation
    augmentation: Augmentation  # of the training pairs
    pairs_per_epoch: int | None  # training pairs drawn with replacement, as in PATN; None makes full passes

    half_size_iterations: int = 0  # first iterations, in which images and heatmaps have half the height and width

    def __post_init__(self) -> None:
        super().__init__()
        height, width = self.image_size
        self.size = (int(height), int(width))
        if self.half_size_iterations < 0 or (self.half_size_iterations > 0 and (height % 8 or width % 8)):
            raise ValueError(
                "data.half_size_iterations: expected at least 0, and an image size divisible by 8 if it is not 0, "
                f"got {self.half_size_iterations} at {height}x{width}"
            )
        for key in COUNTS:
            value = getattr(self, key)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"data.{key}: expected a finite number above 0, got {value}")
        if self.num_workers < 0:
            raise ValueError(f"data.num_workers: expected at least 0, got {self.num_workers}")
        if not 1 <= min(self.size) <= max(self.size) <= MAX_SIDE:
            raise ValueError(f"data.image_size: expected sides of 1 to {MAX_SIDE} pixels, got {height}x{width}")
        if not MIN_JOINT <= self.joint_size <= max(self.size):
            raise ValueError(
                f"data.joint_size: expected {MIN_JOINT} to {max(self.size)} pixels for images of {height}x{width}, "
                f"got {self.joint_size}"
            )
        if self.cache not in CACHES:
            raise ValueError(f"data.cache: expected {', '.join(CACHES)}, got {self.cache!r}")
        if self.cache == "device" and self.needs_cpu:
            raise ValueError(
                "data.cache=device: expected data.num_workers=0 and data/augmentation=none, which need the images in "
                f"the CPU's memory, got num_workers={self.num_workers} and transforms={self.augmentation.transforms}"
            )

    @property
    def needs_cpu(self) -> bool:
        """Whether the images are read by other processes or augmented, both on the CPU."""
        return self.num_workers > 0 or self.augmentation.is_on

    def look_beside(self, run_dir: Path) -> None:
        """Find the data of a run from any working folder.

        A relative root that is not below the working folder is looked for below the folders that contain the run's.
        """
        if not Path(self.root).exists():
            roots = (parent / self.root for parent in run_dir.resolve().parents)
            self.root = next((root for root in roots if root.is_dir()), self.root)

    @property
    def folder(self) -> Path:
        """The folder with `train/`, `test/`, annotations and pairs."""
        root = Path(self.root)
        return root if self.source is None else self.source.prepare(root)

    @property
    def manifest(self) -> dict[str, Any]:
        """The folder's manifest, with its label and the hash over all files (`data_hash`)."""
        return read_manifest(self.folder)

    @override
    def prepare_data(self) -> None:
        if not self.folder.is_dir():
            raise ValueError(f"data.root: expected a prepared data folder, folder not found: {self.folder}")
        verify(self.folder)

    @override
    def setup(self, stage: str) -> None:
        if stage == "fit":
            # What is wrong there is said before the training, not after it.
            _, test_pairs = read_split(self.folder, "test", self.size)
            check_image_names(test_pairs, f"{self.folder}: test pairs")
            check_sizes(self.folder / "test", image_names(test_pairs), self.size)
        joints, pairs = read_split(self.folder, "train", self.size)
        train_pairs, val_pairs = split_identities(pairs, self.num_val_identities, self.num_val_pairs)
        joints = {name: joints[name] for name in image_names(train_pairs + val_pairs)}
        images = AnnotatedImages(self.folder / "train", joints, self.size, self.cache != "none")
        self.train = PairDataset(images, train_pairs, self.augmentation, self.seed)
        self.val = PairDataset(images, val_pairs)
        self.is_on_device = False
        if self.trainer is not None:
            self.move_to(self.trainer.strategy.root_device)

    def move_to(self, device: torch.device) -> None:
        """Move the images to the device if `cache` says so."""
        if self.cache == "device" or (self.cache == "auto" and not self.needs_cpu and self._fits(device)):
            self.train.images.move_to(device)
            self.is_on_device = True

    @override
    def train_dataloader(self) -> DataLoader[ImagePair]:
        assert self.trainer is not None
        module: Any = self.trainer.lightning_module
        return self.training_loader(
            module.schedule.iterations, self.trainer.global_rank, self.trainer.world_size, start=module.iteration
        )

    def training_loader(
        self, num_batches: int, rank: int = 0, world_size: int = 1, start: int = 0
    ) -> DataLoader[ImagePair]:
        """Return the batches `start` to `num_batches` of a process, as `PairStream` draws them."""
        stream = PairStream(
            len(self.train), num_batches, self.batch_size, self.seed, self.pairs_per_epoch, rank, world_size, start
        )
        return self._loader(self.train, stream, self.num_workers)

    @override
    def val_dataloader(self) -> DataLoader[ImagePair]:
        assert self.trainer is not None
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        if len(self.val) < world_size:
            raise ValueError(
                f"data.num_val_pairs: expected at least one for each of {world_size} processes, got {len(self.val)}"
            )
        samples: Any = [SampledPair(0, index, index) for index in range(rank, len(self.val), world_size)]
        batch_size = max(1, self.batch_size // world_size)
        return self._loader(self.val, BatchSampler(samples, batch_size, drop_last=False), num_workers=0)

    def test_dataset(self) -> PairDataset:
        """Return the test pairs in the order of their file, for evaluation only."""
        return PairDataset.of_split(self.folder, "test", self.size, self.cache != "none")

    def pairs_of_iteration(self, iteration: int) -> list[Pair]:
        """Return the names of the pairs, of all processes, that an iteration, counted from 0, trains on."""
        stream = PairStream(len(self.train), iteration + 1, self.batch_size, self.seed, self.pairs_per_epoch)
        return [self.train.pairs[sample.pair_index] for sample in stream.batch(iteration, range(self.batch_size))]

    @override
    def on_after_batch_transfer(self, batch: ImagePair, dataloader_idx: int) -> PosePair:
        pair = to_pose_pair(batch, self.heatmaps)
        trainer: Any = self.trainer
        is_training = trainer is not None and trainer.training
        if is_training and trainer.lightning_module.iteration < self.half_size_iterations:
            return PosePair(*(avg_pool2d(tensor, 2) for tensor in pair))
        return pair

    def _fits(self, device: torch.device) -> bool:
        """Whether the device is a GPU and the images need at most a quarter of its free memory."""
        num_bytes = len(self.train.images) * 3 * math.prod(self.size)
        return device.type == "cuda" and 4 * num_bytes <= torch.cuda.mem_get_info(device)[0]

    def _loader(self, pairs: PairDataset, batches: Any, num_workers: int) -> DataLoader[ImagePair]:
        return PairLoader(
            pairs,
            sampler=batches,
            batch_size=None,  # PairDataset returns batches
            num_workers=num_workers,
            pin_memory=not self.is_on_device and torch.cuda.is_available(),
        )


class PairLoader(DataLoader[ImagePair]):
    """A loader without state: its sampler resumes from the module's iteration."""

    def state_dict(self) -> dict[str, Any]:
        """Return an empty state, by which Lightning knows that the loader resumes on its own."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Do nothing."""
