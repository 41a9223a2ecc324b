import numpy as np
import pytest
import torch
from torchmetrics.functional.image.lpips import learned_perceptual_image_patch_similarity

from stand_ins import CPU, check_refuses_bad_weights, draw_batch, random_alexnet, save_weights, without_joints
from twostream.files import sha256_of
from twostream.metrics.lpips import ALEXNET, LPIPS, LPIPSNet, MaskLPIPS
from twostream.metrics.protocols import GFLA, STANDARD
from twostream.weights import WeightStore


@pytest.fixture(scope="module")
def alexnet_path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("torch") / "hub" / "checkpoints"
    save_weights(folder, ALEXNET, random_alexnet())
    return folder / ALEXNET.name


@pytest.fixture(scope="module")
def net(alexnet_path):
    store, file = save_weights(alexnet_path.parent, ALEXNET, random_alexnet())
    return LPIPSNet(store, CPU, file=file)


def draw(*shape, seed=0):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [(64, 32), (31, 31)])
def test_equals_torchmetrics_with_its_own_download(agree, net, alexnet_path, monkeypatch, size):
    """Fails if the private class of torchmetrics that takes loaded weights changes."""
    monkeypatch.setenv("TORCH_HOME", str(alexnet_path.parents[2]))
    generated, target = draw(3, 3, *size), draw(3, 3, *size, seed=1)
    expected = learned_perceptual_image_patch_similarity(
        generated / 255, target / 255, "alex", reduction="none", normalize=True
    )
    assert expected.min() > 1e-3
    got = net(generated, target)
    agree("Metrics", "LPIPS, random weights", "torchmetrics, float32", got, expected, 1e-4, relative=True)
    assert got.dtype == np.float32


def test_is_0_for_equal_images_and_accepts_a_batch_of_one(net):
    images = draw(2, 3, 64, 32)
    np.testing.assert_array_equal(net(images, images), [0, 0])
    assert net(images[:1], images[1:]).shape == (1,)


@pytest.mark.parametrize("size", [(30, 64), (64, 30)])
def test_too_small_images_are_refused(net, size):
    with pytest.raises(ValueError, match=f"LPIPS: expected images of at least 31x31, got {size[0]}x{size[1]}"):
        LPIPS(STANDARD, size, net)


def test_the_network_is_frozen_and_runs_in_inference_mode(net):
    modes = []
    assert not any(value.requires_grad for value in net._net.parameters())
    with net._net.register_forward_pre_hook(lambda *_: modes.append(torch.is_inference_mode_enabled())):
        net(draw(1, 3, 32, 32), draw(1, 3, 32, 32))
    assert modes == [True]


def test_bad_weights_are_refused(tmp_path):
    check_refuses_bad_weights(LPIPSNet, ALEXNET, tmp_path)
    store, file = save_weights(tmp_path, ALEXNET, random_alexnet() | {"features.6.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"expected AlexNet's features\.6\.weight of shape \(384, .*\), got \(1,\)$"):
        LPIPSNet(store, CPU, file=file)


def test_an_own_file_needs_the_convolutions_alone_and_is_marked(net, tmp_path):
    path = tmp_path / "mine.pth"
    torch.save({name: value for name, value in random_alexnet().items() if name.startswith("features")}, path)
    mine = LPIPSNet(WeightStore(download=False, lpips=path), CPU)
    assert (mine.name, mine.weights_hash) == ("AlexNet, LPIPS v0.1 (own file)", sha256_of(path))
    generated, target = draw(2, 3, 64, 32), draw(2, 3, 64, 32, seed=1)
    np.testing.assert_array_equal(mine(generated, target), net(generated, target))


def test_the_metric_is_the_mean_distance_of_generated_and_true_images(net, alexnet_path):
    images = draw_batch((40, 32))
    metric = LPIPS(STANDARD, (40, 32), net)
    columns = metric.update(without_joints(images))
    generated, true = (torch.from_numpy(array).permute(0, 3, 1, 2) for array in images[:2])
    np.testing.assert_allclose(columns["lpips/standard"], net(generated, true), rtol=1e-5)
    rows = np.array([0, 2, 2])
    assert metric.compute(columns, rows) == columns["lpips/standard"][rows].mean()
    assert (metric.name, metric.protocol) == ("lpips", "standard")
    about = {"feature_net": "AlexNet, LPIPS v0.1", "feature_net_hash": sha256_of(alexnet_path)}
    assert metric.details == about | {"version": 1, "frame": "40x32"}


def test_mask_lpips_compares_persons_on_grey(net):
    images = draw_batch((40, 32))
    columns = MaskLPIPS(GFLA, (40, 32), net).update(images)
    masks = torch.from_numpy(np.stack(images.masks(GFLA)))[:, None]
    on_grey = [(torch.from_numpy(side).permute(0, 3, 1, 2) / 127.5 - 1) * masks for side in images[:2]]
    with torch.inference_mode():
        expected = net._net(*on_grey).flatten()
    np.testing.assert_allclose(columns["mask_lpips/gfla"], expected, rtol=1e-5)
    assert not np.allclose(columns["mask_lpips/gfla"], LPIPS(GFLA, (40, 32), net).update(images)["lpips/gfla"])
