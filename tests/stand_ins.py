"""Stand-ins for the networks of an evaluation, random images and weights, their files, and another library's SSIM."""

import io
from functools import cache

import numpy as np
import torch
from PIL import Image
from skimage.metrics import structural_similarity

from twostream.data.keypoints import NUM_JOINTS
from twostream.files import sha256_of
from twostream.metrics.inception import InceptionNet, Outputs
from twostream.metrics.metric import ImageBatch, Panel
from twostream.weights import WeightFile, WeightStore

CPU = torch.device("cpu")


class Corner:
    """Finds all joints in each image's first pixel."""

    name = "corner"
    weights_hash = "123"

    def __call__(self, images):
        return np.zeros((len(images), NUM_JOINTS, 2), dtype=np.int64)


class FewFeatures(InceptionNet):
    """Means of an image in place of Inception; remembers its inputs."""

    name = "means"
    weights_hash = "abc"

    def __init__(self, *_):
        self.inputs = []

    @property
    def num_inputs(self):
        return sum(map(len, self.inputs))

    def __call__(self, images):
        self.inputs.append(images)
        means = images.float().mean(dim=(2, 3)).numpy()
        return Outputs(means, means / 20)


def draw_batch(size, count=3, seed=0):
    """Images of many colours whose range is far from 255, of persons of different size."""
    random = np.random.default_rng(seed)
    colours = random.integers(60, 120, (count, 1, 1, 3))
    true = (colours + random.integers(0, 60, (count, *size, 3))).astype(np.uint8)
    generated = np.clip(true + random.normal(0, 20, true.shape), 30, 200).astype(np.uint8)
    joints = [random.integers((5, 8), (30, 15 + i % 9), (NUM_JOINTS, 2)) for i in range(count)]
    return ImageBatch(generated, true, joints, [(f"{i}", f"{i}") for i in range(count)])


def without_joints(images):
    return images._replace(joints=[None] * len(images.generated))


def save_image(path, seed, size):
    random = np.random.default_rng(seed)
    noise = random.integers(0, 120, (*size, 3)) + random.integers(0, 120, 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise.astype(np.uint8)).save(path)
    return Panel(path)


def encoded(image, kind="PNG", **options):
    """The bytes of an image's file in a format of Pillow."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def patn_ssim(generated, true):
    """SSIM as in PATN's environment, written out: a Gaussian of sigma 1.5 with 13 taps, the range of `generated`."""
    taps = np.exp(-(np.arange(-6, 7) ** 2) / (2 * 1.5**2))
    c1, c2 = ((k * (float(generated.max()) - float(generated.min()))) ** 2 for k in (0.01, 0.03))

    def mean(channel):
        for axis in (0, 1):
            padded = np.pad(channel, [(6, 6) if axis == i else (0, 0) for i in (0, 1)], mode="symmetric")
            channel = np.apply_along_axis(np.convolve, axis, padded, taps / taps.sum(), mode="valid")
        return channel

    values = []
    for x, y in zip(np.moveaxis(generated.astype(float), 2, 0), np.moveaxis(true.astype(float), 2, 0), strict=True):
        mean_x, mean_y = mean(x), mean(y)
        var_x, var_y, covariance = mean(x * x) - mean_x**2, mean(y * y) - mean_y**2, mean(x * y) - mean_x * mean_y
        ratio = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
        values.append((ratio / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)))[5:-5, 5:-5].mean())
    return float(np.mean(values))


def by_skimage(generated, true, data_range):
    """The call of PATN's evaluation in current scikit-image."""
    return structural_similarity(
        generated,
        true,
        data_range=data_range,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        channel_axis=-1,
    )


def add_bands(image, value):
    """Columns of 40 pixels at both sides of an image, written out."""
    band = np.full((image.shape[0], 40, *image.shape[2:]), value, dtype=image.dtype)
    return np.concatenate([band, image, band], axis=1)


def save_weights(folder, file, state):
    """Save weights under a published name; return their store and the description of the file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file.name
    torch.save(state, path)
    return WeightStore(folder, download=False), WeightFile(path.name, "https://example.org/weights", sha256_of(path))


@cache
def random_inception():
    """Random weights of Inception, not to be changed, that keep the features at the scale of 1."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Untrained(FeatureExtractorInceptionV3):
        def load_state_dict(self, state_dict):
            pass

    empty = io.BytesIO()
    torch.save({}, empty)
    empty.seek(0)
    return draw_inception(Untrained("untrained", ["2048"], empty).state_dict())


@cache
def random_torchvision_inception():
    """Random weights of torchvision's Inception, not to be changed, that keep the features at the scale of 1."""
    from torchvision.models import inception_v3

    return draw_inception(inception_v3(weights=None, init_weights=False).state_dict())


def draw_inception(state):
    random = torch.Generator().manual_seed(0)
    for name, value in state.items():
        if value.ndim > 1:
            torch.nn.init.kaiming_normal_(value, generator=random)
        elif name.endswith(("bias", "running_mean")):
            value.normal_(std=0.1, generator=random)
    return state


@cache
def random_alexnet():
    """Random weights of AlexNet, not to be changed; the classifier, which LPIPS does not use, is 0 without memory."""
    from torchvision.models import alexnet

    with torch.device("meta"):
        shapes = {name: value.shape for name, value in alexnet().state_dict().items()}
    random = torch.Generator().manual_seed(0)
    return {
        name: torch.empty(shape).normal_(std=shape[1:].numel() ** -0.5, generator=random)
        if name.startswith("features")
        else torch.zeros(()).expand(shape)
        for name, shape in shapes.items()
    }


def fid_of_few(first, second):
    """FID. For centred features X1 and X2, the trace of the root is the sum of the singular values of X1 X2^T."""
    means = [features.mean(axis=0, dtype=np.float64) for features in (first, second)]
    centred = [(f - m) / np.sqrt(len(f) - 1) for f, m in zip((first, second), means, strict=True)]
    trace_of_root = np.linalg.svd(centred[0] @ centred[1].T, compute_uv=False).sum()
    return ((means[0] - means[1]) ** 2).sum() + sum((x**2).sum() for x in centred) - 2 * trace_of_root


class Code:
    """Creates a file when it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return type(self.trace).touch, (self.trace,)


def check_refuses_bad_weights(build, file, tmp_path):
    """Check that a network refuses a weight file that is missing, damaged, of another network, or contains code."""
    import pytest

    with pytest.raises(ValueError, match=f"{file.name} is missing: put it into {tmp_path}, from {file.url}"):
        build(WeightStore(tmp_path, download=False), CPU)
    (tmp_path / file.name).write_bytes(b"other")
    with pytest.raises(ValueError, match=f"{file.name}: expected a state dict that torch can load safely"):
        build(WeightStore(tmp_path, download=False), CPU)
    for state in ({"fc.weight": torch.zeros(2, 2)}, {"features.0.weight": torch.zeros(2, 2)}):
        store, published = save_weights(tmp_path, file, state)
        with pytest.raises(ValueError, match=rf"^\S*{file.name}: expected (the weights of .* do not fit|AlexNet's .*)"):
            build(store, CPU, file=published)
    trace = tmp_path / "executed"
    store, published = save_weights(tmp_path, file, {"features.0.weight": Code(trace)})
    with pytest.raises(ValueError, match=f"{file.name}: expected a state dict that torch can load safely"):
        build(store, CPU, file=published)
    assert not trace.exists()
    torch.load(tmp_path / file.name, weights_only=False)
    assert trace.exists()
