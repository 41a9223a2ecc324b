from functools import partial

import pytest
import torch
from torch import nn

from twostream.nets import attention
from twostream.nets.appearance_transfer import AppearanceTransfer, NoAppearanceTransfer
from twostream.nets.fusion import AddFusion, CatFusion
from twostream.nets.generator import TwoStreamGenerator
from twostream.types import PosePair


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def make(
    at_module=AppearanceTransfer, target_fusion=CatFusion, source_fusion=CatFusion, num_blocks=2, width=4, num_joints=18
) -> TwoStreamGenerator:
    torch.manual_seed(0)
    return TwoStreamGenerator(at_module, target_fusion, source_fusion, num_blocks, width, num_joints, dropout=0.5)


@pytest.fixture(scope="module")
def paper_size() -> TwoStreamGenerator:
    with torch.device("meta"):
        return make(num_blocks=9, width=64)


def test_has_the_parameters_of_table_2(paper_size):
    assert count(paper_size) == 43_281_292


def test_parts_have_the_parameters_of_the_layout(paper_size):
    first, last = paper_size.blocks[0], paper_size.blocks[-1]
    assert count(paper_size.source_encoder) == 434_944
    assert count(paper_size.target_encoder) == 425_536
    assert count(first.source_conv) == count(first.target_conv) == 1_180_160
    assert count(first.at_module) == 82_369
    assert count(first.target_fusion) == count(first.source_fusion) == 1_179_904
    assert count(last.source_fusion) == 0
    assert count(paper_size.decoder) == 378_243


@pytest.mark.parametrize(("height", "width"), [(32, 16), (36, 28), (16, 16)])
@pytest.mark.parametrize("at_module", [AppearanceTransfer, NoAppearanceTransfer])
@pytest.mark.parametrize("fusions", [(CatFusion, CatFusion), (AddFusion, CatFusion), (AddFusion, AddFusion)])
def test_any_size_divisible_by_4_and_any_ablation(height, width, at_module, fusions):
    generator = make(at_module, *fusions)
    image = generator(torch.zeros(2, 3, height, width), *torch.rand(2, 2, 18, height, width))
    assert image.shape == (2, 3, height, width)
    assert image.abs().max() <= 1


def test_every_parameter_gets_a_gradient(random_pair: PosePair):
    generator = make()
    generator(*random_pair[:3]).square().sum().backward()
    # sigma starts at 0, so what lies behind it has a gradient of exactly 0 at the first step, but has one.
    assert [name for name, parameter in generator.named_parameters() if parameter.grad is None] == []


def test_the_source_reaches_the_output(random_pair: PosePair):
    generator = make(num_blocks=1).eval()
    source_image = random_pair.source_image.requires_grad_()
    generator(source_image, *random_pair[1:3]).sum().backward()
    assert source_image.grad.abs().sum() > 0


def test_dropout_acts_in_the_blocks_alone(random_pair: PosePair):
    generator = make()
    outside = [m for part in (generator.source_encoder, generator.decoder) for m in part.modules()]
    assert not any(isinstance(module, nn.Dropout) for module in outside)
    assert not torch.equal(generator(*random_pair[:3]), generator(*random_pair[:3]))
    generator.eval()
    assert torch.equal(generator(*random_pair[:3]), generator(*random_pair[:3]))


def test_correspondences_of_every_block(random_pair: PosePair):
    maps = make(num_blocks=3).eval().correspondences(*random_pair[:3])
    assert [tuple(matches.shape) for matches in maps] == [(2, 32, 32)] * 3
    for matches in maps:
        torch.testing.assert_close(matches.sum(-1), torch.ones(2, 32))


@pytest.mark.parametrize("rows", [7, 256])
def test_matches_are_the_highest_of_every_blocks_d(random_pair: PosePair, monkeypatch, rows):
    monkeypatch.setattr(attention, "AT_ONCE", rows * 32)
    generator = make(num_blocks=3, width=16).eval()
    for block in generator.blocks:
        # Else the blocks of a new generator hardly differ.
        nn.init.constant_(block.at_module.sigma, 1)
    matches = generator.matches(*random_pair[:3])
    dense = generator.correspondences(*random_pair[:3])
    assert [tuple(found.shape) for found in matches] == [(2, 32)] * 3
    assert all(torch.equal(found, d.argmax(dim=2)) for found, d in zip(matches, dense, strict=True))
    assert not torch.equal(matches[0], matches[1])


def test_matches_take_the_blocks_own_features(random_pair: PosePair):
    """What each AT-module is given in a forward pass is what its matches are taken from."""
    generator = make(num_blocks=3).eval()
    given = []
    for block in generator.blocks:
        block.at_module.register_forward_pre_hook(lambda _, inputs: given.append(inputs))
    generator(*random_pair[:3])
    by_hand = [block.at_module.matches(*inputs) for block, inputs in zip(generator.blocks, given, strict=True)]
    for found, expected in zip(generator.matches(*random_pair[:3]), by_hand, strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("rows", [7, 256])
def test_logit_ranges_are_those_of_every_blocks_queries_and_keys(random_pair: PosePair, monkeypatch, rows):
    monkeypatch.setattr(attention, "AT_ONCE", rows * 32)
    generator = make(num_blocks=3, width=16).eval()
    made = []
    for block in generator.blocks:
        nn.init.constant_(block.at_module.sigma, 1)
        for conv in (block.at_module.to_queries, block.at_module.to_keys):
            conv.register_forward_hook(lambda module, inputs, output: made.append(output.flatten(2)))
    with torch.no_grad():
        generator(*random_pair[:3])
    ranges = [(queries.mT @ keys).aminmax() for queries, keys in zip(made[::2], made[1::2], strict=True)]
    found = generator.logit_ranges(*random_pair[:3])
    torch.testing.assert_close(torch.stack(found), torch.tensor(ranges))
    assert found[0].tolist() != found[1].tolist()


def test_no_correspondence_without_at_module(random_pair: PosePair):
    message = "expected an AT-module, got NoAppearanceTransfer"
    with pytest.raises(TypeError, match=message):
        make(NoAppearanceTransfer).correspondences(*random_pair[:3])
    with pytest.raises(TypeError, match=message):
        make(NoAppearanceTransfer).matches(*random_pair[:3])
    with pytest.raises(TypeError, match=message):
        make(NoAppearanceTransfer).logit_ranges(*random_pair[:3])


def test_knows_whether_it_has_at_modules():
    assert make(AppearanceTransfer).has_at_modules
    assert not make(NoAppearanceTransfer).has_at_modules


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_blocks": 0}, "num_blocks: expected at least 1, got 0"),
        ({"width": 1}, "width: expected at least 2, got 1"),
    ],
)
def test_refuses_what_can_not_work(arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)


def test_refuses_a_size_not_divisible_by_4():
    with pytest.raises(ValueError, match="divisible by 4, got 30x16"):
        make()(torch.zeros(1, 3, 30, 16), *torch.zeros(2, 1, 18, 30, 16))


@pytest.mark.parametrize(("width", "std"), [(64, 0.02), (16, 0.04)])
def test_weights_are_drawn_as_patn_does_at_the_papers_width(width, std):
    conv = make(num_blocks=1, width=width).blocks[0].source_conv[0]
    assert conv.weight.std().item() == pytest.approx(std, rel=0.02)
    assert (conv.bias == 0).all()


def test_factories_may_be_partials():
    assert count(make(partial(AppearanceTransfer))) == count(make())
