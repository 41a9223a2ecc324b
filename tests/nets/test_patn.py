import pytest
import torch
from torch import nn

from twostream.nets.blocks import ReflectionPad
from twostream.nets.patn import PATNGenerator
from twostream.types import PosePair


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def make(num_blocks=2, width=4, num_joints=18, dropout=0.5) -> PATNGenerator:
    torch.manual_seed(0)
    return PATNGenerator(num_blocks, width, num_joints, dropout)


@pytest.fixture(scope="module")
def paper_size() -> PATNGenerator:
    with torch.device("meta"):
        return make(num_blocks=9, width=64)


def test_submodules_have_the_parameters_of_the_docstring(paper_size):
    first, *others = paper_size.blocks
    assert count(paper_size.image_encoder) == 378_496
    assert count(paper_size.pose_encoder) == 481_984
    assert [count(block.image_conv) for block in paper_size.blocks] == [1_180_160] * 9
    assert count(first.pose_conv) == 1_180_160
    assert [count(block.pose_conv) for block in others] == [3_539_712] * 8
    assert count(paper_size.decoder) == 378_243


@pytest.mark.parametrize(("height", "width"), [(32, 16), (36, 28), (16, 16)])
@pytest.mark.parametrize("num_blocks", [1, 3])
def test_any_size_divisible_by_4_and_any_number_of_blocks(height, width, num_blocks):
    image = make(num_blocks)(torch.zeros(2, 3, height, width), *torch.rand(2, 2, 18, height, width))
    assert image.shape == (2, 3, height, width)
    assert image.abs().max() <= 1


@pytest.mark.parametrize("num_blocks", [1, 3])
def test_every_parameter_gets_a_gradient(random_pair: PosePair, num_blocks):
    """Else the processes of a distributed training would wait for it."""
    generator = make(num_blocks)
    generator(*random_pair[:3]).square().sum().backward()
    grads = {name: parameter.grad for name, parameter in generator.named_parameters()}
    assert [name for name, grad in grads.items() if grad is None] == []
    assert [name for name, grad in grads.items() if name.endswith("weight") and not grad.any()] == []


def test_only_the_blocks_have_dropout(random_pair: PosePair):
    generator = make(dropout=0.25)
    dropouts = {name: m.p for name, m in generator.named_modules() if isinstance(m, nn.Dropout)}
    assert len(dropouts) == 4
    assert all(name.startswith("blocks.") and rate == 0.25 for name, rate in dropouts.items())
    assert not torch.equal(generator(*random_pair[:3]), generator(*random_pair[:3]))
    generator.eval()
    assert torch.equal(generator(*random_pair[:3]), generator(*random_pair[:3]))


def test_the_blocks_pad_by_reflection_that_can_be_deterministic():
    modules = list(make(num_blocks=1).blocks.modules())
    assert [module.padding for module in modules if isinstance(module, ReflectionPad)] == [(1, 1, 1, 1)] * 4
    assert all(module.padding == (0, 0) for module in modules if isinstance(module, nn.Conv2d))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_blocks": 0}, "num_blocks: expected at least 1, got 0"),
        ({"width": 0}, "width: expected at least 1, got 0"),
        ({"num_joints": 0}, "num_joints: expected at least 1, got 0"),
    ],
)
def test_invalid_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)


@pytest.mark.parametrize("size", [(30, 16), (32, 18)])
def test_a_size_not_divisible_by_4_is_refused(size):
    with pytest.raises(ValueError, match=f"divisible by 4, got {size[0]}x{size[1]}"):
        make()(torch.zeros(1, 3, *size), *torch.zeros(2, 1, 18, *size))


@pytest.mark.parametrize(("width", "std"), [(64, 0.02), (16, 0.04)])
def test_initial_weights_are_patns_at_the_papers_width(width, std):
    conv = make(num_blocks=1, width=width).blocks[0].pose_conv[1]
    assert conv.weight.std().item() == pytest.approx(std, rel=0.02)
    assert (conv.bias == 0).all()
