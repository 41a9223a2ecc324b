import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from stand_ins import CPU, Corner, FewFeatures, save_image
from synthetic_people.evaluator_training import EvaluatorTraining
from twostream.data.keypoints import NUM_JOINTS
from twostream.evaluation import measurement, scoring
from twostream.evaluation.external import score_external
from twostream.evaluation.scoring import Scoring
from twostream.metrics.inception import frechet_distance, inception_score, moments
from twostream.metrics.metric import ScoredPair

SIZE = (40, 32)
NUM_PAIRS = 12
ALL_METRICS = ("ssim", "mask_ssim", "inception_score", "mask_inception_score", "fid", "lpips", "pckh", "evaluator")
NO_JOINTS = "keypoints unavailable: pass annotations=FILE"


@pytest.fixture
def pairs(tmp_path):
    """Twelve pairs of three people with six targets, in the opposite of their names' order."""
    made = []
    for i in reversed(range(NUM_PAIRS)):
        source, target = f"000{i % 3}_{i:02d}.png", f"000{i % 3}_{i % 6}.png"
        name = f"{source}___{target}_vis.png"
        generated = save_image(tmp_path / "generated" / name, i, SIZE)
        true = save_image(tmp_path / "true" / target, 50 + i % 6, SIZE)
        joints = np.random.default_rng(i % 6).integers(0, SIZE, (NUM_JOINTS, 2))
        made.append(ScoredPair(name, source, target, generated, true, joints))
    return made


@pytest.fixture
def out(tmp_path):
    return tmp_path / "new" / "scores.json"


@pytest.fixture
def score(tmp_path, out, monkeypatch):
    """Scores pairs with the stand-in of an estimator and, if `has_net`, of Inception, else without weights."""

    def score(pairs, *metrics, out=out, has_net=False, **options):
        settings = Scoring(
            metrics=metrics,
            weights_dir=str(tmp_path / "weights"),
            download=False,
            cache_dir=str(tmp_path / "cache"),
            batch_size=5,
            num_workers=0,
            pose_estimator=Corner,
            evaluator=EvaluatorTraining(4, 1, 2, 2, 2, 1e-3),
        )
        if has_net:
            monkeypatch.setattr(scoring, "InceptionNet", FewFeatures)
        record = {"images": "folder", "scored": len(pairs), "left_out": 0}
        return score_external(pairs, settings, out, record, CPU, people_root=tmp_path / "people", **options)

    return score


def values_of(content):
    return {(entry["metric"], entry["protocol"]): entry["value"] for entry in content["values"]}


def reasons_of(content):
    return {(entry["metric"], entry["protocol"]): entry["reason"] for entry in content["missing"]}


def test_three_files_are_written_and_nothing_else(score, pairs, out):
    content = score(pairs, "ssim", "pckh")
    assert json.loads(out.read_text()) == content
    assert {path.name for path in out.parent.iterdir()} == {"scores.json", "scores.csv", "scores.bootstrap.json"}
    assert content["run"] == {"images": "folder", "scored": 12, "left_out": 0}
    assert content["test"]["identities"] == 3
    bootstrap = json.loads(out.with_name("scores.bootstrap.json").read_text())
    assert {(e["metric"], len(e["values"])) for e in bootstrap["replicates"]} == {("ssim", 1000), ("pckh", 1000)}


def test_images_are_scored_in_the_order_of_their_names(score, pairs, out):
    content = score(pairs, "inception_score", "ssim", has_net=True)
    rows = list(csv.DictReader(out.with_suffix(".csv").read_text().splitlines()))
    names = sorted(pair.name for pair in pairs)
    assert [row["image"] for row in rows] == names
    logits = np.stack([pair.generated.read().mean(axis=(0, 1)) / 20 for pair in pairs])
    order = [[pair.name for pair in pairs].index(name) for name in names]
    value = values_of(content)["inception_score", "standard"]
    assert value == pytest.approx(inception_score(logits[order])[0], rel=1e-5)
    assert value != pytest.approx(inception_score(logits)[0], rel=1e-5)


def test_fid_compares_with_the_targets_each_once_and_with_a_folder(score, pairs, tmp_path):
    train = [save_image(tmp_path / "train" / name, 80 + i, SIZE) for i, name in enumerate(("a.png", "b.PNG", "c.jpg"))]
    (tmp_path / "train" / ".hidden.png").write_bytes(b"not an image")
    content = score(pairs, "fid", has_net=True, train_images=tmp_path / "train")
    sets = [[pair.generated for pair in pairs], train, list({pair.target: pair.true for pair in pairs}.values())]
    generated, *references = (moments(np.stack([p.read().mean(axis=(0, 1)) for p in panels])) for panels in sets)
    names = [("fid_train", "standard"), ("fid_test", "standard")]
    expected = {name: frechet_distance(generated, ref) for name, ref in zip(names, references, strict=True)}
    assert values_of(content) == pytest.approx(expected, rel=1e-4)
    assert [entry["reference_n"] for entry in content["values"]] == [3, 6]


def test_a_folder_of_training_images_that_is_missing_or_empty_is_refused(score, pairs, tmp_path):
    folder = tmp_path / "train"
    for make in (lambda: None, folder.mkdir):
        make()
        with pytest.raises(ValueError, match=f"{folder}: expected"):
            score(pairs, "fid", has_net=True, train_images=folder)


def test_the_protocol_selects_the_metrics(score, pairs):
    metrics = ("ssim", "inception_score", "fid", "pckh")
    patn, standard, both = (score(pairs, *metrics, protocol=p, has_net=True) for p in ("patn", "standard", "all"))
    assert set(values_of(patn)) == {(name, "patn") for name in ("ssim", "inception_score", "pckh")}
    assert set(values_of(standard)) == {(name, "standard") for name in ("ssim", "inception_score", "fid_test")}
    assert values_of(both) == values_of(patn) | values_of(standard)
    assert both["missing"] == []


@pytest.mark.parametrize("num_annotated", [0, 11])
def test_without_the_joints_of_every_pair_what_needs_them_is_listed(score, pairs, num_annotated):
    pairs = [pair if i < num_annotated else replace(pair, joints=None) for i, pair in enumerate(pairs)]
    content = score(pairs, *ALL_METRICS, has_net=True)
    reasons = reasons_of(content)
    need_joints = {(name, p) for name in ("mask_ssim", "mask_inception_score") for p in ("patn", "standard")}
    need_joints |= {("pckh", "patn"), ("evaluator", "evaluator")}
    assert {name for name, reason in reasons.items() if reason == NO_JOINTS} == need_joints
    assert set(reasons) == need_joints | {("lpips", "standard")}
    both = {(name, p) for name in ("ssim", "inception_score") for p in ("patn", "standard")}
    assert set(values_of(content)) == both | {("fid_test", "standard")}


def test_without_joints_only_requested_metrics_are_listed(score, pairs):
    unknown = [replace(pair, joints=None) for pair in pairs]
    assert score(unknown, "ssim", "fid", has_net=True)["missing"] == []
    content = score(unknown, "ssim", "mask_ssim", "pckh", protocol="standard")
    assert reasons_of(content) == {("mask_ssim", "standard"): NO_JOINTS}


def test_other_metrics_are_computed_if_one_needs_more_images(score, pairs):
    content = score(pairs[:1], "ssim", "inception_score", "fid", "pckh", has_net=True)
    splits = "expected 1 to 1 splits for 1 images, got 10"
    assert reasons_of(content) == {
        ("fid_test", "standard"): "expected the features of at least 2 images, got 1",
        ("inception_score", "patn"): splits,
        ("inception_score", "standard"): splits,
    }
    assert set(values_of(content)) == {("ssim", "patn"), ("ssim", "standard"), ("pckh", "patn")}
    assert {entry["interval"] for entry in content["values"]} == {None}


def test_an_interrupted_scoring_resumes(score, pairs, out, monkeypatch):
    batches = []

    def detect(self, images):
        batches.append(len(images))
        if sum(batches) == 10:
            raise InterruptedError
        return np.zeros((len(images), NUM_JOINTS, 2), dtype=np.int64)

    monkeypatch.setattr(measurement, "SHARD_SIZE", 5)
    monkeypatch.setattr(Corner, "__call__", detect)
    with pytest.raises(InterruptedError):
        score(pairs, "ssim", "pckh")
    assert not out.exists()
    content = score(pairs, "ssim", "pckh")
    assert batches == [5, 5, 5, 2]
    assert content["values"] == score(pairs, "ssim", "pckh")["values"]
    assert {path.name for path in out.parent.iterdir()} == {"scores.json", "scores.csv", "scores.bootstrap.json"}


def test_what_can_not_be_scored_is_refused(score, pairs, out):
    message = "metrics: correspondence needs the network, not its images: twostream-evaluate run=FOLDER"
    with pytest.raises(ValueError, match=message):
        score(pairs, "ssim", "correspondence")
    for name in ("scores", "scores.csv"):
        with pytest.raises(ValueError, match=rf"out: expected a name that ends in \.json, got .*/{name}"):
            score(pairs, "ssim", out=out.with_name(name))
    assert not out.parent.exists()
