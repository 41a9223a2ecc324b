import numpy as np
import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from twostream.metrics.similarity import BORDER, PATN, STANDARD, masked, ssim


@pytest.fixture
def pictures():
    random = np.random.default_rng(0)
    smooth = np.kron(random.integers(40, 200, (8, 4, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    noisy = np.clip(smooth + random.normal(0, 12, smooth.shape), 0, 255).astype(np.uint8)
    return noisy, smooth


def by_torchmetrics(generated, target, data_range):
    tensors = (torch.from_numpy(image).double().permute(2, 0, 1)[None] for image in (generated, target))
    _, full = structural_similarity_index_measure(*tensors, data_range=data_range, return_full_image=True)
    return full[..., BORDER:-BORDER, BORDER:-BORDER].mean().item()


def test_standard_equals_another_library(pictures):
    assert ssim(*pictures, STANDARD) == pytest.approx(by_torchmetrics(*pictures, 255.0), abs=1e-6)


def test_patn_takes_the_range_of_the_generated_picture(pictures):
    generated, target = pictures
    generated = (generated // 2 + 30).astype(np.uint8)
    data_range = float(generated.max()) - float(generated.min())
    assert ssim(generated, target, PATN) == pytest.approx(by_torchmetrics(generated, target, data_range), abs=1e-6)
    assert ssim(generated, target, PATN) != pytest.approx(ssim(generated, target, STANDARD), abs=1e-3)


@pytest.mark.parametrize("protocol", [PATN, STANDARD])
def test_equal_pictures_have_1(pictures, protocol):
    assert ssim(pictures[0], pictures[0], protocol) == pytest.approx(1)


def test_a_flat_picture_is_defined(pictures):
    assert np.isfinite(ssim(np.full_like(pictures[0], 7), pictures[1], PATN))


def test_masked_blackens_the_rest(pictures):
    mask = np.zeros((64, 32), dtype=bool)
    mask[10:20, 5:9] = True
    image = masked(pictures[0], mask)
    assert (image[mask] == pictures[0][mask]).all()
    assert image[~mask].max() == 0
    assert image.dtype == np.uint8


def test_refuses_pictures_smaller_than_the_window(pictures):
    with pytest.raises(ValueError, match=r"two pictures of one size over 10x10, got \(10, 32, 3\)"):
        ssim(pictures[0][:10], pictures[1][:10], PATN)
