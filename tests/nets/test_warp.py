from functools import partial

import pytest
import torch

from twostream.nets.appearance_transfer import AppearanceTransfer
from twostream.nets.attention import attention_matrix
from twostream.nets.fusion import CatFusion
from twostream.nets.inspection import attention_matrices, correspondences, map_size
from twostream.nets.warp import Warp, WarpDecoder, WarpGenerator


def make(stride=2) -> WarpGenerator:
    torch.manual_seed(0)
    settings = {"num_blocks": 2, "width": 4, "num_joints": 18, "dropout": 0.5}
    warp = partial(Warp, stride=stride)
    return WarpGenerator(AppearanceTransfer, CatFusion, CatFusion, **settings, warp=warp)


@pytest.mark.parametrize("stride", [2, 4])
def test_positions_that_match_themselves_give_the_source(stride):
    warp = Warp(8, 18, stride=stride)
    source = torch.rand(2, 1, 3, 16, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    num_positions = (16 // stride) * (8 // stride)
    one_hot = torch.eye(num_positions).expand(2, -1, -1)
    torch.testing.assert_close(warp(1000 * one_hot, one_hot, source), source[:, 0])


def test_patches_move_as_a_whole():
    """All positions match the one that is two columns further left."""
    warp = Warp(8, 18, stride=4)
    source = torch.rand(1, 1, 3, 8, 24)
    keys = torch.eye(12)[None]
    left = torch.arange(12).view(2, 6).roll(2, dims=1).flatten()
    warped = warp(1000 * keys[:, :, left], keys, source)
    # The overlap brings in other patches only at the border of the image and of the column that wraps around.
    torch.testing.assert_close(warped[..., 10:22], source[:, 0, :, :, 2:14])


def test_without_a_preference_every_position_is_the_mean_patch():
    warp = Warp(8, 18)
    keys = torch.zeros(1, 4, 32)
    source = torch.rand(1, 2, 3, 16, 8)
    warped = warp(keys, keys.repeat(1, 1, 2), source)
    inner = warped[..., 1:-1, 1:-1]
    torch.testing.assert_close(inner[..., 2:, :], inner[..., :-2, :])
    assert source.min() <= warped.min() <= warped.max() <= source.max()


def test_queries_and_keys_are_directions_that_depend_on_the_pose(random_pair):
    warp = Warp(8, 18, key_channels=6, scale=7.0)
    features = torch.rand(2, 8, 8, 4)
    queries, keys = (f(features, random_pair.target_heatmaps) for f in (warp.queries, warp.keys))
    assert queries.shape == keys.shape == (2, 6, 128)
    torch.testing.assert_close(keys.norm(dim=1), torch.ones(2, 128))
    torch.testing.assert_close(queries.norm(dim=1), torch.full((2, 128), 7.0))
    assert not torch.allclose(queries, warp.queries(features, random_pair.source_heatmaps))


def test_the_decoder_blends_by_its_mask():
    decoder, target, warped = WarpDecoder(4), torch.rand(1, 16, 4, 2), torch.rand(1, 3, 16, 8) * 2 - 1
    bias = decoder.to_image[1].bias
    for mask, expected in ((100.0, warped), (-100.0, None)):
        with torch.no_grad():
            bias[3] = mask
        image = decoder(target, warped)
        assert image.abs().max() <= 1
        assert torch.equal(image, warped) is (expected is not None)


def test_equal_sources_are_as_good_as_one(random_pair):
    generator = make().eval()
    image, heatmaps, target = random_pair.source_image, random_pair.source_heatmaps, random_pair.target_heatmaps
    three = generator.generate(torch.stack([image] * 3, 1), torch.stack([heatmaps] * 3, 1), target)
    torch.testing.assert_close(three, generator(image, heatmaps, target), rtol=0, atol=1e-5)
    others = torch.stack([image, image.flip(0)], 1), torch.stack([heatmaps, heatmaps.flip(0)], 1)
    two = generator.generate(*others, target)
    assert not torch.allclose(two, three, atol=1e-3)
    swapped = generator.generate(*(tensor.flip(1) for tensor in others), target)
    torch.testing.assert_close(two, swapped, rtol=0, atol=1e-5)


def test_in_bfloat16_the_blend_keeps_the_precision_of_the_source(random_pair):
    generator = make().eval()
    expected = generator(*random_pair[:3])
    with torch.autocast("cpu", torch.bfloat16):
        image = generator(*random_pair[:3])
    assert image.dtype == torch.float32
    torch.testing.assert_close(image, expected, rtol=0, atol=0.05)


@pytest.mark.parametrize("stride", [2, 4])
def test_its_correspondence_is_inspected_beside_those_of_the_blocks(random_pair, stride):
    generator = make(stride=stride).eval()
    assert list(correspondences(generator)) == ["block_1", "block_2", "warp"]
    used = []
    generator.warp.register_forward_pre_hook(lambda _, inputs: used.append(attention_matrix(*inputs[:2])))
    matrices = attention_matrices(generator, random_pair[:3])
    torch.testing.assert_close(matrices["warp"], used[0])
    assert map_size(matrices["warp"].shape[1], (32, 16)) == (32 // stride, 16 // stride)
    assert map_size(matrices["block_1"].shape[1], (32, 16)) == (8, 4)


def test_without_cosine_and_pose_queries_are_features_as_they_are(random_pair):
    warp = Warp(8, 18, scale=2.0, cosine=False, pose=False)
    features = torch.rand(2, 8, 8, 4)
    queries = [warp.queries(features, pose) for pose in (random_pair.target_heatmaps, random_pair.source_heatmaps)]
    assert torch.equal(*queries)
    expected = 2 * torch.pixel_shuffle(warp.to_queries(features), 2).flatten(2)
    torch.testing.assert_close(queries[0], expected)


def test_without_overlap_positions_are_moved_side_by_side():
    warp = Warp(8, 18, stride=4, overlap=False)
    source, keys = torch.rand(1, 1, 3, 8, 24), torch.eye(12)[None]
    left = torch.arange(12).view(2, 6).roll(2, dims=1).flatten()
    torch.testing.assert_close(warp(1000 * keys[:, :, left], keys, source), source[:, 0].roll(8, dims=-1))


@pytest.mark.parametrize(("takes", "blends"), [(True, False), (False, True), (False, False)])
def test_the_decoder_uses_the_warped_image_as_far_as_asked(takes, blends):
    torch.manual_seed(0)
    decoder, target = WarpDecoder(4, takes, blends), torch.rand(1, 16, 4, 2)
    images = [decoder(target, warped) for warped in (torch.zeros(1, 3, 16, 8), torch.ones(1, 3, 16, 8))]
    assert torch.equal(*images) is (not takes and not blends)


def test_another_stride_is_refused():
    with pytest.raises(ValueError, match="stride: expected 2 or 4, got 3"):
        make(stride=3)
