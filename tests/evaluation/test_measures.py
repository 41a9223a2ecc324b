import numpy as np
import pytest
import torch

from stand_ins import by_skimage
from synthetic_people.evaluator import Evaluator
from synthetic_people.evaluator_net import EvaluatorNet
from synthetic_people.wardrobe import GARMENT_CLASSES
from twostream.data.keypoints import NUM_JOINTS
from twostream.evaluation.measures import (
    EvaluatorMeasure,
    InceptionMeasure,
    LPIPSMeasure,
    PCKhMeasure,
    Pictures,
    Reference,
    SimilarityMeasure,
    metrics_of,
    to_tensor,
)
from twostream.evaluation.scored_pairs import Panel, ScoredPair
from twostream.metrics.features import LPIPS, InceptionFeatures
from twostream.metrics.inception import Moments, frechet_distance, inception_score, moments
from twostream.metrics.pckh import pckh, pckh_counts
from twostream.metrics.protocols import PROTOCOLS, STANDARD

SMALL, BANDED = (40, 32), (256, 176)
NAMES = ("ssim", "mask_ssim", "inception_score", "mask_inception_score", "fid", "lpips", "pckh")
NOSE, NECK, RIGHT_SHOULDER = 0, 1, 2


def draw(size, count=3, seed=0):
    """Pictures of many colours whose range is far from 255, and masks of a part of them."""
    random = np.random.default_rng(seed)
    colours = random.integers(60, 120, (count, 1, 1, 3))
    true = (colours + random.integers(0, 60, (count, *size, 3))).astype(np.uint8)
    generated = np.clip(true + random.normal(0, 20, true.shape), 30, 200).astype(np.uint8)
    masks = np.zeros((count, *size), dtype=bool)
    for i, mask in enumerate(masks):
        mask[5:30, 8 : 15 + i % 9] = True
    return Pictures(generated, true, masks, [np.full((NUM_JOINTS, 2), 9)] * count)


def without_joints(pictures):
    return pictures._replace(masks=None, joints=[None] * len(pictures.generated))


def put_bands(image, value):
    """White columns beside a picture, written out."""
    band = np.full((image.shape[0], 40, *image.shape[2:]), value, dtype=image.dtype)
    return np.concatenate([band, image, band], axis=1)


def described(metrics):
    return {(metric.name, metric.protocol): metric.details for metric in metrics}


def test_ssim_is_that_of_scikit_image_under_each_protocol():
    pictures = draw(SMALL)
    columns = SimilarityMeasure(NAMES, PROTOCOLS, SMALL)(pictures)
    assert set(columns) == {f"{name}/{p}" for name in ("ssim", "mask_ssim") for p in ("patn", "standard")}
    for i, (generated, true) in enumerate(zip(pictures.generated, pictures.true, strict=True)):
        own_range = float(generated.max()) - float(generated.min())
        cut, true_cut = (image * pictures.masks[i][..., None] for image in (generated, true))
        expected = {
            "ssim/standard": by_skimage(generated, true, 255),
            "ssim/patn": by_skimage(generated, true, own_range),
            "mask_ssim/standard": by_skimage(cut, true_cut, 255),
            # The cut picture holds black, so its range is another one.
            "mask_ssim/patn": by_skimage(cut, true_cut, float(cut.max())),
        }
        assert {name: column[i] for name, column in columns.items()} == pytest.approx(expected, abs=1e-6)
        assert len({round(value, 4) for value in expected.values()}) == 4


def test_ssim_under_patn_has_white_bands_at_256x176_and_masked_ones_black():
    pictures = draw(BANDED, count=1)
    columns = SimilarityMeasure(["ssim", "mask_ssim"], PROTOCOLS, BANDED)(pictures)
    (generated,), (true,), (mask,) = pictures.generated, pictures.true, pictures.masks
    banded, true_banded = put_bands(generated, 255), put_bands(true, 255)
    assert banded.shape == (256, 256, 3)
    expected = by_skimage(banded, true_banded, 255.0 - generated.min())
    assert columns["ssim/patn"] == pytest.approx([expected], abs=1e-6)
    cut, true_cut = (put_bands(image * mask[..., None], 0) for image in (generated, true))
    assert columns["mask_ssim/patn"] == pytest.approx([by_skimage(cut, true_cut, float(cut.max()))], abs=1e-6)
    assert columns["ssim/standard"] == pytest.approx([by_skimage(generated, true, 255)], abs=1e-6)
    assert abs(columns["ssim/standard"][0] - columns["ssim/patn"][0]) > 0.01


def test_ssim_alone_wants_no_masks():
    measure = SimilarityMeasure(["ssim", "fid"], [STANDARD], SMALL)
    assert list(measure(without_joints(draw(SMALL)))) == ["ssim/standard"]
    assert SimilarityMeasure(["fid"], PROTOCOLS, SMALL)(without_joints(draw(SMALL))) == {}


def test_ssim_says_how_it_is_computed():
    metrics = SimilarityMeasure(["ssim", "mask_ssim"], PROTOCOLS, BANDED).metrics()
    about = {"version": 1, "window": "gaussian 11x11, sigma 1.5"}
    patn = about | {"frame": "256x256 with bands", "data_range": "max - min of the generated image"}
    standard = about | {"frame": "256x176", "data_range": "255"}
    assert described(metrics) == {
        (name, p): details for name in ("ssim", "mask_ssim") for p, details in (("patn", patn), ("standard", standard))
    }
    columns = {"ssim/patn": np.array([0.1, 0.2, 0.6])}
    assert metrics[0].statistic(columns, np.array([0, 2])) == pytest.approx(0.35)


class FewFeatures(InceptionFeatures):
    """Means of a picture in place of Inception; keeps what it was shown."""

    name = "means"
    weights_hash = "abc"

    def __init__(self):
        self.shown = []

    def __call__(self, images):
        self.shown.append(images)
        means = images.float().mean(dim=(2, 3)).numpy()
        return means, means / 20


def moments_of(images):
    return moments(images.mean(axis=(1, 2)).astype(np.float32))


def test_frames_that_are_equal_are_looked_at_once():
    pictures, net = draw(SMALL), FewFeatures()
    measure = InceptionMeasure(["inception_score", "fid"], PROTOCOLS, SMALL, net, [])
    columns = measure(without_joints(pictures))
    assert [tuple(images.shape) for images in net.shown] == [(3, 3, 40, 32)]
    np.testing.assert_array_equal(net.shown[0], pictures.generated.transpose(0, 3, 1, 2))
    assert set(columns) == {"inception/40x32/features", "inception/40x32/logits"}
    scores = [metric.statistic.column for metric in measure.metrics()]
    assert scores == ["inception/40x32/logits"] * 2


def test_under_patn_inception_sees_bands_at_256x176():
    pictures, net = draw(BANDED, count=2), FewFeatures()
    measure = InceptionMeasure(NAMES, PROTOCOLS, BANDED, net, [])
    columns = measure(pictures)
    shown = {tuple(images.shape[1:]): images.permute(0, 2, 3, 1).numpy() for images in net.shown[::2]}
    assert set(shown) == {(3, 256, 256), (3, 256, 176)}
    for got, image in zip(shown[3, 256, 256], pictures.generated, strict=True):
        np.testing.assert_array_equal(got, put_bands(image, 255))
    np.testing.assert_array_equal(shown[3, 256, 176], pictures.generated)
    for got, image, mask in zip(net.shown[1], pictures.generated, pictures.masks, strict=True):
        np.testing.assert_array_equal(got.permute(1, 2, 0), put_bands(image * mask[..., None], 0))
    frames = {"patn": "256x256 with bands", "standard": "256x176"}
    for metric in measure.metrics():
        assert metric.details["frame"] == frames[metric.protocol]
        logits = "mask_logits" if metric.name == "mask_inception_score" else "logits"
        assert metric.statistic.column == f"inception/{frames[metric.protocol]}/{logits}"
        assert metric.statistic.column in columns


def test_the_values_of_inception_are_those_of_its_outputs():
    pictures, net = draw(SMALL, count=25), FewFeatures()
    other = draw(SMALL, count=9, seed=1).true
    references = [Reference("train", moments_of(other)), Reference("test", moments_of(pictures.true))]
    measure = InceptionMeasure(NAMES, PROTOCOLS, SMALL, net, references)
    columns = measure(pictures)
    got = {(m.name, m.protocol): m.statistic(columns, np.arange(25)) for m in measure.metrics()}
    features, logits = FewFeatures()(to_tensor(pictures.generated))
    cut = pictures.generated * pictures.masks[..., None]
    _, mask_logits = FewFeatures()(to_tensor(cut))
    expected = {
        **{("inception_score", p): inception_score(logits)[0] for p in ("patn", "standard")},
        **{("mask_inception_score", p): inception_score(mask_logits)[0] for p in ("patn", "standard")},
        ("fid_train", "standard"): frechet_distance(moments(features), references[0].moments),
        ("fid_test", "standard"): frechet_distance(moments(features), references[1].moments),
    }
    assert got == pytest.approx(expected, rel=1e-6)
    assert expected["inception_score", "patn"] > expected["mask_inception_score", "patn"] > 1.001
    assert expected["fid_train", "standard"] != pytest.approx(expected["fid_test", "standard"], rel=0.01)


def test_inception_says_which_network_and_set_it_was():
    reference = Reference("train", Moments(np.zeros(3), np.eye(3), 77))
    details = described(InceptionMeasure(NAMES, PROTOCOLS, SMALL, FewFeatures(), [reference]).metrics())
    net = {"version": 1, "frame": "40x32", "feature_net": "means", "feature_net_hash": "abc"}
    assert details["inception_score", "patn"] == net | {"splits": 10}
    assert details["fid_train", "standard"] == net | {"reference": "train pictures", "reference_n": 77}
    assert ("fid_train", "patn") not in details


class MeanDifference(LPIPS):
    name = "difference"
    weights_hash = "def"

    def __init__(self):
        pass

    def __call__(self, generated, target):
        return (generated.float() - target.float()).mean(dim=(1, 2, 3)).numpy()


def test_lpips_compares_the_generated_picture_with_the_true_one():
    pictures = draw(SMALL)
    measure = LPIPSMeasure(SMALL, MeanDifference())
    columns = measure(without_joints(pictures))
    expected = pictures.generated.mean(axis=(1, 2, 3)) - pictures.true.mean(axis=(1, 2, 3))
    np.testing.assert_allclose(columns["lpips/standard"], expected, rtol=1e-3)
    (metric,) = measure.metrics()
    assert metric.statistic(columns, np.arange(3)) == pytest.approx(expected.mean(), rel=1e-3)
    assert (metric.name, metric.protocol) == ("lpips", "standard")
    about = {"version": 1, "frame": "40x32", "feature_net": "difference", "feature_net_hash": "def"}
    assert metric.details == about


@pytest.mark.parametrize("size", [(30, 64), (64, 30)])
def test_lpips_refuses_pictures_under_its_least_size(size):
    with pytest.raises(ValueError, match=f"LPIPS: expected pictures of at least 31x31, got {size[0]}x{size[1]}"):
        LPIPSMeasure(size, MeanDifference())


class Corner:
    """Finds all joints in each picture's first pixel."""

    name = "corner"
    weights_hash = "123"

    def __call__(self, images):
        return np.zeros((len(images), NUM_JOINTS, 2), dtype=np.int64)


def test_pckh_counts_the_joints_that_the_estimator_finds():
    joints = np.full((2, NUM_JOINTS, 2), -1)
    # The head box of the first is 10x10, so a joint is right less than 5 pixels away from (0, 0).
    joints[0, [NOSE, NECK, RIGHT_SHOULDER]] = [4, 4], [14, 14], [4, 5]
    joints[1, RIGHT_SHOULDER] = 0, 0  # no head
    pictures = draw(SMALL, count=2)._replace(joints=list(joints))
    measure = PCKhMeasure(SMALL, Corner())
    columns = measure(pictures)
    assert {name: column.tolist() for name, column in columns.items()} == {
        "pckh_right/patn": [1, 0],
        "pckh_total/patn": [3, 0],
    }
    (metric,) = measure.metrics()
    assert (metric.name, metric.protocol) == ("pckh", "patn")
    assert metric.statistic(columns, np.arange(2)) == pytest.approx(1 / 3)
    assert metric.details == {"version": 1, "frame": "40x32", "estimator": "corner", "estimator_hash": "123"}
    assert PCKhMeasure(BANDED, Corner()).metrics()[0].details["frame"] == "256x176"


@pytest.fixture
def evaluator():
    torch.manual_seed(0)
    return Evaluator(EvaluatorNet(NUM_JOINTS, GARMENT_CLASSES, stride=4), {}, torch.device("cpu"))


def test_the_evaluator_gives_its_own_scores_distances_and_pckh(evaluator):
    # Joints over the whole picture: the head box is so large that a random evaluator finds some of them.
    joints = [np.random.default_rng(i).integers(0, SMALL, (NUM_JOINTS, 2)) for i in range(20)]
    pictures = draw(SMALL, count=20)._replace(joints=joints)
    reference = Reference("test", moments(evaluator(to_tensor(pictures.true)).features))
    measure = EvaluatorMeasure(SMALL, evaluator, [reference])
    columns = measure(pictures)
    whole = evaluator(to_tensor(pictures.generated))
    cut = evaluator(to_tensor(pictures.generated * pictures.masks[..., None]))
    counts = [pckh_counts(found, true) for found, true in zip(whole.joints, joints, strict=True)]
    got = {m.name: m.statistic(columns, np.arange(20)) for m in measure.metrics()}
    expected = {
        "inception_score": inception_score(whole.logits)[0],
        "mask_inception_score": inception_score(cut.logits)[0],
        "frechet_test": frechet_distance(moments(whole.features), reference.moments),
        "pckh": pckh(counts),
    }
    assert got == pytest.approx(expected)
    assert 0 < expected["pckh"] < 1
    for name, seen in (("features", whole.features), ("logits", whole.logits), ("mask_logits", cut.logits)):
        np.testing.assert_array_equal(columns[f"evaluator/{name}"], seen)
    assert np.abs(whole.logits - cut.logits).max() > 1e-3


def test_what_the_evaluator_says_is_under_a_protocol_of_its_own(evaluator):
    reference = Reference("train", Moments(np.zeros(3), np.eye(3), 77))
    details = described(EvaluatorMeasure(SMALL, evaluator, [reference]).metrics())
    assert {protocol for _, protocol in details} == {"evaluator"}
    net = {"version": 1, "frame": "40x32", "feature_net": "evaluator", "feature_net_hash": evaluator.weights_hash}
    assert details["mask_inception_score", "evaluator"] == net | {"splits": 10}
    assert details["frechet_train", "evaluator"] == net | {"reference": "train pictures", "reference_n": 77}
    assert details["pckh", "evaluator"] == net


@pytest.mark.parametrize(
    ("names", "codec"), [(["a.png"], "png"), (["a.JPG", "b.jpg"], "jpg"), (["a.png", "b.jpeg"], "jpeg, png")]
)
def test_every_metric_says_from_what_kind_of_file_it_is(tmp_path, names, codec):
    pairs = [ScoredPair(n, n, n, Panel(tmp_path / n), Panel(tmp_path / "true.gif"), joints=None) for n in names]
    measures = [SimilarityMeasure(["ssim"], PROTOCOLS, SMALL), LPIPSMeasure(SMALL, MeanDifference())]
    metrics = metrics_of(measures, pairs)
    assert [(m.name, m.protocol) for m in metrics] == [("ssim", "patn"), ("ssim", "standard"), ("lpips", "standard")]
    assert {metric.details["codec"] for metric in metrics} == {codec}
    assert metrics[2].details["feature_net"] == "difference"


def test_pictures_become_tensors_with_channels_first():
    images = draw((12, 16), count=2).generated
    tensor = to_tensor(images)
    assert (tensor.shape, tensor.dtype) == ((2, 3, 12, 16), torch.uint8)
    assert tensor[1, 2, 5, 7] == images[1, 5, 7, 2]
