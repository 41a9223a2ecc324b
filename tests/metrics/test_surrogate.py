import numpy as np
import pytest
import torch

from stand_ins import CPU, draw_batch
from synthetic_people.clothes import garment_classes
from synthetic_people.evaluator import Evaluator, EvaluatorNet
from tiny_run import tiny_people
from twostream.data.keypoints import NUM_JOINTS
from twostream.metrics.inception import (
    FrechetDistance,
    InceptionScore,
    MaskInceptionScore,
    frechet_distance,
    inception_score,
    moments,
)
from twostream.metrics.metric import to_tensor, update_all
from twostream.metrics.pckh import pckh, pckh_counts
from twostream.metrics.protocols import STANDARD
from twostream.metrics.surrogate import (
    EvaluatorColumns,
    EvaluatorPCKh,
    appearance_accuracies,
    clothes_of,
    is_synthetic,
)

SIZE = (40, 32)


@pytest.fixture
def evaluator():
    torch.manual_seed(0)
    return Evaluator(EvaluatorNet(stride=4), {}, CPU)


def test_the_evaluator_gives_scores_distances_and_pckh_under_its_own_protocol(evaluator):
    # Joints all over the image: the head box is so large that a random evaluator finds some of them.
    joints = [np.random.default_rng(i).integers(0, SIZE, (NUM_JOINTS, 2)) for i in range(20)]
    images = draw_batch(SIZE, count=20)._replace(joints=joints)
    reference = moments(evaluator(to_tensor(images.true)).features)
    shared = EvaluatorColumns(evaluator, SIZE)
    distance = FrechetDistance("frechet_test", shared, "test", reference)
    metrics = [InceptionScore(shared), MaskInceptionScore(shared), distance, EvaluatorPCKh(shared)]
    columns = update_all(metrics, images)
    full = evaluator(to_tensor(images.generated))
    cut = evaluator(to_tensor(images.generated * np.stack(images.masks(STANDARD))[..., None]))
    expected = {
        "inception_score": inception_score(full.logits)[0],
        "mask_inception_score": inception_score(cut.logits)[0],
        "frechet_test": frechet_distance(moments(full.features), reference),
        "pckh": pckh([pckh_counts(found, true) for found, true in zip(full.joints, joints, strict=True)]),
    }
    assert {metric.name: metric.compute(columns, np.arange(20)) for metric in metrics} == pytest.approx(expected)
    assert 0 < expected["pckh"] < 1
    assert np.abs(full.logits - cut.logits).max() > 1e-3
    assert {metric.protocol for metric in metrics} == {"evaluator"}
    net = {"version": 1, "frame": "40x32", "feature_net": "evaluator", "feature_net_hash": evaluator.weights_hash}
    assert [metric.details for metric in metrics] == [
        net | {"splits": 10},
        net | {"splits": 10},
        net | {"reference": "test images", "reference_n": 20},
        net,
    ]


def test_the_metrics_share_one_pass_over_the_images_and_one_over_the_persons(evaluator, monkeypatch):
    passes = []
    call = Evaluator.__call__
    monkeypatch.setattr(Evaluator, "__call__", lambda self, images: passes.append(len(images)) or call(self, images))
    shared = EvaluatorColumns(evaluator, SIZE)
    distance = FrechetDistance("frechet_test", shared, "test", moments(np.eye(3)))
    update_all([InceptionScore(shared), MaskInceptionScore(shared), distance, EvaluatorPCKh(shared)], draw_batch(SIZE))
    assert passes == [3, 3]


def test_appearance_accuracy_counts_the_people_whose_clothes_are_read_right(evaluator):
    images = draw_batch(SIZE, count=20)
    read = evaluator(to_tensor(images.generated)).garments
    of_true = evaluator(to_tensor(images.true)).garments
    # Colour is right of all but 5, pattern of all but 8, legwear of all; one person has both wrong.
    worn = read.copy()
    worn[:5, 0] += 1
    worn[4:12, 1] += 1
    shared = EvaluatorColumns(evaluator, SIZE, clothes=lambda name: worn[int(name)].tolist())
    metrics = appearance_accuracies(shared)
    columns = update_all(metrics, images)
    values = {metric.name: metric.compute(columns, np.arange(20)) for metric in metrics}
    names = [f"{kind}_accuracy" for kind in ("appearance", "colour", "pattern", "legwear")]
    assert values == dict(zip(names, [8 / 20, 15 / 20, 12 / 20, 1], strict=True))
    assert metrics[1].compute(columns, np.array([0, 0, 7])) == pytest.approx(1 / 3)
    expected = [(of_true == worn).all(axis=1).mean(), *(of_true == worn).mean(axis=0)]
    assert [metric.extras(columns) for metric in metrics] == [{"true_images": value} for value in expected]
    assert appearance_accuracies(EvaluatorColumns(evaluator, SIZE)) == []


def test_only_the_synthetic_dataset_is_synthetic():
    people = tiny_people()
    assert is_synthetic(people)
    assert not is_synthetic(None)
    assert clothes_of(None) is None
    name, outfit, shape, _ = people.draw("test", 1)
    assert clothes_of(people)(f"{name}_c1s1_000025_01.jpg") == garment_classes(outfit, shape)
    name, outfit, shape, _ = people.draw("train", 4)
    assert people.garments(name) == garment_classes(outfit, shape)
