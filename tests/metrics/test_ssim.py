import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

from stand_ins import add_bands, by_skimage, draw_batch, without_joints
from twostream.metrics.metric import update_all
from twostream.metrics.protocols import CFLD, GFLA, PATN, PATN_V1, STANDARD
from twostream.metrics.ssim import PSNR, SSIM, MaskSSIM, psnr, ssim


@pytest.fixture
def images():
    random = np.random.default_rng(0)
    smooth = np.kron(random.integers(40, 200, (8, 4, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    noisy = np.clip(smooth + random.normal(0, 12, smooth.shape), 0, 255).astype(np.uint8)
    return noisy, smooth


@pytest.fixture
def mask():
    mask = np.zeros((64, 32), dtype=bool)
    mask[10:50, 8:24] = True
    return mask


def by_torchmetrics(generated, target, data_range):
    tensors = (torch.from_numpy(image).double().permute(2, 0, 1)[None] for image in (generated, target))
    _, full = structural_similarity_index_measure(*tensors, data_range=data_range, return_full_image=True)
    return full[..., 5:-5, 5:-5].mean().item()


@pytest.mark.parametrize("protocol", [PATN_V1, STANDARD])
@pytest.mark.parametrize("is_masked", [False, True])
def test_equals_two_libraries(agree, images, mask, protocol, is_masked):
    generated, target = (image // 2 + 30 for image in images)
    value = ssim(generated, target, protocol, mask if is_masked else None)
    if is_masked:
        generated, target = (np.where(mask[..., None], image, 0).astype(np.uint8) for image in (generated, target))
    data_range = 255 if protocol is STANDARD else int(generated.max()) - int(generated.min())
    what = "SSIM, Mask-SSIM: `standard`, `patn` version 1"
    agree("Metrics", what, "current scikit-image", value, by_skimage(generated, target, data_range), 1e-12)
    agree("Metrics", what, "torchmetrics", value, by_torchmetrics(generated, target, float(data_range)), 1e-6)


@pytest.mark.parametrize("protocol", [PATN, STANDARD])
def test_equal_images_and_black_ones_have_1(images, mask, protocol):
    assert ssim(images[0], images[0], protocol) == pytest.approx(1)
    assert ssim(*images, protocol, np.zeros_like(mask)) == pytest.approx(1, abs=1e-12)


def test_a_flat_image_is_defined(images):
    assert np.isfinite(ssim(np.full_like(images[0], 7), images[1], PATN))


def test_images_smaller_than_the_window_are_refused(images):
    with pytest.raises(ValueError, match=r"two images of one size over 10x10, got \(10, 32, 3\)"):
        ssim(images[0][:10], images[1][:10], PATN)


def measure(size, images, patn):
    metrics = [metric(protocol, size) for metric in (SSIM, MaskSSIM) for protocol in (patn, STANDARD)]
    return metrics, update_all(metrics, images)


def test_metrics_are_means_over_images_and_persons_under_each_protocol():
    images = draw_batch((40, 32))
    metrics, columns = measure((40, 32), images, PATN_V1)
    assert list(columns) == [f"{name}/{p}" for name in ("ssim", "mask_ssim") for p in ("patn", "standard")]
    for i, (generated, true, mask) in enumerate(zip(*images[:2], images.masks(STANDARD), strict=True)):
        cut, true_cut = (image * mask[..., None] for image in (generated, true))
        expected = {
            "ssim/standard": by_skimage(generated, true, 255),
            "ssim/patn": by_skimage(generated, true, float(generated.max()) - float(generated.min())),
            "mask_ssim/standard": by_skimage(cut, true_cut, 255),
            # The cut image contains black, so its range is another one.
            "mask_ssim/patn": by_skimage(cut, true_cut, float(cut.max())),
        }
        assert {name: column[i] for name, column in columns.items()} == pytest.approx(expected, abs=1e-12)
        assert len({round(value, 4) for value in expected.values()}) == 4
    rows = np.array([0, 2, 2])
    assert [metric.compute(columns, rows) for metric in metrics] == [column[rows].mean() for column in columns.values()]


def test_patn_has_masks_of_its_own():
    images = draw_batch((40, 32), count=1)
    _, columns = measure((40, 32), images, PATN)
    mask = PATN.mask(images.joints[0], (40, 32))
    assert columns["mask_ssim/patn"] == [ssim(images.generated[0], images.true[0], PATN, mask)]
    assert mask.sum() < STANDARD.mask(images.joints[0], (40, 32)).sum()


def test_under_patn_images_of_256x176_have_white_bands_and_masked_ones_black():
    images = draw_batch((256, 176), count=1)
    columns = measure((256, 176), images, PATN_V1)[1]
    (generated,), (true,), (mask,) = *images[:2], images.masks(STANDARD)
    expected = by_skimage(add_bands(generated, 255), add_bands(true, 255), 255.0 - generated.min())
    assert columns["ssim/patn"] == pytest.approx([expected], abs=1e-12)
    cut, true_cut = (add_bands(image * mask[..., None], 0) for image in (generated, true))
    assert columns["mask_ssim/patn"] == pytest.approx([by_skimage(cut, true_cut, float(cut.max()))], abs=1e-12)
    assert columns["ssim/standard"] == pytest.approx([by_skimage(generated, true, 255)], abs=1e-12)
    assert abs(columns["ssim/standard"][0] - columns["ssim/patn"][0]) > 0.01


def test_ssim_needs_no_joints():
    assert list(SSIM(STANDARD, (40, 32)).update(without_joints(draw_batch((40, 32))))) == ["ssim/standard"]


def test_details_contain_window_range_and_frame():
    patn = {"frame": "256x256 with bands", "data_range": "max - min of the generated image"}
    patn |= {"version": 2, "window": "gaussian 13x13, sigma 1.5"}
    standard = {"version": 1, "frame": "256x176", "window": "gaussian 11x11, sigma 1.5", "data_range": "255"}
    for metric in (SSIM, MaskSSIM):
        assert metric(PATN, (256, 176)).details == patn
        assert metric(STANDARD, (256, 176)).details == standard


def test_gfla_and_cfld_equal_scikit_image(agree):
    random = np.random.default_rng(0)
    generated, true = random.integers(0, 256, (2, 2, 64, 56, 3)).astype(np.uint8)
    images = draw_batch((64, 56), count=2)._replace(generated=generated, true=true)
    for protocol in (GFLA, CFLD):
        columns = update_all([SSIM(protocol, (64, 56))], images)
        # The calls of both scripts: images in [0, 1], a window of 51 pixels, unbiased covariances.
        expected = [
            structural_similarity(g / 255, t / 255, data_range=1, win_size=51, channel_axis=-1)
            for g, t in zip(generated, true, strict=True)
        ]
        agree("Metrics", "SSIM, `gfla` and `cfld`", "scikit-image", columns[f"ssim/{protocol.name}"], expected, 1e-12)
    columns = update_all([PSNR(CFLD, (64, 56))], images)
    expected = [peak_signal_noise_ratio(t / 255, g / 255, data_range=1) for g, t in zip(generated, true, strict=True)]
    agree("Metrics", "PSNR, `cfld`, in dB", "scikit-image", columns["psnr/cfld"], expected, 1e-9)
    assert psnr(true, true).tolist() == [np.inf, np.inf]


def test_images_smaller_than_the_window_have_no_ssim():
    with pytest.raises(ValueError, match="ssim: expected images over 50x50, got 64x32"):
        SSIM(GFLA, (64, 32))
