import dataclasses
import logging

import numpy as np
import pytest
import torch
from PIL import Image

from synthetic_people import evaluator as evaluators
from synthetic_people.evaluator import EvaluatorTraining, draw_batch, measure_accuracy, read_labelled_images
from synthetic_people.people import SyntheticPeople
from synthetic_people.wardrobe import garment_classes
from twostream.data.keypoints import read_annotations
from twostream.data.pose import person_mask

SIZE = (32, 16)
CPU = torch.device("cpu")
TRAINING = EvaluatorTraining(4, 1, 2, iterations=3, batch_size=4, learning_rate=1e-2)


@pytest.fixture(scope="module")
def people_root(tmp_path_factory):
    """A folder with the people of `TRAINING`, rendered in this process."""
    parent = tmp_path_factory.mktemp("people")
    evaluatord_people().prepare(parent)
    return parent


def evaluatord_people():
    return SyntheticPeople(SIZE, TRAINING.num_identities, 1, TRAINING.views_per_identity, 1, num_workers=1)


@pytest.fixture(scope="module")
def labelled(people_root):
    return read_labelled_images(evaluatord_people(), people_root / evaluatord_people().key())


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def evaluator(people_root, cache):
    return TRAINING.prepare(SIZE, people_root, cache, CPU)


def test_album_holds_what_is_true_of_the_pictures(labelled, people_root):
    root = people_root / evaluatord_people().key()
    annotations = read_annotations(root / "annotation-train.csv")
    assert len(annotations) == 8
    assert [tuple(tensor.shape) for tensor in labelled] == [(8, 3, *SIZE), (8, 18, 2), (8, 1, *SIZE), (8, 3)]
    for i, (name, joints) in enumerate(annotations.items()):
        with Image.open(root / "train" / name) as file:
            assert (np.asarray(file) == labelled.images[i].permute(1, 2, 0).numpy()).all()
        assert (np.nan_to_num(labelled.joints[i].numpy(), nan=-1) == joints).all()
        assert (labelled.masks[i, 0].numpy() == person_mask(joints, SIZE)).all()
        person, outfit, shape, _ = evaluatord_people().draw("train", i // 2)
        assert name.startswith(f"{person}_")
        assert labelled.garments[i].tolist() == list(garment_classes(outfit, shape))
    assert labelled.joints.isnan().any()


def test_a_part_of_an_album_is_cut_from_all_of_it(labelled):
    part = labelled.part(slice(-2, None))
    for some, whole in zip(part, labelled, strict=True):
        torch.testing.assert_close(some, whole[6:], rtol=0, atol=0, equal_nan=True)


def test_a_evaluator_is_trained_once(evaluator, people_root, cache, monkeypatch):
    (path,) = cache.glob("evaluator-32x16-*.pt")
    before = path.stat().st_mtime_ns

    def never(*_):
        raise AssertionError("trained again")

    monkeypatch.setattr(EvaluatorTraining, "_train", never)
    again = TRAINING.prepare(SIZE, people_root, cache, CPU)
    assert path.stat().st_mtime_ns == before
    assert again.weights_hash == evaluator.weights_hash
    assert again.accuracy == evaluator.accuracy


def test_accuracy_is_that_of_the_people_who_were_kept_out(evaluator, labelled):
    expected = measure_accuracy(evaluator, labelled.part(slice(-2, None)))
    assert list(evaluator.accuracy) == ["PCKh", "colour", "pattern", "legwear"]
    assert evaluator.accuracy == pytest.approx(expected, rel=1e-6)


def test_people_who_are_kept_out_do_not_train(people_root, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        evaluators, "draw_batch", lambda labelled, *others: seen.append(labelled) or draw_batch(labelled, *others)
    )
    TRAINING.prepare(SIZE, people_root, tmp_path, CPU)
    assert [len(labelled.images) for labelled in seen] == [6, 6, 6]


def test_training_gives_the_same_evaluator_again_and_tells_its_accuracy(evaluator, people_root, tmp_path, caplog):
    torch.manual_seed(7)
    with caplog.at_level(logging.INFO, logger="synthetic_people.evaluator"):
        again = TRAINING.prepare(SIZE, people_root, tmp_path, CPU)
    assert again.weights_hash == evaluator.weights_hash
    assert caplog.messages == [evaluator.describe()]


def test_training_moves_the_weights(people_root, tmp_path, evaluator):
    longer = dataclasses.replace(TRAINING, iterations=4).prepare(SIZE, people_root, tmp_path, CPU)
    assert longer.weights_hash != evaluator.weights_hash


def test_the_global_random_state_stays_as_it_is(people_root, tmp_path):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    for _ in ("train", "load"):
        TRAINING.prepare(SIZE, people_root, tmp_path, CPU)
        assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("change", [{"iterations": 2}, {"batch_size": 3}, {"learning_rate": 2e-2}])
def test_other_settings_are_another_evaluator(people_root, tmp_path, change):
    TRAINING.prepare(SIZE, people_root, tmp_path, CPU)
    dataclasses.replace(TRAINING, **change).prepare(SIZE, people_root, tmp_path, CPU)
    assert len(list(tmp_path.glob("evaluator-32x16-*.pt"))) == 2


def test_a_broken_training_leaves_no_evaluator(people_root, tmp_path, monkeypatch):
    def fail(_, path):
        path.write_bytes(b"half a evaluator")
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(evaluators.torch, "save", fail)
        with pytest.raises(OSError, match="disk full"):
            TRAINING.prepare(SIZE, people_root, tmp_path, CPU)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize(
    "content", [b"", b"not a evaluator", {"weights": [1, 2]}, {"stem": torch.zeros(3)}, "accuracy"]
)
def test_a_broken_file_is_named(evaluator, people_root, cache, tmp_path, content):
    (whole,) = cache.glob("evaluator-32x16-*.pt")
    path = tmp_path / whole.name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        state = torch.load(whole, weights_only=True) | {"accuracy/PCKh": torch.zeros(2)}
        torch.save(state if content == "accuracy" else content, path)
    with pytest.raises(ValueError, match=rf"{whole.name}: expected"):
        TRAINING.prepare(SIZE, people_root, tmp_path, CPU)


@pytest.mark.parametrize(("num_identities", "num_val"), [(4, 0), (4, 4), (4, 5), (0, 0)])
def test_settings_that_keep_out_no_one_or_all_are_refused(num_identities, num_val):
    message = f"expected 0 < num_val_identities < num_identities, got {num_val} and {num_identities}"
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TRAINING, num_identities=num_identities, num_val_identities=num_val)


@pytest.mark.parametrize(("size", "stride"), [((32, 16), 2), ((64, 32), 2), ((128, 64), 4), ((256, 176), 8)])
def test_heatmaps_have_at_most_32_rows(size, stride):
    assert evaluators._new_net(size).stride == stride
