import json
from pathlib import Path

import numpy as np
import pytest

from twostream.metrics.inception import frechet_distance, inception_score, moments
from twostream.metrics.pckh import pckh, pckh_counts
from twostream.metrics.protocols import PATN, PATN_V1, PROTOCOLS, STANDARD, protocols_named
from twostream.metrics.ssim import ssim

FOLDER = Path(__file__).parents[1] / "stored"
STORED = json.loads((FOLDER / "metrics_of_fixed_images.json").read_text(encoding="utf-8"))
# Computed with the source code of scikit-image 0.14.2, in which PATN's evaluation ran.
PATN_ENVIRONMENT = json.loads((FOLDER / "patn_environment.json").read_text(encoding="utf-8"))


def draw(size, noise, seed=0):
    """A noisy copy of an image of blocks, and the image."""
    random = np.random.default_rng(seed)
    height, width = size
    target = np.kron(random.integers(40, 200, (height // 8, width // 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    generated = np.clip(target + random.integers(-noise, noise + 1, target.shape), 0, 255).astype(np.uint8)
    return generated, target


@pytest.mark.parametrize(
    ("protocol", "size"), [(STANDARD, (256, 176)), (PATN, (128, 64)), (PATN, (176, 256)), (PATN, (256, 256))]
)
def test_other_images_are_not_padded(protocol, size):
    image = np.full((*size, 3), 7, np.uint8)
    assert protocol.frame(image) is image
    np.testing.assert_array_equal(protocol.frame(image, np.ones(size, bool)), image)


def test_protocols_are_found_by_name():
    assert protocols_named("patn") == [PATN]
    assert protocols_named("standard") == [STANDARD]
    assert protocols_named("all") == [PATN, STANDARD]
    assert [(protocol.name, protocol.version) for protocol in protocols_named("patn_v1")] == [("patn", 1)]
    with pytest.raises(ValueError, match="protocol: expected patn, standard, gfla, cfld, all, patn_v1, got 'PATN'"):
        protocols_named("PATN")


@pytest.mark.parametrize("stored", PATN_ENVIRONMENT, ids=lambda stored: f"seed{stored['seed']}")
def test_patn_equals_its_own_environment(agree, stored):
    size, random = stored["size"], np.random.RandomState(stored["seed"])
    target = np.kron(random.randint(40, 200, (size[0] // 8, size[1] // 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    generated = np.clip(target + random.randint(-40, 41, target.shape), 0, 230).astype(np.uint8)
    joints = random.randint((-3, -3), (size[0] + 3, size[1] + 3), (18, 2))
    joints[random.rand(18) < 0.2] = -1
    joints[0] = joints[1] + [0, 5]
    mask = PATN.mask(joints, tuple(size))
    against = "stored values of scikit-image 0.14.2"
    agree("Metrics", "rows of persons' masks, `patn`", against, mask.sum(axis=1), stored["mask_rows"], 0)
    agree("Metrics", "SSIM, `patn`", against, ssim(generated, target, PATN), stored["ssim"], 1e-12)
    agree("Metrics", "Mask-SSIM, `patn`", against, ssim(generated, target, PATN, mask), stored["mask_ssim"], 1e-12)
    # The library's change: other windows and masks.
    assert abs(ssim(generated, target, PATN_V1) - stored["ssim"]) > 1e-6
    assert PATN_V1.mask(joints, tuple(size)).sum() >= mask.sum()


def measure(size):
    """All numbers on a small set of images, joints and outputs of a network."""
    generated, target = draw(size, 40, seed=1)
    random = np.random.default_rng(2)
    person = np.zeros(size, dtype=bool)
    person[size[0] // 4 : -size[0] // 8, size[1] // 4 : -size[1] // 4] = True
    logits, features = random.normal(0, 2, (40, 6)), random.normal(0, 1, (2, 30, 5))
    joints = random.integers(0, size, (6, 18, 2))
    joints[random.random((6, 18)) < 0.2] = -1
    detected = np.where(joints == -1, -1, joints + random.integers(-size[0] // 4, size[0] // 4, joints.shape))
    similarity = {
        f"{name}_{protocol.name}": ssim(generated, target, protocol, mask)
        for protocol in PROTOCOLS
        for name, mask in (("ssim", None), ("mask_ssim", person))
    }
    return similarity | {
        "inception_score": inception_score(logits)[0],
        "inception_score_std": inception_score(logits)[1],
        "frechet_distance": frechet_distance(moments(features[0]), moments(features[1] + 0.3)),
        "pckh": pckh([pckh_counts(*pair) for pair in zip(detected, joints, strict=True)]),
    }


@pytest.mark.parametrize("size", [(64, 32), (256, 176)])
def test_numbers_equal_the_stored_ones(size):
    """To change a number of a protocol on purpose, raise its version and store the new numbers."""
    assert measure(size) == pytest.approx(STORED[f"{size[0]}x{size[1]}"], rel=1e-6)
