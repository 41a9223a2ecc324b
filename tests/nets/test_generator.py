from functools import partial

import pytest
import torch
from torch import nn

from twostream.nets.appearance_transfer import AppearanceTransfer, NoAppearanceTransfer
from twostream.nets.blocks import StreamConv
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


def test_submodules_have_the_parameters_of_the_layout(paper_size):
    first, last = paper_size.blocks[0], paper_size.blocks[-1]
    assert count(paper_size.source_encoder) == 434_944
    assert count(paper_size.target_encoder) == 425_536
    assert count(first.source_conv) == count(first.target_conv) == 1_180_160
    assert count(first.at_module) == 82_369
    assert count(first.target_fusion) == count(first.source_fusion) == 1_179_904
    assert count(last.source_fusion) == 0
    assert count(paper_size.decoder) == 378_243


def test_convolutions_of_the_streams_can_be_padded_by_reflection():
    features = torch.rand(1, 8, 5, 6)
    conv = StreamConv(8, dropout=0.5, num_layers=1, padding_mode="reflect").eval()
    padded = nn.functional.pad(features, (1, 1, 1, 1), mode="reflect")
    expected = nn.functional.instance_norm(nn.functional.conv2d(padded, conv[0].weight, conv[0].bias))
    torch.testing.assert_close(conv(features), expected)


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
    # sigma starts at 0: the gradients behind it are exactly 0 in the first iteration, but exist.
    assert [name for name, parameter in generator.named_parameters() if parameter.grad is None] == []


def test_only_the_blocks_have_dropout(random_pair: PosePair):
    generator = make()
    outside = [m for net in (generator.source_encoder, generator.decoder) for m in net.modules()]
    assert not any(isinstance(module, nn.Dropout) for module in outside)
    assert not torch.equal(generator(*random_pair[:3]), generator(*random_pair[:3]))
    generator.eval()
    assert torch.equal(generator(*random_pair[:3]), generator(*random_pair[:3]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_blocks": 0}, "num_blocks: expected at least 1, got 0"),
        ({"num_blocks": 101}, "num_blocks: expected at most 100, got 101"),
        ({"width": 1}, "width: expected at least 2, got 1"),
    ],
)
def test_invalid_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)


def test_a_size_not_divisible_by_4_is_refused():
    with pytest.raises(ValueError, match="divisible by 4, got 30x16"):
        make()(torch.zeros(1, 3, 30, 16), *torch.zeros(2, 1, 18, 30, 16))


@pytest.mark.parametrize(("width", "std"), [(64, 0.02), (16, 0.04)])
def test_initial_weights_are_patns_at_the_papers_width(width, std):
    conv = make(num_blocks=1, width=width).blocks[0].source_conv[0]
    assert conv.weight.std().item() == pytest.approx(std, rel=0.02)
    assert (conv.bias == 0).all()


def test_factories_may_be_partials():
    assert count(make(partial(AppearanceTransfer))) == count(make())
