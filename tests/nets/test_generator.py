"""What all generators have in common; their layers and parameters are in test_networks_written_out and test_conf."""

from functools import partial

import pytest
import torch
from torch import nn

from twostream.nets.appearance_transfer import AppearanceTransfer
from twostream.nets.blocks import ReflectionPad
from twostream.nets.fusion import CatFusion
from twostream.nets.generator import TwoStreamGenerator
from twostream.nets.patn import PATNGenerator
from twostream.nets.warp import WarpGenerator
from twostream.types import PosePair

SETTINGS = {"num_blocks": 2, "width": 4, "num_joints": 18, "dropout": 0.25}
EVERY_GENERATOR = pytest.mark.parametrize("kind", [TwoStreamGenerator, PATNGenerator, WarpGenerator])


def make(kind: type[nn.Module], **settings: int) -> nn.Module:
    torch.manual_seed(0)
    # From the sigma of 0 of a new generator there would be no gradients behind it.
    modules = () if kind is PATNGenerator else (partial(AppearanceTransfer, sigma=1.0), CatFusion, CatFusion)
    return kind(*modules, **SETTINGS | settings)


@EVERY_GENERATOR
@pytest.mark.parametrize("size", [(36, 28), (16, 16)])
def test_any_size_divisible_by_4(kind, size):
    image = make(kind)(torch.zeros(2, 3, *size), *torch.rand(2, 2, 18, *size))
    assert image.shape == (2, 3, *size)
    assert image.abs().max() <= 1


@EVERY_GENERATOR
@pytest.mark.parametrize("size", [(30, 16), (32, 18)])
def test_a_size_not_divisible_by_4_is_refused(kind, size):
    with pytest.raises(ValueError, match=f"divisible by 4, got {size[0]}x{size[1]}"):
        make(kind)(torch.zeros(1, 3, *size), *torch.zeros(2, 1, 18, *size))


@EVERY_GENERATOR
@pytest.mark.parametrize("num_blocks", [1, 3])
def test_every_parameter_gets_a_gradient(random_pair: PosePair, kind, num_blocks):
    """Else the processes of a distributed training would wait for it."""
    generator = make(kind, num_blocks=num_blocks)
    generator(*random_pair[:3]).square().sum().backward()
    grads = {name: parameter.grad for name, parameter in generator.named_parameters()}
    assert [name for name, grad in grads.items() if grad is None] == []
    assert [name for name, grad in grads.items() if name.endswith("weight") and not grad.any()] == []


@EVERY_GENERATOR
def test_only_the_blocks_have_dropout(random_pair: PosePair, kind):
    generator = make(kind)
    dropouts = {name: m.p for name, m in generator.named_modules() if isinstance(m, nn.Dropout)}
    assert len(dropouts) == 4
    assert all(name.startswith("blocks.") and rate == 0.25 for name, rate in dropouts.items())
    assert not torch.equal(generator(*random_pair[:3]), generator(*random_pair[:3]))
    generator.eval()
    assert torch.equal(generator(*random_pair[:3]), generator(*random_pair[:3]))


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (TwoStreamGenerator, {"num_blocks": 0}, "num_blocks: expected at least 1, got 0"),
        (TwoStreamGenerator, {"num_blocks": 101}, "num_blocks: expected at most 100, got 101"),
        (TwoStreamGenerator, {"width": 1}, "width: expected at least 2, got 1"),
        (PATNGenerator, {"num_blocks": 0}, "num_blocks: expected at least 1, got 0"),
        (PATNGenerator, {"width": 0}, "width: expected at least 1, got 0"),
        (PATNGenerator, {"num_joints": 0}, "num_joints: expected at least 1, got 0"),
    ],
)
def test_invalid_arguments_are_refused(kind, arguments, message):
    with pytest.raises(ValueError, match=message):
        make(kind, **arguments)


@pytest.mark.parametrize("kind", [TwoStreamGenerator, PATNGenerator])
@pytest.mark.parametrize(("width", "std"), [(64, 0.02), (16, 0.04)])
def test_initial_weights_are_patns_at_the_papers_width(kind, width, std):
    conv = next(m for m in make(kind, num_blocks=1, width=width).blocks.modules() if isinstance(m, nn.Conv2d))
    assert conv.weight.std().item() == pytest.approx(std, rel=0.02)
    assert (conv.bias == 0).all()


def test_patns_blocks_pad_by_reflection_that_can_be_deterministic():
    modules = list(make(PATNGenerator, num_blocks=1).blocks.modules())
    assert [module.padding for module in modules if isinstance(module, ReflectionPad)] == [(1, 1, 1, 1)] * 4
    assert all(module.padding == (0, 0) for module in modules if isinstance(module, nn.Conv2d))
