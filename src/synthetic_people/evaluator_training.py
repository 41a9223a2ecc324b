"""Training of the evaluator network on synthetic people.

`python -m synthetic_people.evaluator_training --image-size 64 32 --out FILE` trains with the default settings, as was
done for the weights in this package. Training is deterministic on one machine; another machine may round differently.
"""

import argparse
import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from filelock import FileLock
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from tqdm import tqdm

from synthetic_people.clothes import GARMENT_CLASSES, GARMENT_KINDS
from synthetic_people.evaluator import Evaluator, EvaluatorNet, EvaluatorOutput, build_net
from synthetic_people.people import SyntheticPeople
from twostream.data.dataset import to_unit_range
from twostream.data.images import read_image
from twostream.data.keypoints import FLIPPED, JointFrame, read_annotations
from twostream.data.pairs import identity_of
from twostream.data.pose import gaussian_heatmaps, joints_to_tensor, person_mask
from twostream.files import sha256_of
from twostream.metrics.pckh import pckh, pckh_counts

log = logging.getLogger(__name__)
VERSION = 1  # increased by every change of the evaluator that changes its numbers

# The weights in this package, and the key of the settings that they were trained with.
SHIPPED = Path(__file__).parent / "weights" / "evaluator-64x32.pt"
SHIPPED_KEY = "6fd8eff8"
SHIPPED_SHA256 = "4d08a5b7cc408f209706e938bb0a7f0edf6efd224ed66765476c5fdf06ba6d53"


@dataclass(frozen=True)
class EvaluatorTraining:
    """Settings of an evaluator's training; equal settings give one evaluator, which is stored in a file.

    Attributes:
        num_identities: synthetic people of a training split; no test identity is among them.
        num_val_identities: the last of them, kept out of training to measure the accuracy.
        views_per_identity: images of each.
        iterations: updates of the weights.
        batch_size: images of an iteration.
        learning_rate: the highest of a one-cycle schedule.

    Raises ValueError if no identity is left for training or for validation.
    """

    num_identities: int = 1500
    num_val_identities: int = 150
    views_per_identity: int = 4
    iterations: int = 3000
    batch_size: int = 32
    learning_rate: float = 3e-3

    def __post_init__(self) -> None:
        if not 0 < self.num_val_identities < self.num_identities:
            raise ValueError(
                f"evaluator: expected 0 < num_val_identities < num_identities, "
                f"got {self.num_val_identities} and {self.num_identities}"
            )

    def people(self, image_size: tuple[int, int]) -> SyntheticPeople:
        """Return the set of synthetic people to train on."""
        return SyntheticPeople(image_size, self.num_identities, 1, self.views_per_identity, 1)

    def key(self, image_size: tuple[int, int]) -> str:
        """Return 8 hex digits of a hash over everything that the weights depend on."""
        settings = asdict(self) | {"people": self.people(image_size).settings(), "version": VERSION}
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]

    def prepare(self, image_size: tuple[int, int], people_root: Path, cache: Path, device: torch.device) -> Evaluator:
        """Return the evaluator for an image size: shipped if the settings are those of the package, cached, or trained.

        `people_root` is the folder of sets of synthetic people, `cache` that of trained evaluators. Raises ValueError,
        naming the file, if a weight file is not what it should be.
        """
        key = self.key(image_size)
        if key == SHIPPED_KEY:
            if not SHIPPED.is_file() or sha256_of(SHIPPED) != SHIPPED_SHA256:
                raise ValueError(f"{SHIPPED}: expected a file of SHA-256 {SHIPPED_SHA256}; reinstall the package")
            return Evaluator.load(SHIPPED, image_size, device)
        path = cache / f"evaluator-{image_size[0]}x{image_size[1]}-{key}.pt"
        cache.mkdir(parents=True, exist_ok=True)
        # A second process waits until the first one has trained.
        with FileLock(path.with_suffix(".lock")):
            if not path.is_file():
                self.train(image_size, people_root, device).save(path)
        return Evaluator.load(path, image_size, device)

    def train(self, image_size: tuple[int, int], people_root: Path, device: torch.device) -> Evaluator:
        """Train an evaluator and measure its accuracy on the identities that are kept out."""
        people = self.people(image_size)
        labelled = read_labelled_images(people, people.prepare(people_root))
        num_val = self.num_val_identities * self.views_per_identity
        train, val = labelled.subset(slice(None, -num_val)), labelled.subset(slice(-num_val, None))
        net = build_net(image_size).to(device)
        optimizer = torch.optim.Adam(net.parameters())
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.learning_rate, self.iterations)
        draw = np.random.default_rng(0)
        for _ in tqdm(range(self.iterations), desc="Train the evaluator", disable=None):
            batch = draw_batch(train, draw.integers(len(train.images), size=self.batch_size), draw)
            loss = evaluator_loss(net, LabelledImages(*(tensor.to(device) for tensor in batch)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        evaluator = Evaluator(net, {}, device)
        evaluator.accuracy |= measure_accuracy(evaluator, val)
        log.info(evaluator.describe())
        return evaluator


class LabelledImages(NamedTuple):
    """Images of synthetic people with their ground truth.

    Attributes:
        images: RGB.
        joints: (y, x) in pixels, NaN if not visible.
        masks: 1 on the person, as in the masked metrics.
        garments: index of the combination of garment classes.
    """

    images: UInt8[Tensor, "n 3 h w"]
    joints: Float[Tensor, "n 18 2"]
    masks: UInt8[Tensor, "n 1 h w"]
    garments: Int[Tensor, " n"]

    def subset(self, rows: slice) -> "LabelledImages":
        """Return some of the images."""
        return LabelledImages(*(tensor[rows] for tensor in self))


def read_labelled_images(people: SyntheticPeople, root: Path) -> LabelledImages:
    """Read the training split of a set of synthetic people, in the order of its identities."""
    height, width = people.image_size
    joints = read_annotations(root / "annotation-train.csv", JointFrame(height, width))
    images = np.stack([read_image(root / "train" / name, (height, width)) for name in joints])
    masks = np.stack([person_mask(array, (height, width)) for array in joints.values()])
    return LabelledImages(
        torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(),
        torch.stack([joints_to_tensor(array) for array in joints.values()]),
        torch.from_numpy(masks.astype(np.uint8))[:, None],
        torch.tensor([np.ravel_multi_index(people.garments(identity_of(name)), GARMENT_CLASSES) for name in joints]),
    )


def draw_batch(labelled: LabelledImages, indices: np.ndarray, draw: np.random.Generator) -> LabelledImages:
    """Gather images; half of them are flipped and a third is masked, as in the masked metrics."""
    images, joints, masks, garments = (tensor[torch.from_numpy(indices)] for tensor in labelled)
    flip, mask = (torch.from_numpy(draw.random(len(indices)) < probability) for probability in (1 / 2, 1 / 3))
    images = torch.where(mask[:, None, None, None], images * masks, images)
    mirrored = joints[:, list(FLIPPED)]
    mirrored = torch.stack([mirrored[..., 0], images.shape[3] - 1 - mirrored[..., 1]], dim=2)
    return LabelledImages(
        torch.where(flip[:, None, None, None], images.flip(3), images),
        torch.where(flip[:, None, None], mirrored, joints),
        torch.where(flip[:, None, None, None], masks.flip(3), masks),
        garments,
    )


def evaluator_loss(net: EvaluatorNet, batch: LabelledImages) -> Float[Tensor, ""]:
    """Return the cross-entropy of the joints' cells plus that of the garment classes."""
    output: EvaluatorOutput = net(to_unit_range(batch.images))
    cells = (batch.joints + 0.5) / net.stride - 0.5
    rows, columns = output.heatmaps.shape[2:]
    near = gaussian_heatmaps(cells, (rows, columns), sigma=0.7).flatten(2)
    is_found = near.sum(dim=2, keepdim=True) > 0
    expected = torch.where(is_found, near / near.sum(dim=2, keepdim=True).clamp_min(1e-6), near)
    joint_loss = -(expected * output.heatmaps.flatten(2)).sum(2) - torch.where(is_found[..., 0], 0, output.missing)
    return joint_loss.mean() + torch.nn.functional.cross_entropy(output.logits, batch.garments)


def measure_accuracy(evaluator: Evaluator, labelled: LabelledImages) -> dict[str, float]:
    """Return PCKh and the accuracy of each kind of garment class."""
    joints: list[np.ndarray] = []
    garments: list[np.ndarray] = []
    for images in labelled.images.split(64):
        predictions = evaluator(images)
        joints += list(predictions.joints)
        garments += list(predictions.garments)
    true = torch.nan_to_num(labelled.joints, nan=-1).long().numpy()
    accuracy = {"PCKh": pckh([pckh_counts(detected, target) for detected, target in zip(joints, true, strict=True)])}
    true_garments = np.stack(np.unravel_index(labelled.garments.numpy(), GARMENT_CLASSES), axis=1)
    shares = (np.stack(garments) == true_garments).mean(axis=0)
    return accuracy | dict(zip(GARMENT_KINDS, shares.tolist(), strict=True))


def main() -> None:
    """Train an evaluator with the default settings and print what identifies it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--image-size", type=int, nargs=2, default=(64, 32), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--out", type=Path, required=True, help="weight file to write")
    parser.add_argument("--people", type=Path, default=Path("data/synthetic"), help="folder of synthetic people")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    arguments = parser.parse_args()
    training, image_size = EvaluatorTraining(), tuple(arguments.image_size)
    evaluator = training.train(image_size, arguments.people, arguments.device)
    evaluator.save(arguments.out)
    print(evaluator.describe())
    print(f"{arguments.out}: key {training.key(image_size)}, SHA-256 {sha256_of(arguments.out)}")


if __name__ == "__main__":
    main()
