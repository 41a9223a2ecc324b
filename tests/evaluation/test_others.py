import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from stand_ins import Corner, FewFeatures
from synthetic_people.evaluator import Evaluator
from synthetic_people.evaluator_net import EvaluatorNet
from synthetic_people.evaluator_training import EvaluatorTraining
from synthetic_people.wardrobe import GARMENT_CLASSES
from twostream.data.keypoints import NUM_JOINTS
from twostream.evaluation import scoring
from twostream.evaluation.others import score_pairs
from twostream.evaluation.scored_pairs import Panel, ScoredPair
from twostream.evaluation.scoring import Scoring
from twostream.metrics.inception import frechet_distance, inception_score, moments

CPU = torch.device("cpu")
SIZE = (40, 32)
NUM_PAIRS = 12
ALL_METRICS = ("ssim", "mask_ssim", "inception_score", "mask_inception_score", "fid", "lpips", "pckh", "evaluator")
NO_JOINTS = "the joints are not known: name annotations=FILE"


def save_picture(path, seed, size=SIZE):
    random = np.random.default_rng(seed)
    path.parent.mkdir(exist_ok=True)
    noise = random.integers(0, 120, (*size, 3)) + random.integers(0, 120, 3)
    Image.fromarray(noise.astype(np.uint8)).save(path)
    return Panel(path)


def draw_joints(seed):
    return np.random.default_rng(seed).integers(0, SIZE, (NUM_JOINTS, 2))


@pytest.fixture
def pairs(tmp_path):
    """Twelve pairs of three people with six targets, in the opposite of their names' order."""
    made = []
    for i in reversed(range(NUM_PAIRS)):
        source, target = f"000{i % 3}_{i:02d}.png", f"000{i % 3}_{i % 6}.png"
        name = f"{source}___{target}_vis.png"
        generated = save_picture(tmp_path / "generated" / name, i)
        true = save_picture(tmp_path / "true" / target, 50 + i % 6)
        made.append(ScoredPair(name, source, target, generated, true, draw_joints(i % 6)))
    return made


@pytest.fixture
def out(tmp_path):
    return tmp_path / "new" / "scores.json"


@pytest.fixture
def score(tmp_path, out, monkeypatch):
    """Scores pairs with the estimator above, and with the features above where `has_net`, else without weights."""

    def score(pairs, *metrics, protocol="all", train_images=None, has_net=False, **changes):
        given = {
            "metrics": metrics,
            "weights_dir": str(tmp_path / "weights"),
            "download": False,
            "cache_dir": str(tmp_path / "cache"),
            "batch_size": 5,
            "num_workers": 0,
            "pose_estimator": Corner,
            "evaluator": EvaluatorTraining(4, 1, 2, 2, 2, 1e-3),
        }
        if has_net:
            monkeypatch.setattr(scoring, "InceptionFeatures", FewFeatures)
        about = {"images": "there", "scored": len(pairs), "left_out": 0}
        where = (train_images, tmp_path / "people", changes.pop("out", out))
        return score_pairs(pairs, Scoring(**given | changes), protocol, *where, about, CPU)

    return score


def values_of(content):
    return {(entry["metric"], entry["protocol"]): entry["value"] for entry in content["values"]}


def reasons_of(content):
    return {(entry["metric"], entry["protocol"]): entry["reason"] for entry in content["missing"]}


def read(panel):
    return np.asarray(Image.open(panel.path))


def test_values_rows_and_resamples_lie_side_by_side_and_nothing_else(score, pairs, out):
    content = score(pairs, "ssim", "pckh")
    assert json.loads(out.read_text()) == content
    assert {path.name for path in out.parent.iterdir()} == {"scores.json", "scores.csv", "scores.bootstrap.json"}
    assert content["run"] == {"images": "there", "scored": 12, "left_out": 0}
    assert content["test"]["identities"] == 3
    bootstrap = json.loads(out.with_name("scores.bootstrap.json").read_text())
    assert {(e["metric"], len(e["values"])) for e in bootstrap["replicates"]} == {("ssim", 1000), ("pckh", 1000)}


def test_pictures_are_scored_in_the_order_of_their_names(score, pairs, out):
    logits = np.stack([read(pair.generated).mean(axis=(0, 1)) / 20 for pair in pairs])
    content = score(pairs, "inception_score", "ssim", has_net=True)
    rows = list(csv.DictReader(out.with_suffix(".csv").read_text().splitlines()))
    assert [row["image"] for row in rows] == sorted(pair.name for pair in pairs)
    value = values_of(content)["inception_score", "standard"]
    order = np.argsort([pair.name for pair in pairs])
    assert value == pytest.approx(inception_score(logits[order])[0], rel=1e-5)
    assert value != pytest.approx(inception_score(logits)[0], rel=1e-5)


def test_fid_is_to_the_targets_each_once_and_to_the_pictures_of_a_folder(score, pairs, tmp_path):
    train = [save_picture(tmp_path / "train" / name, 80 + i) for i, name in enumerate(("a.png", "b.PNG", "c.jpg"))]
    (tmp_path / "train" / ".hidden.png").write_bytes(b"no picture")
    (tmp_path / "train" / "notes.txt").write_text("no picture")
    content = score(pairs, "fid", has_net=True, train_images=tmp_path / "train")
    targets = {pair.target: pair.true for pair in pairs}.values()
    sets = {"fid_train": train, "fid_test": targets}
    generated, *references = (
        moments(np.stack([read(panel).mean(axis=(0, 1)) for panel in panels]))
        for panels in ([pair.generated for pair in pairs], *sets.values())
    )
    expected = {
        (name, "standard"): frechet_distance(generated, reference)
        for name, reference in zip(sets, references, strict=True)
    }
    assert values_of(content) == pytest.approx(expected, rel=1e-4)
    assert [entry["reference_n"] for entry in content["values"]] == [3, 6]


@pytest.mark.parametrize("kind", ["missing", "empty"])
def test_a_folder_of_training_pictures_that_is_of_no_use_is_refused(score, pairs, tmp_path, kind):
    folder = tmp_path / "train"
    if kind == "empty":
        folder.mkdir()
    with pytest.raises(ValueError, match=f"{folder}: expected"):
        score(pairs, "fid", has_net=True, train_images=folder)


def test_the_protocol_chooses_the_metrics(score, pairs):
    wanted = ("ssim", "inception_score", "fid", "pckh")
    by_protocol = {p: set(values_of(score(pairs, *wanted, protocol=p, has_net=True))) for p in ("patn", "standard")}
    assert by_protocol == {
        "patn": {("ssim", "patn"), ("inception_score", "patn"), ("pckh", "patn")},
        "standard": {("ssim", "standard"), ("inception_score", "standard"), ("fid_test", "standard")},
    }
    everything = score(pairs, *wanted, protocol="all", has_net=True)
    assert set(values_of(everything)) == by_protocol["patn"] | by_protocol["standard"]
    assert everything["missing"] == []


@pytest.mark.parametrize("joints_known", [0, 11])
def test_without_the_joints_of_every_pair_what_needs_them_is_listed(score, pairs, joints_known):
    pairs = [
        ScoredPair(p.name, p.source, p.target, p.generated, p.true, p.joints if i < joints_known else None)
        for i, p in enumerate(pairs)
    ]
    content = score(pairs, *ALL_METRICS, has_net=True)
    reasons = reasons_of(content)
    masked = {(name, p) for name in ("mask_ssim", "mask_inception_score") for p in ("patn", "standard")}
    unknown = masked | {("pckh", "patn"), ("evaluator", "evaluator")}
    assert {name for name, reason in reasons.items() if reason == NO_JOINTS} == unknown
    assert set(reasons) == unknown | {("lpips", "standard")}
    both = {(name, p) for name in ("ssim", "inception_score") for p in ("patn", "standard")}
    assert set(values_of(content)) == both | {("fid_test", "standard")}


def test_without_joints_only_what_was_wanted_is_listed(score, pairs):
    unknown = [ScoredPair(p.name, p.source, p.target, p.generated, p.true, joints=None) for p in pairs]
    assert score(unknown, "ssim", "fid", has_net=True)["missing"] == []
    content = score(unknown, "ssim", "mask_ssim", "pckh", protocol="standard")
    assert reasons_of(content) == {("mask_ssim", "standard"): NO_JOINTS}


def test_the_evaluator_stands_beside_the_others(score, pairs, tmp_path, monkeypatch):
    torch.manual_seed(0)
    evaluator = Evaluator(EvaluatorNet(NUM_JOINTS, GARMENT_CLASSES, stride=4), {}, CPU)
    asked = []
    monkeypatch.setattr(EvaluatorTraining, "prepare", lambda self, *given: asked.append(given) or evaluator)
    content = score(pairs, "ssim", "evaluator")
    assert asked == [(SIZE, tmp_path / "people", tmp_path / "cache", CPU)]
    names = ("inception_score", "mask_inception_score", "frechet_test", "pckh")
    ssim = {("ssim", "patn"), ("ssim", "standard")}
    assert set(values_of(content)) == ssim | {(name, "evaluator") for name in names}


def test_too_few_pictures_for_a_metric_leave_the_others(score, pairs):
    content = score(pairs[:1], "ssim", "inception_score", "fid", "pckh", has_net=True)
    splits = "expected 1 to 1 splits for 1 images, got 10"
    assert reasons_of(content) == {
        ("fid_test", "standard"): "expected the features of at least 2 images, got 1",
        ("inception_score", "patn"): splits,
        ("inception_score", "standard"): splits,
    }
    assert set(values_of(content)) == {("ssim", "patn"), ("ssim", "standard"), ("pckh", "patn")}
    assert {entry["interval"] for entry in content["values"]} == {None}


def test_what_was_cut_off_goes_on(score, pairs, out, monkeypatch):
    seen = []

    def measure(self, images):
        seen.append(len(images))
        if sum(seen) == 10:
            raise InterruptedError
        return np.zeros((len(images), NUM_JOINTS, 2), dtype=np.int64)

    monkeypatch.setattr("twostream.evaluation.score.SHARD", 5)
    monkeypatch.setattr(Corner, "__call__", measure)
    with pytest.raises(InterruptedError):
        score(pairs, "ssim", "pckh")
    assert not out.exists()
    content = score(pairs, "ssim", "pckh")
    assert seen == [5, 5, 5, 2]
    assert content["values"] == score(pairs, "ssim", "pckh")["values"]
    assert {path.name for path in out.parent.iterdir()} == {"scores.json", "scores.csv", "scores.bootstrap.json"}


def test_the_correspondence_wants_the_network(score, pairs, out):
    message = "metrics: correspondence needs the network, not its pictures: twostream-evaluate run=FOLDER"
    with pytest.raises(ValueError, match=message):
        score(pairs, "ssim", "correspondence")
    assert not out.parent.exists()


@pytest.mark.parametrize("name", ["scores", "scores.csv"])
def test_values_go_into_a_json_file(score, pairs, out, name):
    with pytest.raises(ValueError, match=rf"out: expected a name that ends in \.json, got .*/{name}"):
        score(pairs, "ssim", out=out.with_name(name))
    assert not out.parent.exists()
