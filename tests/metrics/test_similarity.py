import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

from twostream.metrics.protocols import BAND, PATN, STANDARD
from twostream.metrics.similarity import BORDER, mask_ssim, masked, ssim


@pytest.fixture
def pictures():
    random = np.random.default_rng(0)
    smooth = np.kron(random.integers(40, 200, (8, 4, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    noisy = np.clip(smooth + random.normal(0, 12, smooth.shape), 0, 255).astype(np.uint8)
    return noisy, smooth


@pytest.fixture
def mask():
    mask = np.zeros((64, 32), dtype=bool)
    mask[10:50, 8:24] = True
    return mask


def by_skimage(generated, target, data_range):
    """The call of PATN's evaluation."""
    return structural_similarity(
        generated,
        target,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        channel_axis=-1,
        data_range=data_range,
    )


def by_torchmetrics(generated, target, data_range):
    tensors = (torch.from_numpy(image).double().permute(2, 0, 1)[None] for image in (generated, target))
    _, full = structural_similarity_index_measure(*tensors, data_range=data_range, return_full_image=True)
    return full[..., BORDER:-BORDER, BORDER:-BORDER].mean().item()


def test_standard_equals_two_libraries(pictures):
    assert ssim(*pictures, STANDARD) == by_skimage(*pictures, 255)
    assert ssim(*pictures, STANDARD) == pytest.approx(by_torchmetrics(*pictures, 255.0), abs=1e-6)


def test_patn_takes_the_range_of_the_generated_picture(pictures):
    generated, target = pictures
    generated = (generated // 2 + 30).astype(np.uint8)
    data_range = float(generated.max()) - float(generated.min())
    assert ssim(generated, target, PATN) == by_skimage(generated, target, data_range)
    assert ssim(generated, target, PATN) == pytest.approx(by_torchmetrics(generated, target, data_range), abs=1e-6)
    assert ssim(generated, target, PATN) != pytest.approx(ssim(generated, target, STANDARD), abs=1e-3)


@pytest.mark.parametrize("protocol", [PATN, STANDARD])
def test_equal_pictures_have_1(pictures, protocol):
    assert ssim(pictures[0], pictures[0], protocol) == pytest.approx(1)


def test_a_flat_picture_is_defined(pictures):
    assert np.isfinite(ssim(np.full_like(pictures[0], 7), pictures[1], PATN))


def test_masked_blackens_the_rest(pictures, mask):
    image = masked(pictures[0], mask)
    assert (image[mask] == pictures[0][mask]).all()
    assert image[~mask].max() == 0
    assert image.dtype == np.uint8


@pytest.mark.parametrize("protocol", [PATN, STANDARD])
def test_mask_ssim_is_the_ssim_of_the_multiplied_pictures(pictures, mask, protocol):
    multiplied = [np.where(mask[..., None], image, 0).astype(np.uint8) for image in pictures]
    assert mask_ssim(*pictures, mask, protocol) == ssim(*multiplied, protocol)
    assert mask_ssim(*pictures, mask, protocol) != pytest.approx(ssim(*pictures, protocol), abs=1e-3)


def test_mask_ssim_is_a_mean_over_the_whole_frame(pictures, mask):
    multiplied = (masked(image, mask) for image in pictures)
    by_hand = by_torchmetrics(*multiplied, 255.0)
    assert mask_ssim(*pictures, mask, STANDARD) == pytest.approx(by_hand, abs=1e-6)
    # Black on black is perfect: with an empty mask everything is.
    assert mask_ssim(*pictures, np.zeros_like(mask), STANDARD) == pytest.approx(1, abs=1e-12)


def test_mask_ssim_takes_the_range_of_the_blackened_picture(pictures, mask):
    generated, target = pictures
    generated = (generated // 2 + 30).astype(np.uint8)
    by_hand = by_skimage(masked(generated, mask), masked(target, mask), int(generated[mask].max()))
    assert mask_ssim(generated, target, mask, PATN) == by_hand


def test_mask_ssim_blackens_the_bands():
    random = np.random.default_rng(0)
    generated, target = random.integers(0, 256, (2, 256, 176, 3), dtype=np.uint8)
    mask = np.zeros((256, 176), dtype=bool)
    mask[60:200, :50] = True
    black = ((0, 0), (BAND, BAND), (0, 0))
    framed = (np.pad(masked(image, mask), black) for image in (generated, target))
    assert mask_ssim(generated, target, mask, PATN) == by_skimage(*framed, int(generated[mask].max()))


def test_refuses_pictures_smaller_than_the_window(pictures):
    with pytest.raises(ValueError, match=r"two pictures of one size over 10x10, got \(10, 32, 3\)"):
        ssim(pictures[0][:10], pictures[1][:10], PATN)
