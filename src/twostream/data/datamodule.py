"""Pose pairs for training and validation, counted in iterations."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import BatchSampler, DataLoader, Dataset

from twostream.data.augment import Augmentation
from twostream.data.dataset import PairDataset, named_in, read_split, to_pose_pair
from twostream.data.images import AnnotatedImages
from twostream.data.pairs import Pair, identity_of
from twostream.data.pose import Heatmaps
from twostream.data.sampling import Draw, PairStream
from twostream.types import ImagePair, PosePair

CACHES = ("auto", "none", "ram", "device")
SHARE_OF_GPU = 4
"""With `auto` the pictures take at most one part in so many of the GPU's free memory."""


@runtime_checkable
class Source(Protocol):
    """Where a data folder comes from when it is not there yet."""

    def prepare(self, parent: Path) -> Path:
        """Make the folder under `parent` if there is none, and return it."""
        ...


class PairDataModule(LightningDataModule):
    """Serves the pose pairs of a data folder: a stream of training pairs, and pairs of held-out identities.

    Args:
        name: of the data set, as in the run folder.
        label: what tables call it.
        root: the data folder, or with a `source` the folder that its data folders lie in.
        source: renders or fetches the data; None for a folder that is ready.
        image_size: height and width in pixels.
        heatmaps: gives the kind of heatmaps for a joint's size.
        joint_size: of a drawn joint in pixels: a Gaussian's sigma, a disc's radius.
        batch_size: pairs in an iteration, of all processes together.
        num_val_identities: training identities kept out of training, for validation.
        num_val_pairs: pairs drawn once from theirs.
        cache: where decoded pictures are kept: `ram`, the memory of the training `device`, or `none` to read them from
            disk each time. `auto` is `device` on a GPU where that is allowed and they take at most a quarter of its
            free memory, else `ram`.
        num_workers: loader processes of each training process.
        seed: of the order of the training pairs and of their augmentation.
        augmentation: of the training pairs; one without any part leaves them as they are.
        pairs_per_epoch: training pairs drawn with replacement in an epoch, as PATN does; None makes full passes.

    Raises ValueError for a count of 0 or less, a cache that there is not, and `device` beside what works on the CPU.

    """

    def __init__(
        self,
        name: str,
        label: str,
        root: str | Path,
        source: Source | None,
        image_size: Sequence[int],
        heatmaps: Callable[[float], Heatmaps],
        joint_size: float,
        batch_size: int,
        num_val_identities: int,
        num_val_pairs: int,
        cache: str,
        num_workers: int,
        seed: int,
        augmentation: Augmentation,
        pairs_per_epoch: int | None,
    ) -> None:
        super().__init__()
        height, width = image_size
        _check_positive(
            batch_size=batch_size,
            num_val_identities=num_val_identities,
            num_val_pairs=num_val_pairs,
            joint_size=joint_size,
            pairs_per_epoch=1 if pairs_per_epoch is None else pairs_per_epoch,
        )
        if cache not in CACHES:
            raise ValueError(f"data.cache: expected {', '.join(CACHES)}, got {cache!r}")
        works_on_cpu = num_workers > 0 or augmentation.is_on
        if cache == "device" and works_on_cpu:
            raise ValueError(
                "data.cache=device: expected data.num_workers=0 and data/augmentation=none, which work in the CPU's "
                f"memory, got num_workers={num_workers} and {augmentation}"
            )
        self.name = name
        self.label = label
        self.root = Path(root)
        self.source = source
        self.image_size = (int(height), int(width))
        self.heatmaps = heatmaps(joint_size)
        self.batch_size = batch_size
        self.num_val_identities = num_val_identities
        self.num_val_pairs = num_val_pairs
        self.cache = cache
        self.works_on_cpu = works_on_cpu
        self.num_workers = num_workers
        self.seed = seed
        self.augmentation = augmentation
        self.pairs_per_epoch = pairs_per_epoch

    def prepare_data(self) -> None:
        """Render the data where it is generated; refuse a folder that is not there."""
        if self.source is not None:
            self.source.prepare(self.root)
        elif not self.root.is_dir():
            raise ValueError(f"data.root: expected a prepared data folder, there is none at {self.root}")

    @property
    def folder(self) -> Path:
        """The folder with `train/`, `test/`, annotations and pairs."""
        return self.root if self.source is None else self.source.prepare(self.root)

    @property
    def data_hash(self) -> str:
        """The hash of all files that the folder's manifest states."""
        return json.loads((self.folder / "manifest.json").read_text(encoding="utf-8"))["data_hash"]

    def setup(self, stage: str) -> None:
        """Read the training split and part it into training and validation identities."""
        joints, pairs = read_split(self.folder, "train", self.image_size)
        train_pairs, val_pairs = split_identities(pairs, self.num_val_identities, self.num_val_pairs)
        names = named_in(train_pairs + val_pairs)
        pictures = AnnotatedImages(self.folder / "train", joints, names, self.image_size, self.cache != "none")
        self.train, self.val = PairDataset(pictures, train_pairs), PairDataset(pictures, val_pairs)
        self.is_on_device = False
        if self.trainer is not None:
            self.move_to(self.trainer.strategy.root_device)

    def move_to(self, device: torch.device) -> None:
        """Bring the pictures to the device where `cache` says so."""
        if self.cache == "device" or (self.cache == "auto" and not self.works_on_cpu and self._fits(device)):
            self.train.pictures.move_to(device)
            self.is_on_device = True

    def train_dataloader(self) -> DataLoader[ImagePair]:
        """Return the batches that the trainer has still to take: one epoch is the whole run."""
        assert self.trainer is not None
        place = self.trainer.global_rank, self.trainer.world_size
        return self.training_loader(self.trainer.max_steps, *place, start=self.trainer.global_step)

    def training_loader(
        self, num_batches: int, rank: int = 0, world_size: int = 1, start: int = 0
    ) -> DataLoader[ImagePair]:
        """Return the training batches of a process, as `PairStream` draws them."""
        stream = PairStream(
            len(self.train),
            num_batches,
            self.batch_size,
            self.seed,
            self.pairs_per_epoch,
            rank,
            world_size,
            start,
        )
        return self._loader(TrainingPairs(self.train, self.augmentation, self.seed), stream, self.num_workers)

    def val_dataloader(self) -> DataLoader[ImagePair]:
        """Return this process's share of the validation pairs, none twice, the last batch included."""
        assert self.trainer is not None
        if len(self.val) < self.trainer.world_size:
            raise ValueError(
                f"data.num_val_pairs: expected at least one for each of {self.trainer.world_size} processes, "
                f"got {len(self.val)}"
            )
        share = range(self.trainer.global_rank, len(self.val), self.trainer.world_size)
        batch_size = max(1, self.batch_size // self.trainer.world_size)
        return self._loader(self.val, BatchSampler(share, batch_size, drop_last=False), 0)

    def test_dataset(self) -> PairDataset:
        """Return the test pairs in the order of their file, for evaluation only."""
        return PairDataset.of_split(self.folder, "test", self.image_size, self.cache != "none")

    def pairs_of_iteration(self, iteration: int) -> list[Pair]:
        """Return the names of all pairs, of every process, that an iteration trains on, the first being 0."""
        stream = PairStream(len(self.train), iteration + 1, self.batch_size, self.seed, self.pairs_per_epoch)
        return [self.train.pairs[draw.pair] for draw in stream.batch(iteration, range(self.batch_size))]

    def on_after_batch_transfer(self, batch: ImagePair, dataloader_idx: int) -> PosePair:
        """Make the batch ready on the device."""
        return to_pose_pair(batch, self.heatmaps)

    def _fits(self, device: torch.device) -> bool:
        """Whether the device is a GPU that has room for the pictures beside the training."""
        num_bytes = len(self.train.pictures) * 3 * math.prod(self.image_size)
        return device.type == "cuda" and SHARE_OF_GPU * num_bytes <= free_memory(device)

    def _loader(self, pairs: Dataset[ImagePair], batches: Any, num_workers: int) -> DataLoader[ImagePair]:
        return PairLoader(
            pairs,
            batch_sampler=batches,
            num_workers=num_workers,
            collate_fn=_as_it_is,
            pin_memory=not self.is_on_device and torch.cuda.is_available(),
        )


class PairLoader(DataLoader[ImagePair]):
    """Tells Lightning that it goes on by itself: its batches begin with the trainer's iteration."""

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: the iteration says it all."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take nothing."""


class TrainingPairs(Dataset[ImagePair]):
    """The training pairs as the stream draws them, each augmented by its place in the stream."""

    def __init__(self, pairs: PairDataset, augmentation: Augmentation, seed: int) -> None:
        self.pairs = pairs
        self.augmentation = augmentation
        self.seed = seed

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitems__(self, draws: Sequence[Draw]) -> ImagePair:
        """Return the pairs of some draws as one batch."""
        batch = self.pairs.batch([draw.pair for draw in draws])
        if not self.augmentation.is_on:
            return batch
        pairs = [ImagePair(*tensors) for tensors in zip(*batch, strict=True)]
        done = [
            self.augmentation(pair, self.seed, draw.epoch, draw.position)
            for pair, draw in zip(pairs, draws, strict=True)
        ]
        return ImagePair(*(torch.stack(tensors) for tensors in zip(*done, strict=True)))


def _as_it_is(batch: Any) -> Any:
    return batch


def _check_positive(**values: float) -> None:
    for key, value in values.items():
        if value <= 0:
            raise ValueError(f"data.{key}: expected more than 0, got {value}")


def free_memory(device: torch.device) -> int:
    """Return the bytes of a GPU's memory that nothing takes."""
    return torch.cuda.mem_get_info(device)[0]


def split_identities(
    pairs: Sequence[Pair], num_val_identities: int, num_val_pairs: int
) -> tuple[list[Pair], list[Pair]]:
    """Part pairs by identity: those to train on, and `num_val_pairs` drawn from those of the held-out identities.

    The draw is the same for every seed of a run, so that all runs validate on the same pairs. Raises ValueError where
    no identity would be left to train on.
    """
    identities = sorted({identity_of(source) for source, _ in pairs})
    if num_val_identities >= len(identities):
        raise ValueError(
            f"data.num_val_identities: expected fewer than the {len(identities)} training identities, "
            f"got {num_val_identities}"
        )
    draw = np.random.default_rng(0)
    held_out = set(draw.permutation(identities)[:num_val_identities].tolist())
    train = [pair for pair in pairs if identity_of(pair[0]) not in held_out]
    val = [pair for pair in pairs if identity_of(pair[0]) in held_out]
    return train, [val[i] for i in sorted(draw.permutation(len(val))[:num_val_pairs])]
