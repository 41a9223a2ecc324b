import math

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError
from scipy.linalg import sqrtm
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3
from torchvision.models import inception_v3

from stand_ins import (
    CPU,
    FewFeatures,
    add_bands,
    check_refuses_bad_weights,
    draw_batch,
    random_inception,
    random_torchvision_inception,
    save_weights,
    without_joints,
)
from twostream.files import sha256_of
from twostream.metrics import inception
from twostream.metrics.inception import (
    INCEPTION,
    TORCHVISION,
    FeatureColumns,
    FrechetDistance,
    InceptionNet,
    InceptionScore,
    MaskInceptionScore,
    Moments,
    TorchvisionInception,
    frechet_distance,
    inception_score,
    moments,
)
from twostream.metrics.metric import update_all
from twostream.metrics.protocols import PATN, PROTOCOLS, STANDARD
from twostream.weights import WeightStore

SMALL, BANDED = (40, 32), (256, 176)


@pytest.fixture
def random():
    return np.random.default_rng(0)


def score_by_loops(logits, num_splits):
    """The formula of Salimans et al. 2016 as it is written, a number at a time."""
    scores = []
    for k in range(num_splits):
        rows = logits[k * len(logits) // num_splits : (k + 1) * len(logits) // num_splits].tolist()
        conditional = [[math.exp(x) / sum(math.exp(y) for y in row) for x in row] for row in rows]
        marginal = [sum(column) / len(rows) for column in zip(*conditional, strict=True)]
        divergences = [sum(p * math.log(p / q) for p, q in zip(row, marginal, strict=True)) for row in conditional]
        scores.append(math.exp(sum(divergences) / len(rows)))
    mean = sum(scores) / num_splits
    return mean, math.sqrt(sum((score - mean) ** 2 for score in scores) / num_splits)


def distance_by_sqrtm(first, second):
    """The formula of Heusel et al. 2017 as it is written."""
    means = np.sum((first.mean(axis=0) - second.mean(axis=0)) ** 2)
    covariances = [np.cov(features.T.astype(np.float64)) for features in (first, second)]
    return means + np.trace(covariances[0] + covariances[1] - 2 * sqrtm(covariances[0] @ covariances[1]).real)


@pytest.mark.parametrize(("n", "num_splits"), [(40, 10), (23, 4), (5, 5), (7, 1)])
def test_inception_score_equals_the_formula(agree, random, n, num_splits):
    logits = random.normal(0, 3, (n, 6)).astype(np.float32)
    expected = score_by_loops(logits, num_splits)
    agree("Metrics", "Inception Score", "its formula by loops", inception_score(logits, num_splits), expected, 1e-9)


@pytest.mark.parametrize(
    ("logits", "num_splits", "score"),
    [
        (np.tile([0.3, -2, 5], (20, 1)), 10, 1),
        (np.tile(1e4 * np.eye(2, dtype=np.float32), (6, 1)), 3, 2),
        (np.tile(1e4 * np.eye(5, dtype=np.float32), (6, 1)), 3, 5),
        (np.array([[0.0, -744.4], [0.0, -1e30], [0.0, -1e30]]), 1, 1),
    ],
    ids=["equal rows", "all of 2 classes", "all of 5 classes", "probabilities that underflow"],
)
def test_known_inception_scores(logits, num_splits, score):
    assert inception_score(logits, num_splits) == pytest.approx((score, 0))


@pytest.mark.parametrize("num_splits", [0, 4])
def test_more_splits_than_images_are_refused(num_splits):
    with pytest.raises(ValueError, match=f"expected 1 to 3 splits for 3 images, got {num_splits}"):
        inception_score(np.zeros((3, 2)), num_splits)


def test_moments_are_mean_and_unbiased_covariance_in_float64():
    result = moments(np.array([[0, 1], [2, 1], [4, 7]], dtype=np.float32))
    np.testing.assert_array_equal(result.mean, [2, 3])
    np.testing.assert_array_equal(result.covariance, [[4, 6], [6, 12]])
    assert result.n == 3
    assert (result.mean.dtype, result.covariance.dtype) == (np.float64, np.float64)


@pytest.mark.parametrize(("n", "num_features", "rank"), [(200, 12, 12), (12, 12, 11), (9, 40, 8)])
def test_frechet_distance_equals_the_formula_at_every_rank(agree, random, n, num_features, rank):
    mix = random.normal(size=(num_features, num_features))
    first, second = ((random.normal(shift, 1, (n, num_features)) @ mix).astype(np.float32) for shift in (0, 0.5))
    assert np.linalg.matrix_rank(moments(second).covariance) == rank
    distance = frechet_distance(moments(first), moments(second))
    what = f"Frechet distance, covariances of {'full' if n > num_features else 'low'} rank"
    expected = distance_by_sqrtm(first, second)
    agree("Metrics", what, "its formula with scipy's `sqrtm`", distance, expected, 1e-4, relative=True)


def test_frechet_distance_of_two_normal_distributions_of_one_number():
    first, second = (Moments(np.array([mean]), np.array([[std**2]]), 2) for mean, std in ((1.0, 2.0), (4.0, 7.0)))
    assert frechet_distance(first, second) == pytest.approx((1 - 4) ** 2 + (2 - 7) ** 2)
    first, second = (moments(np.array(values)) for values in ([[0.0], [2.0]], [[1.0], [5.0]]))
    assert frechet_distance(first, second) == pytest.approx((1 - 3) ** 2 + (math.sqrt(2) - math.sqrt(8)) ** 2)


@pytest.mark.parametrize("n", [100, 10])
def test_frechet_distance_is_symmetric_and_0_between_equals_never_negative(random, n):
    first, second = (moments(random.normal(shift, 1, (n, 30))) for shift in (0, 0.2))
    assert frechet_distance(first, second) == pytest.approx(frechet_distance(second, first), rel=1e-6)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-5)
    results = [moments(random.normal(size=(count, 20))) for count in range(5, 45)]
    assert min(frechet_distance(result, result) for result in results) == 0


def test_the_root_is_computed_once(random, monkeypatch):
    calls = []
    eigh = inception.eigh
    monkeypatch.setattr(inception, "eigh", lambda matrix: calls.append(matrix) or eigh(matrix))
    first, second = (moments(random.normal(size=(9, 4))) for _ in range(2))
    assert frechet_distance(first, second) == frechet_distance(first, second)
    assert len(calls) == 1
    np.testing.assert_allclose(second.root @ second.root, second.covariance, atol=1e-12)


def test_moments_and_distance_refuse_what_they_are_not_defined_for():
    with pytest.raises(ValueError, match="at least 2 images, got 1"):
        moments(np.zeros((1, 4)))
    with pytest.raises(ValueError, match="features of one length, got 3 and 2"):
        frechet_distance(moments(np.eye(3)), moments(np.eye(2)))


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    store, file = save_weights(tmp_path_factory.mktemp("weights"), INCEPTION, random_inception())
    return InceptionNet(store, CPU, file=file), store.folder / file.name


def draw(*shape):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_the_weight_file_is_that_of_torch_fidelity():
    assert INCEPTION.url == URL_INCEPTION_V3


def test_the_network_equals_torch_fidelity(agree, net):
    reference = FeatureExtractorInceptionV3("inception-v3-compat", ["2048", "logits_unbiased"], str(net[1]))
    images = draw(3, 3, 64, 32)
    for got, expected in zip(net[0](images), reference(images), strict=True):
        assert 0.1 < expected.std() < 100
        agree("Metrics", "Inception of 2015, random weights", "torch-fidelity, float32", got, expected, 1e-6)
        assert got.dtype == np.float32
    assert (net[0].name, net[0].weights_hash) == ("inception-v3-compat (2015-12-05)", sha256_of(net[1]))


def test_an_own_file_without_the_last_layer_gives_the_features_and_says_what_is_missing(net, tmp_path):
    path, state = tmp_path / "mine.pth", dict(random_inception())
    state["fc.bias"] = state.pop("fc.weight")[:, 0] * math.nan
    torch.save(state, path)
    mine = InceptionNet(WeightStore(download=False, inception=path), CPU)
    assert (mine.name, mine.weights_hash) == ("inception-v3-compat (2015-12-05) (own file)", sha256_of(path))
    assert mine.no_logits == f"{path}: IS can't be computed without a finite fc.weight and fc.bias"
    images = draw(2, 3, 64, 32)
    features, logits = mine(images)
    np.testing.assert_array_equal(features, net[0](images).features)
    assert logits.shape == (2, 0)
    assert net[0].no_logits is None


def test_the_outputs_of_an_image_do_not_depend_on_its_batch(net):
    images = draw(3, 3, 40, 24)
    for alone, together in zip(net[0](images[1:2]), net[0](images), strict=True):
        np.testing.assert_allclose(alone[0], together[1], rtol=1e-4, atol=1e-4)


def test_the_network_is_frozen_runs_in_inference_mode_and_accepts_uint8_only(net):
    modes = []
    assert not any(value.requires_grad for value in net[0]._net.parameters())
    with net[0]._net.register_forward_pre_hook(lambda *_: modes.append(torch.is_inference_mode_enabled())):
        net[0](draw(1, 3, 32, 32))
    assert modes == [True]
    with pytest.raises(TypeCheckError, match="images"):
        net[0](draw(1, 3, 40, 24).float())


def test_torchvisions_network_is_fed_as_in_gflas_script(agree, tmp_path):
    path, state, images = tmp_path / "mine.pth", random_torchvision_inception(), draw(2, 3, 64, 32)
    torch.save(state, path)
    net = TorchvisionInception(WeightStore(download=False, torchvision_inception=path), CPU)
    features, logits = net(images)
    # The script's own steps, layer by layer.
    reference = inception_v3(weights=None, init_weights=False).eval()
    reference.load_state_dict(state)
    x = torch.nn.functional.interpolate(images / 255, size=(299, 299), mode="bilinear")
    for channel, (std, mean) in enumerate([(0.229, 0.485), (0.224, 0.456), (0.225, 0.406)]):
        x[:, channel] = x[:, channel] * (std / 0.5) + (mean - 0.5) / 0.5
    layers = (
        "Conv2d_1a_3x3 Conv2d_2a_3x3 Conv2d_2b_3x3 maxpool1 Conv2d_3b_1x1 Conv2d_4a_3x3 maxpool2 Mixed_5b Mixed_5c "
    )
    layers += "Mixed_5d Mixed_6a Mixed_6b Mixed_6c Mixed_6d Mixed_6e Mixed_7a Mixed_7b Mixed_7c avgpool"
    with torch.inference_mode():
        for layer in layers.split():
            x = getattr(reference, layer)(x)
    what, against = "Inception of `gfla`, random weights", "the steps of GFLA's script, float32"
    agree("Metrics", what, against, features, x.flatten(1), 1e-4, relative=True)
    assert (features.shape, logits.shape) == ((2, 2048), (2, 1000))
    assert (net.name, net.weights_hash) == ("inception-v3 (torchvision) (own file)", sha256_of(path))


@pytest.mark.parametrize(("net", "file"), [(InceptionNet, INCEPTION), (TorchvisionInception, TORCHVISION)])
def test_bad_weights_are_refused(tmp_path, net, file):
    check_refuses_bad_weights(net, file, tmp_path)


def metrics_of(net, size, reference):
    shared = {protocol: FeatureColumns(net, protocol, size) for protocol in PROTOCOLS}
    scores = [metric(shared[protocol]) for protocol in PROTOCOLS for metric in (InceptionScore, MaskInceptionScore)]
    return [*scores, FrechetDistance("fid_train", shared[STANDARD], "train", reference)]


def test_values_are_those_of_the_networks_outputs():
    images, net = draw_batch(SMALL, count=25), FewFeatures()
    reference = moments(draw_batch(SMALL, count=9, seed=1).true.mean(axis=(1, 2)))
    metrics = metrics_of(net, SMALL, reference)
    columns = update_all(metrics, images)
    features, logits = FewFeatures()(torch.from_numpy(images.generated).permute(0, 3, 1, 2))
    mask_logits = {}
    for protocol in PROTOCOLS:
        cut = images.generated * np.stack(images.masks(protocol))[..., None]
        mask_logits[protocol.name] = FewFeatures()(torch.from_numpy(cut).permute(0, 3, 1, 2))[1]
    rows = np.random.default_rng(0).permutation(25)
    for chosen in (np.arange(25), rows):
        expected = {
            **{("inception_score", p.name): inception_score(logits[chosen])[0] for p in PROTOCOLS},
            **{("mask_inception_score", p.name): inception_score(mask_logits[p.name][chosen])[0] for p in PROTOCOLS},
            ("fid_train", "standard"): frechet_distance(moments(features[chosen]), reference),
        }
        got = {(metric.name, metric.protocol): metric.compute(columns, chosen) for metric in metrics}
        assert got == pytest.approx(expected, rel=1e-6)
    # The splits of the score follow the order of the rows.
    assert inception_score(logits)[0] != inception_score(logits[rows])[0]
    assert metrics[0].extras(columns) == {"splits_std": inception_score(logits)[1]}
    assert metrics[1].extras(columns) == {"splits_std": inception_score(mask_logits["patn"])[1]}


def test_metrics_of_equal_frames_share_one_pass():
    images, net = draw_batch(SMALL), FewFeatures()
    metrics = metrics_of(net, SMALL, Moments(np.zeros(3), np.eye(3), 77))
    update_all([metric for metric in metrics if metric.name != "mask_inception_score"], without_joints(images))
    assert [tuple(inputs.shape) for inputs in net.inputs] == [(3, 3, 40, 32)]
    np.testing.assert_array_equal(net.inputs[0], images.generated.transpose(0, 3, 1, 2))


def test_under_patn_the_network_gets_bands_at_256x176():
    images, net = draw_batch(BANDED, count=2), FewFeatures()
    metrics = metrics_of(net, BANDED, Moments(np.zeros(3), np.eye(3), 77))
    update_all(metrics, images)
    banded, banded_mask, bare, _ = (inputs.permute(0, 2, 3, 1).numpy() for inputs in net.inputs)
    for i, (image, mask) in enumerate(zip(images.generated, images.masks(PATN), strict=True)):
        np.testing.assert_array_equal(banded[i], add_bands(image, 255))
        np.testing.assert_array_equal(banded_mask[i], add_bands(image * mask[..., None], 0))
    np.testing.assert_array_equal(bare, images.generated)
    frames = {"patn": "256x256 with bands", "standard": "256x176"}
    assert all(metric.details["frame"] == frames[metric.protocol] for metric in metrics)


def test_details_name_the_network_and_the_reference_set():
    _, _, score, _, distance = metrics_of(FewFeatures(), SMALL, Moments(np.zeros(3), np.eye(3), 77))
    net = {"version": 1, "frame": "40x32", "feature_net": "means", "feature_net_hash": "abc"}
    assert score.details == net | {"splits": 10}
    assert distance.details == net | {"reference": "train images", "reference_n": 77}
