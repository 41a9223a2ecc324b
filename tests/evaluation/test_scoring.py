import io
import os
import sys
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torchvision.models import alexnet

from stand_ins import Corner, FewFeatures
from synthetic_people.evaluator import Evaluator
from synthetic_people.evaluator_net import EvaluatorNet
from synthetic_people.evaluator_training import EvaluatorTraining
from synthetic_people.wardrobe import GARMENT_CLASSES
from twostream.data.keypoints import NUM_JOINTS
from twostream.evaluation import scoring
from twostream.evaluation.measures import metrics_of, to_tensor
from twostream.evaluation.score import measure_pairs, summarise
from twostream.evaluation.scored_pairs import Panel, ScoredPair
from twostream.evaluation.scoring import METRICS, Scoring, Toolbox, protocols_named
from twostream.files import sha256_of
from twostream.metrics.features import ALEXNET, INCEPTION, LPIPS, InceptionFeatures
from twostream.metrics.inception import inception_score, moments
from twostream.metrics.protocols import PATN, PROTOCOLS, STANDARD
from twostream.weights import WeightFile

CPU = torch.device("cpu")
SIZE = (40, 32)


def save_picture(path, seed, size=SIZE):
    random = np.random.default_rng(seed)
    noise = random.integers(0, 120, (*size, 3)) + random.integers(0, 120, 3)
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(noise.astype(np.uint8)).save(path)
    return Panel(path)


def draw_panels(folder, count, seed=0):
    return [save_picture(folder / f"{i}.png", seed + i) for i in range(count)]


@pytest.fixture
def settings(tmp_path):
    """Makes the settings of an evaluation that has no weights and gets none."""

    def make(*metrics, **changes):
        given = {
            "metrics": metrics,
            "weights_dir": str(tmp_path / "weights"),
            "download": False,
            "cache_dir": str(tmp_path / "cache"),
            "batch_size": 4,
            "num_workers": 0,
            "pose_estimator": Corner,
            "evaluator": EvaluatorTraining(4, 1, 2, 2, 2, 1e-3),
        }
        return Scoring(**given | changes)

    return make


@pytest.fixture
def net(monkeypatch):
    """Stands for every Inception that a toolbox builds."""
    net = FewFeatures()
    monkeypatch.setattr(scoring, "InceptionFeatures", lambda store, device: net)
    return net


def toolbox(settings, protocols=PROTOCOLS, size=SIZE, **references):
    return Toolbox(settings, protocols, size, references, CPU)


def names_of(tools):
    return [(m.name, m.protocol) for measure in [tools.similarity(), *tools.measures] for m in measure.metrics()]


def reasons_of(tools):
    return {(entry["metric"], entry["protocol"]): entry["reason"] for entry in tools.missing}


def test_unknown_metrics_are_refused(settings):
    known = ", ".join(METRICS)
    with pytest.raises(ValueError, match=rf"metrics: expected some of {known}, got \['is', 'psnr'\]"):
        settings("ssim", "psnr", "is")
    with pytest.raises(ValueError, match=f"metrics: expected some of {known}, got none"):
        settings()


def test_a_protocol_is_named_by_its_name_or_all_are():
    assert protocols_named("patn") == [PATN]
    assert protocols_named("standard") == [STANDARD]
    assert protocols_named("all") == [PATN, STANDARD]
    with pytest.raises(ValueError, match="protocol: expected patn, standard or all, got 'PATN'"):
        protocols_named("PATN")


def test_without_weights_the_metrics_are_listed_with_file_and_folder(settings, tmp_path, caplog):
    tools = toolbox(
        settings(*METRICS), train=draw_panels(tmp_path / "train", 2), test=draw_panels(tmp_path / "test", 2)
    )
    tools.add_inception()
    tools.add_lpips()
    tools.add_pckh()
    reasons = reasons_of(tools)
    by_inception = {(n, p) for n in ("inception_score", "mask_inception_score") for p in ("patn", "standard")}
    by_inception |= {("fid_train", "standard"), ("fid_test", "standard")}
    assert set(reasons) == by_inception | {("lpips", "standard")}
    for name, reason in reasons.items():
        file = INCEPTION if name in by_inception else ALEXNET
        assert reason == f"{file.name} is missing: put it into {tmp_path / 'weights'}, from {file.url}"
    assert f"not computed: fid_train, fid_test: {reasons['fid_test', 'standard']}" in caplog.messages
    assert names_of(tools) == [
        *((n, p) for n in ("ssim", "mask_ssim") for p in ("patn", "standard")),
        ("pckh", "patn"),
    ]


def test_without_torch_fidelity_the_metrics_are_listed(settings, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    tools = toolbox(settings("inception_score"), protocols=[PATN])
    tools.add_inception()
    assert list(reasons_of(tools)) == [("inception_score", "patn")]
    assert "pip install twostream[inception]" in tools.missing[0]["reason"]


def test_weights_of_another_hash_are_told(settings, tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / ALEXNET.name).write_bytes(b"other")
    tools = toolbox(settings("lpips"))
    tools.add_lpips()
    assert "expected a SHA-256 that starts with 7be5be79" in reasons_of(tools)["lpips", "standard"]


@pytest.mark.parametrize("error", [ValueError("no file"), ImportError("no package")])
def test_without_an_estimator_pckh_is_listed(settings, error):
    def fail():
        raise error

    tools = toolbox(settings("pckh", "ssim", pose_estimator=fail))
    tools.add_pckh()
    assert reasons_of(tools) == {("pckh", "patn"): str(error)}
    assert names_of(tools) == [("ssim", "patn"), ("ssim", "standard")]


def test_pictures_too_small_for_alexnet_are_told(settings, monkeypatch):
    monkeypatch.setattr(scoring, "LPIPS", lambda store, device: object.__new__(LPIPS))
    tools = toolbox(settings("lpips"), size=(32, 16))
    tools.add_lpips()
    assert reasons_of(tools) == {("lpips", "standard"): "LPIPS: expected pictures of at least 31x31, got 32x16"}


def test_nothing_is_built_that_is_not_wanted(settings, monkeypatch, tmp_path):
    for name in ("InceptionFeatures", "LPIPS"):
        monkeypatch.setattr(scoring, name, pytest.fail)
    tools = toolbox(settings("ssim", pose_estimator=pytest.fail), test=[])
    tools.add_inception()
    tools.add_lpips()
    tools.add_pckh()
    assert tools.add_evaluator(tmp_path) is None
    assert (tools.measures, tools.missing) == ([], [])


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        (PATN, ["ssim", "mask_ssim", "inception_score", "mask_inception_score", "pckh"]),
        (STANDARD, ["ssim", "mask_ssim", "inception_score", "mask_inception_score", "fid_test", "lpips"]),
    ],
)
def test_one_protocol_gives_its_own_metrics_alone(settings, net, monkeypatch, tmp_path, protocol, expected):
    monkeypatch.setattr(scoring, "LPIPS", lambda store, device: object.__new__(LPIPS))
    monkeypatch.setattr(LPIPS, "weights_hash", "def", raising=False)
    tools = toolbox(settings(*METRICS), protocols=[protocol], test=draw_panels(tmp_path / "test", 2))
    tools.add_inception()
    tools.add_lpips()
    tools.add_pckh()
    assert names_of(tools) == [(name, protocol.name) for name in expected]
    assert tools.missing == []
    assert net.num_shown == (2 if protocol is STANDARD else 0)


def test_what_is_left_out_is_listed_and_no_longer_wanted(settings, caplog):
    tools = toolbox(settings("ssim", "mask_ssim", "fid"))
    tools.leave_out(["mask_ssim"], ["patn", "standard"], "no joints")
    tools.leave_out([], ["patn"], "nothing of it")
    assert tools.missing == [
        {"metric": "mask_ssim", "protocol": p, "reason": "no joints"} for p in ("patn", "standard")
    ]
    assert tools.names == ["ssim", "fid"]
    assert caplog.messages == ["not computed: mask_ssim: no joints"]


def test_fid_names_the_set_and_its_count(settings, net, tmp_path):
    train, test = draw_panels(tmp_path / "train", 9), draw_panels(tmp_path / "test", 5, seed=20)
    tools = toolbox(settings("fid"), train=train, test=test)
    tools.add_inception()
    assert net.num_shown == 14
    metrics = {metric.name: metric for metric in tools.measures[0].metrics()}
    assert {name: (m.details["reference"], m.details["reference_n"]) for name, m in metrics.items()} == {
        "fid_train": ("train pictures", 9),
        "fid_test": ("test pictures", 5),
    }
    for name, panels in (("fid_train", train), ("fid_test", test)):
        images = [np.asarray(Image.open(panel.path)) for panel in panels]
        expected = moments(np.stack([image.mean(axis=(0, 1)) for image in images]))
        reference = metrics[name].statistic.reference
        np.testing.assert_allclose(reference.mean, expected.mean, rtol=1e-5)
        np.testing.assert_allclose(reference.covariance, expected.covariance, rtol=1e-3)
        assert reference.n == expected.n


def test_true_pictures_are_looked_at_once_for_all_evaluations(settings, net, tmp_path):
    panels = draw_panels(tmp_path / "test", 5)

    def look(some):
        net.num_shown = 0
        tools = toolbox(settings("fid"), test=some)
        tools.add_inception()
        (metric,) = tools.measures[0].metrics()
        return net.num_shown, metric.statistic.reference.mean.tolist()

    shown, first = look(panels)
    assert (shown, look(panels)) == (5, (0, first))
    assert look(panels[1:])[0] == 4
    stamp = panels[0].path.stat().st_mtime_ns + 10**9
    save_picture(panels[0].path, seed=77)
    os.utime(panels[0].path, ns=(stamp, stamp))
    shown, second = look(panels)
    assert shown == 5
    assert second != first
    net.weights_hash = "another"
    assert look(panels)[0] == 5
    assert len(list((tmp_path / "cache").iterdir())) == 4


def test_another_panel_of_the_same_files_is_another_set(settings, net, tmp_path):
    strips = draw_panels(tmp_path / "strips", 3)
    for index in (0, 1):
        panels = [Panel(strip.path, index, 2) for strip in strips]
        toolbox(settings("fid"), size=(40, 16), test=panels).add_inception()
    assert net.num_shown == 6


@pytest.mark.parametrize("kind", ["unreadable", "size", "alone"])
def test_a_set_of_true_pictures_that_is_of_no_use_is_told(settings, net, tmp_path, kind):
    train, test = draw_panels(tmp_path / "train", 6), draw_panels(tmp_path / "test", 2)
    path = train[4].path
    if kind == "unreadable":
        path.write_bytes(b"no picture")
        reason = f"{path}: expected a picture: "
    elif kind == "size":
        save_picture(path, 0, size=(41, 32))
        reason = f"{path}: expected a picture of height x width 40x32, got 41x32"
    else:
        train = train[:1]
        reason = "expected the features of at least 2 images, got 1"
    tools = toolbox(settings("fid", "inception_score"), train=train, test=test)
    tools.add_inception()
    assert list(reasons_of(tools)) == [("fid_train", "standard")]
    assert tools.missing[0]["reason"].startswith(reason)
    assert ("fid_test", "standard") in names_of(tools)
    assert ("inception_score", "patn") in names_of(tools)
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_the_evaluator_is_prepared_for_the_pictures(settings, monkeypatch, tmp_path):
    torch.manual_seed(0)
    evaluator = Evaluator(EvaluatorNet(NUM_JOINTS, GARMENT_CLASSES, stride=4), {}, CPU)
    asked = []
    monkeypatch.setattr(EvaluatorTraining, "prepare", lambda self, *given: asked.append((self, *given)) or evaluator)
    train, test = draw_panels(tmp_path / "train", 1), draw_panels(tmp_path / "test", 5)
    wanted = settings("evaluator")
    tools = toolbox(wanted, train=train, test=test)
    assert tools.add_evaluator(tmp_path / "people") is evaluator
    assert asked == [(wanted.evaluator, SIZE, tmp_path / "people", tmp_path / "cache", CPU)]
    assert names_of(tools) == [
        (name, "evaluator") for name in ("inception_score", "mask_inception_score", "frechet_test", "pckh")
    ]
    assert reasons_of(tools) == {("frechet_train", "evaluator"): "expected the features of at least 2 images, got 1"}
    images = np.stack([np.asarray(Image.open(panel.path)) for panel in test])
    expected = moments(
        np.concatenate([evaluator(to_tensor(images[:4])).features, evaluator(to_tensor(images[4:])).features])
    )
    (reference,) = tools.measures[0].references
    np.testing.assert_allclose(reference.moments.mean, expected.mean)
    np.testing.assert_allclose(reference.moments.covariance, expected.covariance)


class UntrainedInception(FeatureExtractorInceptionV3):
    def load_state_dict(self, state_dict):
        pass


@pytest.fixture
def random_weights(tmp_path, monkeypatch):
    """Files of random weights in the place of those of Inception and AlexNet."""
    random = torch.Generator().manual_seed(0)
    nothing = io.BytesIO()
    torch.save({}, nothing)
    nothing.seek(0)
    inception = UntrainedInception("untrained", ["2048"], nothing).state_dict()
    for value in inception.values():
        if value.ndim > 1:
            torch.nn.init.kaiming_normal_(value, generator=random)
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in alexnet().state_dict().items() if name.startswith("features")}
    backbone = {
        name: torch.empty(shape).normal_(std=shape[1:].numel() ** -0.5, generator=random)
        for name, shape in shapes.items()
    }
    folder = tmp_path / "weights"
    folder.mkdir()
    files = {}
    for file, state in ((INCEPTION, inception), (ALEXNET, backbone)):
        torch.save(state, folder / file.name)
        files[file.name] = WeightFile(file.name, "https://nowhere", sha256_of(folder / file.name))
    monkeypatch.setattr(scoring, "InceptionFeatures", partial(InceptionFeatures, file=files[INCEPTION.name]))
    monkeypatch.setattr(scoring, "LPIPS", partial(LPIPS, file=files[ALEXNET.name]))
    return files


def test_the_values_are_those_of_the_networks_called_directly(settings, random_weights, tmp_path):
    generated, true = (draw_panels(tmp_path / name, 11, seed) for name, seed in (("generated", 0), ("true", 50)))
    train = draw_panels(tmp_path / "train", 3, seed=90)
    pairs = [ScoredPair(p.path.name, "a", "b", p, t, joints=None) for p, t in zip(generated, true, strict=True)]
    tools = toolbox(settings("inception_score", "fid", "lpips"), train=train)
    tools.add_inception()
    tools.add_lpips()
    assert tools.missing == []
    columns = measure_pairs(pairs, tools.similarity(), tools.measures, tmp_path / "parts", 4, 0)
    values, _, undefined = summarise(metrics_of(tools.measures, pairs), columns, ["one"] * 11)
    assert undefined == []
    got = {(entry["metric"], entry["protocol"]): entry for entry in values}

    inception, lpips = (measure.net for measure in tools.measures)
    assert inception.weights_hash == random_weights[INCEPTION.name].sha256
    assert lpips.weights_hash == random_weights[ALEXNET.name].sha256
    images, true_images, train_images = (read(panels) for panels in (generated, true, train))
    features, logits = columns["inception/40x32/features"], columns["inception/40x32/logits"]
    for column, direct in zip((features, logits), inception(images[7:9]), strict=True):
        np.testing.assert_allclose(column[7:9], direct, rtol=1e-3, atol=1e-3 * direct.std())
    score, deviation = inception_score(logits)
    expected = {
        ("inception_score", "patn"): score,
        ("inception_score", "standard"): score,
        ("fid_train", "standard"): fid_of_few(features, inception(train_images)[0]),
        ("lpips", "standard"): lpips(images, true_images).mean(),
    }
    assert {name: entry["value"] for name, entry in got.items()} == pytest.approx(expected, rel=1e-4)
    assert got["inception_score", "patn"]["splits_std"] == deviation
    assert score != 1
    assert min(expected["fid_train", "standard"], expected["lpips", "standard"]) > 1e-2
    for (metric, _), entry in got.items():
        net = lpips if metric == "lpips" else inception
        assert (entry["feature_net"], entry["feature_net_hash"]) == (net.name, net.weights_hash)
        assert (entry["n"], entry["codec"], entry["frame"]) == (11, "png", "40x32")


def read(panels):
    return to_tensor(np.stack([np.asarray(Image.open(panel.path)) for panel in panels]))


def fid_of_few(first, second):
    """With centred features X1 and X2, the trace of the root is the sum of X1 X2^T's singular values."""
    means = [features.mean(axis=0, dtype=np.float64) for features in (first, second)]
    centred = [(f - m) / np.sqrt(len(f) - 1) for f, m in zip((first, second), means, strict=True)]
    trace_of_root = np.linalg.svd(centred[0] @ centred[1].T, compute_uv=False).sum()
    return ((means[0] - means[1]) ** 2).sum() + sum((x**2).sum() for x in centred) - 2 * trace_of_root
