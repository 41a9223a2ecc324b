"""Pose pairs for training and validation, counted in iterations."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from twostream.data.augment import Augmentation
from twostream.data.dataset import PairDataset, read_split, to_pose_pair
from twostream.data.pairs import Pair, identity_of
from twostream.data.sampling import Draw, PairStream
from twostream.types import PictureBatch, PosePair


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
        heatmap_sigma: of the joints' Gaussians, in pixels.
        batch_size: pairs in an iteration.
        num_val_identities: training identities kept out of training, for validation.
        num_val_pairs: pairs drawn once from theirs.
        num_workers: loader processes.
        seed: of the order of the training pairs and of their augmentation.
        augmentation: of the training pairs; None leaves them as they are.
        pairs_per_epoch: training pairs drawn with replacement in an epoch, as PATN does; None makes full passes.

    """

    def __init__(
        self,
        name: str,
        label: str,
        root: str | Path,
        source: Source | None,
        image_size: Sequence[int],
        heatmap_sigma: float,
        batch_size: int,
        num_val_identities: int,
        num_val_pairs: int,
        num_workers: int,
        seed: int,
        augmentation: Augmentation | None = None,
        pairs_per_epoch: int | None = None,
    ) -> None:
        super().__init__()
        height, width = image_size
        positive = {
            "batch_size": batch_size,
            "num_val_identities": num_val_identities,
            "num_val_pairs": num_val_pairs,
            "heatmap_sigma": heatmap_sigma,
            "pairs_per_epoch": 1 if pairs_per_epoch is None else pairs_per_epoch,
        }
        for key, value in positive.items():
            if value <= 0:
                raise ValueError(f"data.{key}: expected more than 0, got {value}")
        self.name = name
        self.label = label
        self.root = Path(root)
        self.source = source
        self.image_size = (int(height), int(width))
        self.heatmap_sigma = heatmap_sigma
        self.batch_size = batch_size
        self.num_val_identities = num_val_identities
        self.num_val_pairs = num_val_pairs
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
        self.train = PairDataset(self.folder / "train", joints, train_pairs, self.image_size)
        self.val = PairDataset(self.folder / "train", joints, val_pairs, self.image_size)

    def train_dataloader(self) -> DataLoader[PictureBatch]:
        """Return as many batches as the trainer has iterations to go: one epoch is the whole run."""
        assert self.trainer is not None
        stream = PairStream(
            len(self.train),
            self.trainer.max_steps,
            self.batch_size,
            self.seed,
            self.pairs_per_epoch,
            self.trainer.global_rank,
            self.trainer.world_size,
        )
        return DataLoader(
            TrainingPairs(self.train, self.augmentation, self.seed),
            batch_sampler=stream,
            num_workers=self.num_workers,
            pin_memory=torch.cuda.is_available(),
        )

    def val_dataloader(self) -> DataLoader[PictureBatch]:
        """Return all validation pairs, the last batch included."""
        return DataLoader(self.val, self.batch_size, pin_memory=torch.cuda.is_available())

    def test_dataset(self) -> PairDataset:
        """Return the test pairs in the order of their file, for evaluation only."""
        return PairDataset.of_split(self.folder, "test", self.image_size)

    def on_after_batch_transfer(self, batch: PictureBatch, dataloader_idx: int) -> PosePair:
        """Make the batch ready on the device."""
        return to_pose_pair(batch, self.heatmap_sigma)


class TrainingPairs(Dataset[PictureBatch]):
    """The training pairs as the stream draws them, each augmented by its place in the stream."""

    def __init__(self, pairs: PairDataset, augmentation: Augmentation | None, seed: int) -> None:
        self.pairs = pairs
        self.augmentation = augmentation
        self.seed = seed

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, draw: Draw) -> PictureBatch:
        """Return the pair of a draw, without a batch axis."""
        pair = self.pairs[draw.pair]
        return pair if self.augmentation is None else self.augmentation(pair, self.seed, draw.epoch, draw.position)


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
