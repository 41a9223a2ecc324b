import dataclasses
import logging
import math
import shutil
import threading

import numpy as np
import pytest
import torch
from filelock import FileLock
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from synthetic_people import evaluator_training
from synthetic_people.clothes import GARMENT_CLASSES, garment_classes
from synthetic_people.evaluator import Evaluator, EvaluatorNet, EvaluatorOutput, Predictions
from synthetic_people.evaluator_training import (
    EvaluatorTraining,
    LabelledImages,
    draw_batch,
    evaluator_loss,
    measure_accuracy,
    read_labelled_images,
)
from synthetic_people.people import SyntheticPeople
from twostream.cli import CONF
from twostream.data.images import read_image
from twostream.data.keypoints import ANY_FRAME, JOINT_NAMES, read_annotations
from twostream.data.pose import person_mask

SIZE = (32, 16)
CPU = torch.device("cpu")
RIGHT_WRIST, LEFT_WRIST = JOINT_NAMES.index("right wrist"), JOINT_NAMES.index("left wrist")
TRAINING = EvaluatorTraining(4, 1, 2, iterations=3, batch_size=4, learning_rate=1e-2)
PEOPLE = TRAINING.people(SIZE)


@pytest.fixture(scope="module")
def people_root(tmp_path_factory):
    """A folder with the people of `TRAINING`, rendered in this process."""
    parent = tmp_path_factory.mktemp("people")
    dataclasses.replace(PEOPLE, num_workers=1).prepare(parent)
    return parent


@pytest.fixture(scope="module")
def labelled(people_root):
    return read_labelled_images(PEOPLE, people_root / PEOPLE.key())


@pytest.fixture(scope="module")
def evaluator(people_root):
    """The evaluator of `TRAINING`, cached beside its people."""
    return TRAINING.prepare(SIZE, people_root, people_root, CPU)


def never(*_):
    raise AssertionError("trained again")


def test_labels_are_the_ground_truth_of_the_images(labelled, people_root):
    root = people_root / PEOPLE.key()
    annotations = read_annotations(root / "annotation-train.csv", ANY_FRAME)
    assert [tuple(tensor.shape) for tensor in labelled] == [(8, 3, *SIZE), (8, 18, 2), (8, 1, *SIZE), (8,)]
    for i, (name, joints) in enumerate(annotations.items()):
        assert (read_image(root / "train" / name) == labelled.images[i].permute(1, 2, 0).numpy()).all()
        assert (np.nan_to_num(labelled.joints[i].numpy(), nan=-1) == joints).all()
        assert (labelled.masks[i, 0].numpy() == person_mask(joints, SIZE)).all()
        identity, outfit, shape, _ = PEOPLE.draw("train", i // 2)
        assert name.startswith(f"{identity}_")
        assert np.unravel_index(int(labelled.garments[i]), GARMENT_CLASSES) == garment_classes(outfit, shape)
    assert labelled.joints.isnan().any()


def test_an_evaluator_is_trained_by_one_process_only(people_root, evaluator, tmp_path, monkeypatch):
    monkeypatch.setattr(EvaluatorTraining, "train", never)
    (trained,) = people_root.glob("evaluator-32x16-*.pt")
    path, prepared = tmp_path / trained.name, []
    second = threading.Thread(target=lambda: prepared.append(TRAINING.prepare(SIZE, people_root, tmp_path, CPU)))
    with FileLock(path.with_suffix(".lock")):
        second.start()
        second.join(timeout=0.3)
        assert second.is_alive()
        shutil.copyfile(trained, path)
    second.join()
    assert prepared[0].weights_hash == evaluator.weights_hash
    assert prepared[0].accuracy == evaluator.accuracy


def test_training_is_deterministic_and_sees_no_validation_identity(
    evaluator, people_root, tmp_path, caplog, monkeypatch
):
    seen = []

    def remember(labelled, *others):
        seen.append(labelled)
        return draw_batch(labelled, *others)

    monkeypatch.setattr(evaluator_training, "draw_batch", remember)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    with caplog.at_level(logging.INFO, logger=evaluator_training.__name__):
        again = TRAINING.prepare(SIZE, people_root, tmp_path, CPU)
    assert again.weights_hash == evaluator.weights_hash
    assert caplog.messages == [evaluator.describe()]
    assert [len(images.images) for images in seen] == [6, 6, 6]
    assert torch.equal(torch.get_rng_state(), before)


def test_the_accuracy_is_measured_on_the_validation_identities(evaluator, labelled):
    expected = measure_accuracy(evaluator, labelled.subset(slice(-2, None)))
    assert list(evaluator.accuracy) == ["PCKh", "colour", "pattern", "legwear"]
    assert evaluator.accuracy == pytest.approx(expected, rel=1e-6)


def test_no_test_identity_is_trained_on():
    """The evaluator is trained on the training split alone, and no person is in both splits."""
    people = SyntheticPeople(SIZE, 20, 20, 2, 1)
    train, test = ({people.draw(split, i)[1].upper.colours.tobytes() for i in range(20)} for split in ("train", "test"))
    assert len(train) == len(test) == 20
    assert not train & test


@pytest.mark.parametrize("change", [{"iterations": 2}, {"batch_size": 3}, {"learning_rate": 2e-2}])
def test_other_settings_give_another_evaluator(people_root, evaluator, change):
    other = dataclasses.replace(TRAINING, **change)
    assert other.prepare(SIZE, people_root, people_root, CPU).weights_hash != evaluator.weights_hash
    assert other.key(SIZE) != TRAINING.key(SIZE) != TRAINING.key((64, 32))


def test_a_failed_training_leaves_no_evaluator(people_root, tmp_path, monkeypatch):
    def fail(_, path):
        path.write_bytes(b"half an evaluator")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        TRAINING.prepare(SIZE, people_root, tmp_path, CPU)
    assert not list(tmp_path.glob("*.pt"))


@pytest.mark.parametrize("content", [b"", b"text", {"weights": [1, 2]}, {"stem": torch.zeros(3)}, "accuracy"])
def test_a_broken_file_is_named(evaluator, people_root, tmp_path, content):
    path = tmp_path / f"evaluator-32x16-{TRAINING.key(SIZE)}.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        state = torch.load(people_root / path.name, weights_only=True) | {"accuracy/PCKh": torch.zeros(2)}
        torch.save(state if content == "accuracy" else content, path)
    with pytest.raises(ValueError, match=rf"{path.name}: expected"):
        TRAINING.prepare(SIZE, people_root, tmp_path, CPU)


def test_the_default_settings_use_the_shipped_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(EvaluatorTraining, "train", never)
    node = OmegaConf.load(f"{CONF}/scoring/default.yaml").evaluator
    training = instantiate(node)
    assert training == EvaluatorTraining()
    shipped = training.prepare((64, 32), tmp_path, tmp_path, CPU)
    assert shipped.weights_hash.startswith("1b7c7ac8e9bb")
    assert shipped.accuracy == pytest.approx(
        {"PCKh": 0.681, "colour": 0.8, "pattern": 0.7517, "legwear": 0.9683}, abs=1e-4
    )
    assert not list(tmp_path.iterdir())
    for other, size in ((training, (32, 16)), (dataclasses.replace(training, iterations=2), (64, 32))):
        with pytest.raises(AssertionError, match="trained again"):
            other.prepare(size, tmp_path, tmp_path, CPU)


def test_changed_shipped_weights_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "evaluator-64x32.pt"
    monkeypatch.setattr(evaluator_training, "SHIPPED", path)
    for content in (None, b"other weights"):
        if content:
            path.write_bytes(content)
        with pytest.raises(ValueError, match=r"evaluator-64x32\.pt: expected a file of SHA-256 \w{64}; reinstall"):
            EvaluatorTraining().prepare((64, 32), tmp_path, tmp_path, CPU)


def test_the_command_trains_and_writes_a_file(people_root, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(evaluator_training, "EvaluatorTraining", lambda: TRAINING)
    out = tmp_path / "new.pt"
    arguments = ["--image-size", "32", "16", "--out", str(out), "--people", str(people_root)]
    monkeypatch.setattr("sys.argv", ["evaluator_training", *arguments])
    evaluator_training.main()
    assert f"{out}: key {TRAINING.key(SIZE)}, SHA-256 " in capsys.readouterr().out
    assert out.is_file()


@pytest.mark.parametrize(("num_identities", "num_val"), [(4, 0), (4, 4), (4, 5), (0, 0)])
def test_settings_without_training_or_validation_identities_are_refused(num_identities, num_val):
    message = f"expected 0 < num_val_identities < num_identities, got {num_val} and {num_identities}"
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TRAINING, num_identities=num_identities, num_val_identities=num_val)


def test_images_are_flipped_and_masked_with_their_joints():
    """A red right wrist is inside the person's mask, a green left wrist is outside."""
    image, mask = torch.zeros(1, 3, *SIZE, dtype=torch.uint8), torch.zeros(1, 1, *SIZE, dtype=torch.uint8)
    joints = torch.full((1, 18, 2), torch.nan)
    joints[0, RIGHT_WRIST], joints[0, LEFT_WRIST] = torch.tensor([5.0, 3.0]), torch.tensor([9.0, 14.0])
    image[0, 0, 5, 3] = image[0, 1, 9, 14] = 255
    mask[0, 0, 4:7, 2:5] = 1
    labelled = LabelledImages(image, joints, mask, torch.tensor([5]))
    batch = draw_batch(labelled, np.zeros(600, dtype=np.int64), np.random.default_rng(0))
    kinds = []
    for image, joints, mask in zip(batch.images, batch.joints, batch.masks, strict=True):
        red, green = ([tuple(pixel) for pixel in image[channel].nonzero().tolist()] for channel in (0, 1))
        is_flipped, is_masked = red == [(5, 12)], not green
        # A mirror image of the right wrist is a left wrist.
        first, second = (LEFT_WRIST, RIGHT_WRIST) if is_flipped else (RIGHT_WRIST, LEFT_WRIST)
        assert red == [tuple(joints[first].int().tolist())] == [(5, 12 if is_flipped else 3)]
        assert joints[second].tolist() == [9, 1 if is_flipped else 14]
        assert green in ([], [tuple(joints[second].int().tolist())])
        assert joints.isnan().sum() == 2 * 16
        assert mask[0].nonzero().float().mean(0).tolist() == list(red[0])
        kinds.append((is_flipped, is_masked))
    rates = [kinds.count(kind) / 600 for kind in ((False, False), (True, False), (False, True), (True, True))]
    assert rates == pytest.approx([1 / 3, 1 / 3, 1 / 6, 1 / 6], abs=0.06)
    assert (batch.garments == labelled.garments).all()


class FixedNet(EvaluatorNet):
    """Returns the same output for every image."""

    def __init__(self, output, stride):
        nn.Module.__init__(self)
        self.output, self.stride = output, stride

    def forward(self, image):
        return self.output


def test_the_loss_is_the_cross_entropy(labelled):
    batch = labelled.subset(slice(0, 3))
    random = torch.Generator().manual_seed(0)
    cells = torch.randn(3, 18, 16 * 8 + 1, generator=random).log_softmax(2)
    logits = torch.randn(3, math.prod(GARMENT_CLASSES), generator=random)
    output = EvaluatorOutput(cells[..., :-1].unflatten(2, (16, 8)), cells[..., -1], torch.zeros(3, 1), logits)
    terms = []
    for i, j in np.ndindex(3, 18):
        y, x = ((batch.joints[i, j] + 0.5) / 2 - 0.5).tolist()
        if math.isnan(y):
            terms.append(-output.missing[i, j].item())
            continue
        weights = {cell: math.exp(-(math.dist(cell, (y, x)) ** 2) / (2 * 0.7**2)) for cell in np.ndindex(16, 8)}
        terms.append(-sum(w * output.heatmaps[i, j][c].item() for c, w in weights.items()) / sum(weights.values()))
    classes = [-math.log(logits[i].softmax(0)[batch.garments[i]].item()) for i in range(3)]
    expected = np.mean(terms) + np.mean(classes)
    assert evaluator_loss(FixedNet(output, 2), batch).item() == pytest.approx(expected, rel=1e-5)


class KnownEvaluator(Evaluator):
    """Returns given predictions, in their order."""

    def __init__(self, joints, logits):
        self.joints, self.logits, self.count = joints, logits, 0

    def __call__(self, images):
        rows = slice(self.count, self.count + len(images))
        self.count = rows.stop
        return Predictions(self.joints[rows], np.zeros((len(images), 1), np.float32), self.logits[rows])


def logits_of(*images):
    """Log-probabilities of combinations, from `{(colour, pattern, legwear): probability}` of each image."""
    logits = np.full((len(images), *GARMENT_CLASSES), -30, dtype=np.float32)
    for image, probabilities in enumerate(images):
        for classes, probability in probabilities.items():
            logits[(image, *classes)] = math.log(probability)
    return logits.reshape(len(images), -1)


def test_accuracy_counts_joints_and_each_kind_of_class():
    classes = [(3, 1, 0), (3, 2, 1), (0, 6, 2), (19, 0, 0)]
    garments = torch.tensor([np.ravel_multi_index(combination, GARMENT_CLASSES) for combination in classes])
    joints = torch.from_numpy(np.random.default_rng(0).integers(0, 16, (4, 18, 2))).float()
    joints[0, 4:7] = torch.nan
    images, masks = torch.zeros(4, 3, *SIZE, dtype=torch.uint8), torch.zeros(4, 1, *SIZE, dtype=torch.uint8)
    four = LabelledImages(images, joints, masks, garments)
    located = np.nan_to_num(joints.numpy(), nan=-1).astype(np.int64)
    # 80 images are more than one batch.
    many = LabelledImages(*(tensor.repeat(20, *[1] * (tensor.ndim - 1)) for tensor in four))
    right = logits_of(*({combination: 1.0} for combination in classes * 20))
    perfect = measure_accuracy(KnownEvaluator(np.tile(located, (20, 1, 1)), right), many)
    assert perfect == {"PCKh": 1, "colour": 1, "pattern": 1, "legwear": 1}
    logits = logits_of(
        {(3, 1, 1): 1.0},  # legwear wrong
        {(4, 3, 1): 1.0},  # colour and pattern wrong
        # The likeliest combination is of another colour, but this colour is likelier.
        {(1, 6, 2): 0.4, (0, 6, 2): 0.3, (0, 6, 1): 0.3},
        {(19, 5, 0): 1.0},  # pattern wrong
    )
    located[1] = -1
    accuracy = measure_accuracy(KnownEvaluator(located, logits), four)
    assert accuracy == {"PCKh": (15 + 18 + 18) / (15 + 3 * 18), "colour": 3 / 4, "pattern": 2 / 4, "legwear": 3 / 4}
