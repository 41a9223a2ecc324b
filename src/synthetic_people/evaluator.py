"""The evaluator: trained once on synthetic people, it gives numbers that else want downloaded networks."""

import fcntl
import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from synthetic_people.evaluator_net import EvaluatorNet, EvaluatorOutput
from synthetic_people.people import SyntheticPeople
from synthetic_people.wardrobe import GARMENT_CLASSES, garment_classes
from twostream.data.dataset import to_unit_range
from twostream.data.keypoints import FLIPPED, NUM_JOINTS, read_annotations
from twostream.data.pairs import identity_of
from twostream.data.pose import gaussian_heatmaps, joints_to_tensor, person_mask
from twostream.files import atomic_write
from twostream.metrics.pckh import pckh, pckh_counts
from twostream.weights import load_state

log = logging.getLogger(__name__)
VERSION = 1
"""Goes up with every change of the evaluator that changes its numbers."""

HEATMAP_ROWS = 32


class Predictions(NamedTuple):
    """What the evaluator sees in each picture of a batch."""

    joints: Int[np.ndarray, "b 18 2"]
    """(y, x) in pixels, -1 where a joint can't be seen."""
    features: Float[np.ndarray, "b features"]
    logits: Float[np.ndarray, "b garments"]


class Evaluator:
    """A trained evaluator, ready to look at pictures of one size.

    Attributes:
        name: as in the results.
        weights_hash: SHA-256 of its weights.
        accuracy: on identities that its training never saw: PCKh, and the share of right classes of each kind.

    """

    name = "evaluator"

    def __init__(self, net: EvaluatorNet, accuracy: dict[str, float], device: torch.device) -> None:
        self.net = net.to(device).eval()
        self.accuracy = accuracy
        self.device = device
        digest = hashlib.sha256()
        for key, value in sorted(net.state_dict().items()):
            digest.update(key.encode() + value.cpu().numpy().tobytes())
        self.weights_hash = digest.hexdigest()

    def describe(self) -> str:
        """Say which evaluator it is and how far it can be trusted."""
        accuracy = ", ".join(f"{name} {value:.3f}" for name, value in self.accuracy.items())
        return f"evaluator {self.weights_hash[:12]} on true images of people not seen in training: {accuracy}"

    @torch.inference_mode()
    def __call__(self, images: UInt8[Tensor, "b 3 h w"]) -> Predictions:
        """Look at a batch."""
        seen: EvaluatorOutput = self.net(to_unit_range(images.to(self.device)))
        joints = find_joints(seen, self.net.stride, (images.shape[2], images.shape[3]))
        return Predictions(joints, seen.features.cpu().numpy(), seen.logits.cpu().numpy())


def find_joints(seen: EvaluatorOutput, stride: int, image_size: tuple[int, int]) -> Int[np.ndarray, "b 18 2"]:
    """Return the joints (y, x) in pixels: the mean place in the 3x3 cells around the likeliest one, -1 for unseen."""
    rows, columns = seen.heatmaps.shape[2:]
    best = seen.heatmaps.flatten(2).argmax(dim=2)
    y, x = (torch.arange(size, device=best.device) for size in (rows, columns))
    near_y, near_x = (y - (best // columns)[:, :, None]).abs() <= 1, (x - (best % columns)[:, :, None]).abs() <= 1
    heat = seen.heatmaps.exp() * (near_y[:, :, :, None] & near_x[:, :, None, :])
    places = []
    for axis, cells in ((2, y), (3, x)):
        share = heat.sum(dim=5 - axis)
        centre = (share * cells).sum(dim=2) / share.sum(dim=2)
        pixel = ((centre + 0.5) * stride - 0.5).round().clamp(0, image_size[axis - 2] - 1)
        places.append(pixel.long())
    found = seen.missing.exp() < 0.5
    return torch.where(found[:, :, None], torch.stack(places, dim=2), -1).cpu().numpy()


@dataclass(frozen=True)
class EvaluatorTraining:
    """How the evaluator of a picture size is trained; equal settings give one evaluator, kept in a file.

    Attributes:
        num_identities: people of the synthetic training split, no test identity among them.
        num_val_identities: the last of them, kept out of training to tell its accuracy.
        views_per_identity: pictures of each.
        iterations: updates of the weights.
        batch_size: pictures in an iteration.
        learning_rate: the highest of a one-cycle schedule.

    Raises ValueError for fewer identities than are kept out.

    """

    num_identities: int
    num_val_identities: int
    views_per_identity: int
    iterations: int
    batch_size: int
    learning_rate: float

    def __post_init__(self) -> None:
        if not 0 < self.num_val_identities < self.num_identities:
            raise ValueError(
                f"evaluator: expected 0 < num_val_identities < num_identities, "
                f"got {self.num_val_identities} and {self.num_identities}"
            )

    def prepare(self, image_size: tuple[int, int], people_root: Path, cache: Path, device: torch.device) -> Evaluator:
        """Load the evaluator of a picture size, after training it where there is none yet.

        Args:
            image_size: height and width in pixels.
            people_root: where sets of synthetic people lie.
            cache: where evaluators lie.
            device: where it is trained and used.
        """
        people = SyntheticPeople(image_size, self.num_identities, 1, self.views_per_identity, 1)
        settings = asdict(self) | {"people": people.settings(), "version": VERSION}
        key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
        path = cache / f"evaluator-{image_size[0]}x{image_size[1]}-{key}.pt"
        cache.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".lock").open("w") as lock:
            # A second process waits for the first one's evaluator.
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.is_file():
                self._train(people, people.prepare(people_root), path, device)
        net, state = _new_net(image_size), dict(load_state(path))
        try:
            accuracy = {name.removeprefix("accuracy/"): state.pop(name).item() for name in list(state) if "/" in name}
            net.load_state_dict(state)
        except RuntimeError as error:
            raise ValueError(f"{path}: expected the weights of a evaluator, these do not fit it: {error}") from error
        return Evaluator(net, accuracy, device)

    def _train(self, people: SyntheticPeople, root: Path, path: Path, device: torch.device) -> None:
        labelled = read_labelled_images(people, root)
        height, width = people.image_size
        num_val = self.num_val_identities * self.views_per_identity
        train, val = labelled.part(slice(None, -num_val)), labelled.part(slice(-num_val, None))
        net = _new_net((height, width)).to(device)
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
        told = {f"accuracy/{name}": torch.tensor(value) for name, value in evaluator.accuracy.items()}
        with atomic_write(path) as temporary:
            torch.save({**net.cpu().state_dict(), **told}, temporary)


class LabelledImages(NamedTuple):
    """Pictures of synthetic people with what is true of them."""

    images: UInt8[Tensor, "n 3 h w"]
    joints: Float[Tensor, "n 18 2"]
    masks: UInt8[Tensor, "n 1 h w"]
    """1 on the person, as the masked metrics cut it out."""
    garments: Int[Tensor, "n kinds"]

    def part(self, which: slice) -> "LabelledImages":
        """Return some of the pictures."""
        return LabelledImages(*(tensor[which] for tensor in self))


def read_labelled_images(people: SyntheticPeople, root: Path) -> LabelledImages:
    """Read the training split of a set of synthetic people, in the order of its identities."""
    joints = read_annotations(root / "annotation-train.csv")
    garments = {}
    for identity in range(people.num_train_identities):
        name, outfit, shape, _ = people.draw("train", identity)
        garments[name] = garment_classes(outfit, shape)
    images, masks = [], []
    for name in joints:
        with Image.open(root / "train" / name) as file:
            images.append(torch.from_numpy(np.asarray(file).transpose(2, 0, 1).copy()))
        height, width = images[-1].shape[1:]
        masks.append(torch.from_numpy(person_mask(joints[name], (height, width)).astype(np.uint8)[None]))
    return LabelledImages(
        torch.stack(images),
        torch.stack([joints_to_tensor(joints[name]) for name in joints]),
        torch.stack(masks),
        torch.tensor([garments[identity_of(name)] for name in joints]),
    )


def draw_batch(labelled: LabelledImages, indices: np.ndarray, draw: np.random.Generator) -> LabelledImages:
    """Take some pictures, half of them flipped and a third cut out, as the masked metrics will show them."""
    images, joints, masks, garments = (tensor[torch.from_numpy(indices)] for tensor in labelled)
    flip, cut = (torch.from_numpy(draw.random(len(indices)) < share) for share in (1 / 2, 1 / 3))
    images = torch.where(cut[:, None, None, None], images * masks, images)
    mirrored = joints[:, list(FLIPPED)]
    mirrored = torch.stack([mirrored[..., 0], images.shape[3] - 1 - mirrored[..., 1]], dim=2)
    return LabelledImages(
        torch.where(flip[:, None, None, None], images.flip(3), images),
        torch.where(flip[:, None, None], mirrored, joints),
        torch.where(flip[:, None, None, None], masks.flip(3), masks),
        garments,
    )


def evaluator_loss(net: EvaluatorNet, batch: LabelledImages) -> Float[Tensor, ""]:
    """Return the cross-entropy of the joints' places and of the garment classes."""
    seen: EvaluatorOutput = net(to_unit_range(batch.images))
    cells = (batch.joints + 0.5) / net.stride - 0.5
    rows, columns = seen.heatmaps.shape[2:]
    near = gaussian_heatmaps(cells, (rows, columns), sigma=0.7).flatten(2)
    found = near.sum(dim=2, keepdim=True) > 0
    places = torch.where(found, near / near.sum(dim=2, keepdim=True).clamp_min(1e-6), near)
    joint_loss = -(places * seen.heatmaps.flatten(2)).sum(2) - torch.where(found[..., 0], 0, seen.missing)
    return joint_loss.mean() + torch.nn.functional.cross_entropy(seen.logits, _combine(batch.garments))


def measure_accuracy(evaluator: Evaluator, labelled: LabelledImages) -> dict[str, float]:
    """Return the evaluator's PCKh and its share of right classes of each kind."""
    joints, logits = [], []
    for images in labelled.images.split(64):
        predictions = evaluator(images)
        joints += list(predictions.joints)
        logits.append(torch.from_numpy(predictions.logits))
    true = torch.nan_to_num(labelled.joints, nan=-1).long().numpy()
    accuracy = {"PCKh": pckh([pckh_counts(detected, target) for detected, target in zip(joints, true, strict=True)])}
    by_kind = torch.cat(logits).view(-1, *GARMENT_CLASSES)
    for kind, name in enumerate(("colour", "pattern", "legwear")):
        others = [axis + 1 for axis in range(len(GARMENT_CLASSES)) if axis != kind]
        right = by_kind.logsumexp(dim=others).argmax(dim=1) == labelled.garments[:, kind]
        accuracy[name] = right.float().mean().item()
    return accuracy


def _combine(garments: Int[Tensor, "n kinds"]) -> Int[Tensor, " n"]:
    """Return a number for each combination of classes, the first kind outermost."""
    combined = torch.zeros_like(garments[:, 0])
    for kind, count in enumerate(GARMENT_CLASSES):
        combined = combined * count + garments[:, kind]
    return combined


def _new_net(image_size: tuple[int, int]) -> EvaluatorNet:
    stride = 2
    while image_size[0] // stride > HEATMAP_ROWS:
        stride *= 2
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would seed the accelerators too, which no one here puts back.
        torch.default_generator.manual_seed(0)
        net: EvaluatorNet = EvaluatorNet(NUM_JOINTS, GARMENT_CLASSES, stride).to(memory_format=torch.channels_last)
    return net
