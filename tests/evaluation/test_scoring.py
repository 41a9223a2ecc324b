"""Which metrics are computed on which images, and what `score` and `score_external` return."""

import csv
import json
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from stand_ins import CPU, Corner, FewFeatures, fid_of_few, random_alexnet, random_inception, save_image, save_weights
from synthetic_people.evaluator import Evaluator, EvaluatorNet
from synthetic_people.evaluator_training import EvaluatorTraining
from tiny_run import by_metric
from twostream.data.keypoints import NUM_JOINTS
from twostream.evaluation import measurement, scoring
from twostream.evaluation.measurement import ScoreFiles
from twostream.evaluation.scoring import METRICS, MetricSelection, ScoredImages, Scoring, score, score_external
from twostream.metrics.inception import INCEPTION, InceptionNet, frechet_distance, inception_score, moments
from twostream.metrics.lpips import ALEXNET, LPIPSNet
from twostream.metrics.metric import ScoredPair, to_tensor
from twostream.metrics.protocols import GFLA, PATN, PROTOCOLS, STANDARD
from twostream.weights import WeightStore

SIZE = (40, 32)
NUM_PAIRS = 12
NO_JOINTS = "keypoints unavailable: pass annotations=FILE"


def draw_panels(folder, count, seed=0):
    return [save_image(folder / f"{i}.png", seed + i, SIZE) for i in range(count)]


@pytest.fixture
def settings(tmp_path):
    """Makes the settings of an evaluation without weights."""

    def make(*metrics, **changes):
        defaults = {
            "metrics": metrics,
            "protocols": ["patn", "standard"],
            "weights": WeightStore(tmp_path / "weights", download=False),
            "cache_dir": str(tmp_path / "cache"),
            "batch_size": 4,
            "num_workers": 0,
            "pose_estimator": Corner,
            "evaluator": EvaluatorTraining(4, 1, 2, 2, 2, 1e-3),
        }
        return Scoring(**defaults | changes)

    return make


@pytest.fixture
def images(tmp_path):
    """Makes what is scored: two generated images, and reference sets of some numbers of images."""

    def make(protocols=PROTOCOLS, size=SIZE, people_root=None, suffixes=("png", "png"), **reference_counts):
        panels = [save_image(tmp_path / "images" / f"{i}.{suffix}", i, SIZE) for i, suffix in enumerate(suffixes)]
        joints = np.full((NUM_JOINTS, 2), 9)
        pairs = [ScoredPair(panel.path.name, "a", "b", panel, panel, joints) for panel in panels]
        counts = enumerate(reference_counts.items())
        references = {name: draw_panels(tmp_path / name, count, 20 * i) for i, (name, count) in counts}
        return ScoredImages(pairs, size, protocols, references, {}, people_root)

    return make


@pytest.fixture
def few_features(monkeypatch):
    """A stand-in of Inception."""
    net = FewFeatures()
    monkeypatch.setitem(scoring.INCEPTIONS, "2015", lambda store, device: net)
    return net


def select(settings, images):
    return MetricSelection(images, settings, CPU)


def names_of(selection):
    return [(metric.name, metric.protocol) for metric in selection.metrics]


@pytest.mark.parametrize("change", [{"batch_size": 0}, {"num_workers": -1}])
def test_numbers_out_of_range_are_refused(settings, change):
    with pytest.raises(ValueError, match=r"^scoring: expected a batch_size of at least 1"):
        replace(settings("ssim"), **change)


def test_unknown_metrics_are_refused(settings):
    known = ", ".join(METRICS)
    with pytest.raises(ValueError, match=rf"metrics: expected some of {known}, got \['is', 'l1'\]"):
        settings("ssim", "l1", "is")
    with pytest.raises(ValueError, match=f"metrics: expected some of {known}, got none"):
        settings()


def test_metrics_that_no_protocol_has_are_refused(settings, images):
    with pytest.raises(
        ValueError, match=r"^scoring\.metrics: expected some of ssim, .*protocols patn, standard.*got psnr$"
    ):
        select(settings("psnr"), images(test=2))


def test_without_weights_metrics_are_listed_with_file_and_folder(settings, images, tmp_path, caplog):
    selection = select(settings(*METRICS), images(train=2, test=2))
    reasons = by_metric(selection.missing, "reason")
    by_inception = {(n, p) for n in ("inception_score", "mask_inception_score") for p in ("patn", "standard")}
    by_inception |= {("fid_train", "standard"), ("fid_test", "standard")}
    assert set(reasons) == by_inception | {("lpips", "standard")}
    for name, reason in reasons.items():
        file = INCEPTION if name in by_inception else ALEXNET
        advice = f"put it into {tmp_path / 'weights'}, from {file.url}, or name a file: weights.{file.option}=FILE"
        assert reason == f"{file.name} is missing: {advice}"
    listed = "inception_score, mask_inception_score, fid_train, fid_test"
    assert f"not computed: {listed}: {reasons['fid_test', 'standard']}" in caplog.messages
    ssim = [(n, p) for n in ("ssim", "mask_ssim") for p in ("patn", "standard")]
    assert names_of(selection) == [*ssim, ("pckh", "patn")]


def test_without_torch_fidelity_metrics_are_listed(settings, images, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    selection = select(settings("inception_score"), images([PATN]))
    assert list(by_metric(selection.missing, "reason")) == [("inception_score", "patn")]
    assert "pip install 'twostream[inception]'" in selection.missing[0]["reason"]


def test_weights_of_another_form_are_listed(settings, images, tmp_path):
    path = tmp_path / "mine.pth"
    torch.save({"features.0.weight": torch.zeros(2)}, path)
    reasons = by_metric(select(settings("lpips", weights=WeightStore(lpips=path)), images()).missing, "reason")
    expected = "expected AlexNet's features.0.weight of shape (64, 3, 11, 11), got (2,)"
    assert reasons == {("lpips", "standard"): f"{path}: {expected}"}


def test_an_inception_without_its_last_layer_gives_the_distances_alone(settings, images, tmp_path, caplog):
    path, state = tmp_path / "mine.pth", random_inception()
    torch.save(state | {"fc.bias": state["fc.bias"] * torch.nan}, path)
    metrics = ("inception_score", "mask_inception_score", "fid")
    selection = select(settings(*metrics, weights=WeightStore(inception=path)), images(test=3))
    assert names_of(selection) == [("fid_test", "standard")]
    reason = f"{path}: IS can't be computed without a finite fc.bias"
    scores = [(name, protocol) for protocol in ("patn", "standard") for name in metrics[:2]]
    assert by_metric(selection.missing, "reason") == dict.fromkeys(scores, reason)
    assert f"not computed: inception_score, mask_inception_score: {reason}" in caplog.messages


@pytest.mark.parametrize("error", [ValueError("no file"), ImportError("no package")])
def test_without_an_estimator_pckh_is_listed(settings, images, error):
    def fail():
        raise error

    selection = select(settings("pckh", "ssim", pose_estimator=fail), images())
    assert by_metric(selection.missing, "reason") == {("pckh", "patn"): str(error)}
    assert names_of(selection) == [("ssim", "patn"), ("ssim", "standard")]


def test_a_protocol_is_scored_once_and_in_one_version(settings):
    assert settings("ssim", protocols=["all", "gfla"]).protocols_of_runs == [PATN, STANDARD, GFLA]
    # Both versions of a protocol would have columns of one name.
    for names in (["patn", "patn_v1"], ["all", "patn"]):
        with pytest.raises(
            ValueError, match=rf"scoring\.protocols: expected each protocol once, got {', '.join(names)}"
        ):
            settings("ssim", protocols=names)


def test_lpips_of_too_small_images_is_listed(settings, images, monkeypatch):
    monkeypatch.setattr(scoring, "LPIPSNet", lambda store, device: object.__new__(LPIPSNet))
    reasons = by_metric(select(settings("lpips"), images(size=(32, 16))).missing, "reason")
    assert reasons == {("lpips", "standard"): "LPIPS: expected images of at least 31x31, got 32x16"}


def test_no_network_is_built_without_need(settings, images, monkeypatch, tmp_path):
    monkeypatch.setattr(scoring, "INCEPTIONS", {})
    monkeypatch.setattr(scoring, "LPIPSNet", pytest.fail)
    monkeypatch.setattr(EvaluatorTraining, "prepare", pytest.fail)
    selection = select(settings("ssim", pose_estimator=pytest.fail), images(people_root=tmp_path, test=2))
    assert (len(selection.metrics), selection.missing) == (2, [])
    # The evaluator is only for synthetic people.
    assert "evaluator" not in [metric.protocol for metric in select(settings("ssim", "evaluator"), images()).metrics]


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        (PATN, ["ssim", "mask_ssim", "inception_score", "mask_inception_score", "pckh"]),
        (STANDARD, ["ssim", "mask_ssim", "inception_score", "mask_inception_score", "fid_test", "lpips"]),
    ],
)
def test_each_protocol_has_its_metrics(settings, images, few_features, monkeypatch, protocol, expected):
    monkeypatch.setattr(scoring, "LPIPSNet", lambda store, device: object.__new__(LPIPSNet))
    monkeypatch.setattr(LPIPSNet, "weights_hash", "def", raising=False)
    selection = select(settings(*METRICS), images([protocol], test=2))
    assert names_of(selection) == [(name, protocol.name) for name in expected]
    assert selection.missing == []
    assert few_features.num_inputs == (2 if protocol is STANDARD else 0)


@pytest.mark.parametrize(
    ("suffixes", "codec"), [(["png"], "png"), (["JPG", "jpg"], "jpg"), (["png", "jpeg"], "jpeg, png")]
)
def test_details_contain_the_codec_of_the_generated_images(settings, images, suffixes, codec):
    selection = select(settings("ssim", "pckh"), images(suffixes=suffixes))
    assert {metric.details["codec"] for metric in selection.metrics} == {codec}


@pytest.mark.parametrize("kind", ["unreadable", "size", "single"])
def test_an_unusable_reference_set_is_listed(settings, images, few_features, tmp_path, kind):
    scored = images(train=1 if kind == "single" else 6, test=2)
    reason = "expected the features of at least 2 images, got 1"
    if kind != "single":
        path = scored.references["train"][4].path
        reason = f"{path}: expected an image"
        if kind == "unreadable":
            path.write_bytes(b"not an image")
        else:
            save_image(path, 0, (41, 32))
            reason += " of height x width 40x32, got 41x32"
    selection = select(settings("fid", "inception_score"), scored)
    assert list(by_metric(selection.missing, "reason")) == [("fid_train", "standard")]
    assert selection.missing[0]["reason"].startswith(reason)
    scores = [("inception_score", "patn"), ("inception_score", "standard")]
    assert names_of(selection) == [*scores, ("fid_test", "standard")]
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_the_evaluator_is_prepared_for_the_images(settings, images, monkeypatch, tmp_path):
    torch.manual_seed(0)
    evaluator = Evaluator(EvaluatorNet(stride=4), {}, CPU)
    arguments = []
    monkeypatch.setattr(EvaluatorTraining, "prepare", lambda self, *args: arguments.append((self, *args)) or evaluator)
    requested = settings("evaluator")
    scored = images(people_root=tmp_path / "people", train=1, test=5)
    selection = select(requested, scored)
    assert arguments == [(requested.evaluator, SIZE, tmp_path / "people", tmp_path / "cache", CPU)]
    names = ("inception_score", "mask_inception_score", "frechet_test", "pckh")
    assert names_of(selection) == [(name, "evaluator") for name in names]
    few = "expected the features of at least 2 images, got 1"
    assert by_metric(selection.missing, "reason") == {("frechet_train", "evaluator"): few}
    assert selection.notes == [evaluator.describe()]
    true = np.stack([panel.read() for panel in scored.references["test"]])
    features = [evaluator(to_tensor(some)).features for some in (true[:4], true[4:])]
    np.testing.assert_allclose(selection.metrics[2].reference.mean, moments(np.concatenate(features)).mean)


@pytest.mark.slow
def test_values_are_those_of_the_networks_called_directly(settings, monkeypatch, tmp_path):
    store, published = save_weights(tmp_path / "weights", INCEPTION, random_inception())
    monkeypatch.setitem(scoring.INCEPTIONS, "2015", partial(InceptionNet, file=published))
    store, published = save_weights(tmp_path / "weights", ALEXNET, random_alexnet())
    monkeypatch.setattr(scoring, "LPIPSNet", partial(LPIPSNet, file=published))
    inception, lpips = scoring.INCEPTIONS["2015"](store, CPU), scoring.LPIPSNet(store, CPU)
    generated, true = (draw_panels(tmp_path / name, 11, seed) for name, seed in (("generated", 0), ("true", 50)))
    train = draw_panels(tmp_path / "train", 3, seed=90)
    pairs = [ScoredPair(p.path.name, "a", "b", p, t, joints=None) for p, t in zip(generated, true, strict=True)]
    scored = ScoredImages(pairs, SIZE, PROTOCOLS, {"train": train}, {}, None)
    files = ScoreFiles(*(tmp_path / "out" / name for name in ("metrics.json", "scores.csv", "bootstrap.json", "cache")))
    content = score(scored, settings("inception_score", "fid", "lpips"), files, CPU)
    assert content["missing"] == []
    images, true_images, train_images = (to_tensor(np.stack([p.read() for p in ps])) for ps in (generated, true, train))
    features, logits = inception(images)
    score_of_all, deviation = inception_score(logits)
    expected = {
        ("inception_score", "patn"): score_of_all,
        ("inception_score", "standard"): score_of_all,
        ("fid_train", "standard"): fid_of_few(features, inception(train_images)[0]),
        ("lpips", "standard"): lpips(images, true_images).mean(),
    }
    assert by_metric(content["values"], "value") == pytest.approx(expected, rel=1e-3)
    assert content["values"][0]["splits_std"] == pytest.approx(deviation, rel=1e-2)
    assert min(expected["fid_train", "standard"], expected["lpips", "standard"]) > 1e-2
    for entry in content["values"]:
        net = lpips if entry["metric"] == "lpips" else inception
        assert (entry["feature_net"], entry["feature_net_hash"]) == (net.name, net.weights_hash)
        assert (entry["n"], entry["codec"], entry["frame"]) == (11, "png", "40x32")
    assert not files.cache.exists()


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
def score_pairs(settings, tmp_path, out, monkeypatch):
    """Scores pairs with the stand-in of an estimator and, if `has_net`, of Inception, else without weights."""

    def score_pairs(pairs, *metrics, has_net=False, **options):
        if has_net:
            monkeypatch.setitem(scoring.INCEPTIONS, "2015", FewFeatures)
        record = {"images": "folder", "scored": len(pairs), "left_out": 0}
        return score_external(
            pairs, settings(*metrics, batch_size=5), out, record, CPU, people_root=tmp_path / "people", **options
        )

    return score_pairs


def test_three_files_are_written_and_nothing_else(score_pairs, pairs, out):
    content = score_pairs(pairs, "ssim", "pckh")
    assert json.loads(out.read_text()) == content
    assert {path.name for path in out.parent.iterdir()} == {"scores.json", "scores.csv", "scores.bootstrap.json"}
    assert content["run"] == {"images": "folder", "scored": 12, "left_out": 0}
    assert content["test"]["identities"] == 3
    bootstrap = json.loads(out.with_name("scores.bootstrap.json").read_text())
    assert {(e["metric"], len(e["values"])) for e in bootstrap["replicates"]} == {("ssim", 1000), ("pckh", 1000)}


def test_images_are_scored_in_the_order_of_their_names(score_pairs, pairs, out):
    content = score_pairs(pairs, "inception_score", "ssim", has_net=True)
    rows = list(csv.DictReader(out.with_suffix(".csv").read_text().splitlines()))
    names = sorted(pair.name for pair in pairs)
    assert [row["image"] for row in rows] == names
    logits = np.stack([pair.generated.read().mean(axis=(0, 1)) / 20 for pair in pairs])
    order = [[pair.name for pair in pairs].index(name) for name in names]
    value = by_metric(content["values"], "value")["inception_score", "standard"]
    assert value == pytest.approx(inception_score(logits[order])[0], rel=1e-5)
    assert value != pytest.approx(inception_score(logits)[0], rel=1e-5)


def test_fid_compares_with_the_targets_each_once_and_with_a_folder(score_pairs, pairs, tmp_path):
    train = [save_image(tmp_path / "train" / name, 80 + i, SIZE) for i, name in enumerate(("a.png", "b.PNG", "c.jpg"))]
    (tmp_path / "train" / ".hidden.png").write_bytes(b"not an image")
    content = score_pairs(pairs, "fid", has_net=True, train_images=tmp_path / "train")
    sets = [[pair.generated for pair in pairs], train, list({pair.target: pair.true for pair in pairs}.values())]
    generated, *references = (moments(np.stack([p.read().mean(axis=(0, 1)) for p in panels])) for panels in sets)
    names = [("fid_train", "standard"), ("fid_test", "standard")]
    expected = {name: frechet_distance(generated, ref) for name, ref in zip(names, references, strict=True)}
    assert by_metric(content["values"], "value") == pytest.approx(expected, rel=1e-4)
    assert [entry["reference_n"] for entry in content["values"]] == [3, 6]


def test_a_folder_of_training_images_that_is_missing_or_empty_is_refused(score_pairs, pairs, tmp_path):
    folder = tmp_path / "train"
    for make in (lambda: None, folder.mkdir):
        make()
        with pytest.raises(ValueError, match=f"{folder}: expected"):
            score_pairs(pairs, "fid", has_net=True, train_images=folder)


@pytest.mark.parametrize("num_annotated", [0, 11])
def test_without_the_joints_of_every_pair_what_needs_them_is_listed(score_pairs, pairs, num_annotated):
    pairs = [pair if i < num_annotated else replace(pair, joints=None) for i, pair in enumerate(pairs)]
    content = score_pairs(pairs, *set(METRICS) - {"correspondence"}, has_net=True)
    reasons = by_metric(content["missing"], "reason")
    need_joints = {(name, p) for name in ("mask_ssim", "mask_inception_score") for p in ("patn", "standard")}
    need_joints |= {("pckh", "patn"), ("evaluator", "evaluator")}
    assert {name for name, reason in reasons.items() if reason == NO_JOINTS} == need_joints
    assert set(reasons) == need_joints | {("lpips", "standard")}
    both = {(name, p) for name in ("ssim", "inception_score") for p in ("patn", "standard")}
    assert set(by_metric(content["values"], "value")) == both | {("fid_test", "standard")}


def test_without_joints_only_requested_metrics_are_listed(score_pairs, pairs):
    unknown = [replace(pair, joints=None) for pair in pairs]
    assert score_pairs(unknown, "ssim", "fid", has_net=True)["missing"] == []
    content = score_pairs(unknown, "ssim", "mask_ssim", "pckh", protocol="standard")
    assert by_metric(content["missing"], "reason") == {("mask_ssim", "standard"): NO_JOINTS}


def test_other_metrics_are_computed_if_one_needs_more_images(score_pairs, pairs):
    content = score_pairs(pairs[:1], "ssim", "inception_score", "fid", "pckh", has_net=True)
    splits = "expected 1 to 1 splits for 1 images, got 10"
    assert by_metric(content["missing"], "reason") == {
        ("fid_test", "standard"): "expected the features of at least 2 images, got 1",
        ("inception_score", "patn"): splits,
        ("inception_score", "standard"): splits,
    }
    assert set(by_metric(content["values"], "value")) == {("ssim", "patn"), ("ssim", "standard"), ("pckh", "patn")}
    assert {entry["interval"] for entry in content["values"]} == {None}


def test_an_interrupted_scoring_resumes(score_pairs, pairs, out, monkeypatch):
    batches = []

    def detect(self, images):
        batches.append(len(images))
        if sum(batches) == 10:
            raise InterruptedError
        return np.zeros((len(images), NUM_JOINTS, 2), dtype=np.int64)

    monkeypatch.setattr(measurement, "SHARD_SIZE", 5)
    monkeypatch.setattr(Corner, "__call__", detect)
    with pytest.raises(InterruptedError):
        score_pairs(pairs, "ssim", "pckh")
    assert not out.exists()
    content = score_pairs(pairs, "ssim", "pckh")
    assert batches == [5, 5, 5, 2]
    assert content["values"] == score_pairs(pairs, "ssim", "pckh")["values"]
    assert {path.name for path in out.parent.iterdir()} == {"scores.json", "scores.csv", "scores.bootstrap.json"}
