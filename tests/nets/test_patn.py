import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from twostream.nets.blocks import ReflectionPad
from twostream.nets.patn import PATBlock, PATNGenerator
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


def test_has_the_parameters_of_table_2(paper_size):
    assert count(paper_size) == 41_358_019


def test_submodules_have_the_parameters_of_the_docstring(paper_size):
    first, *others = paper_size.blocks
    assert count(paper_size.image_encoder) == 378_496
    assert count(paper_size.pose_encoder) == 481_984
    assert [count(block.image_conv) for block in paper_size.blocks] == [1_180_160] * 9
    assert count(first.pose_conv) == 1_180_160
    assert [count(block.pose_conv) for block in others] == [3_539_712] * 8
    assert count(paper_size.decoder) == 378_243


@pytest.mark.parametrize(("size", "gflop"), [((128, 64), 45.0), ((256, 176), 247.7), ((256, 256), 360.3)])
def test_a_forward_pass_costs_what_patns_does(paper_size, size, gflop):
    inputs = [torch.empty(1, channels, *size, device="meta") for channels in (3, 18, 18)]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        paper_size(*inputs)
    assert counter.get_total_flops() / 1e9 == pytest.approx(gflop, abs=0.05)


def convs_by_hand(convs: nn.Sequential, features: torch.Tensor) -> torch.Tensor:
    first, second = (module for module in convs.modules() if isinstance(module, nn.Conv2d))
    features = F.conv2d(F.pad(features, (1, 1, 1, 1), mode="reflect"), first.weight, first.bias)
    features = F.relu(normed(features))
    return F.conv2d(F.pad(features, (1, 1, 1, 1), mode="reflect"), second.weight, second.bias)


def normed(features: torch.Tensor) -> torch.Tensor:
    variance, mean = torch.var_mean(features, dim=(2, 3), correction=0, keepdim=True)
    return (features - mean) / torch.sqrt(variance + 1e-5)


@pytest.mark.parametrize("pose_channels", [8, 16])
def test_a_block_is_patns_equations(pose_channels):
    torch.manual_seed(0)
    block = PATBlock(8, pose_channels, dropout=0.5).eval()
    image_code, pose_code = torch.randn(2, 8, 6, 5), torch.randn(2, pose_channels, 6, 5)
    new_image_code, convolved_pose = block(image_code, pose_code)
    mask = 1 / (1 + torch.exp(-convs_by_hand(block.pose_conv, pose_code)))
    torch.testing.assert_close(convolved_pose, convs_by_hand(block.pose_conv, pose_code))
    torch.testing.assert_close(new_image_code, mask * normed(convs_by_hand(block.image_conv, image_code)) + image_code)


def test_the_mask_scales_each_change_between_0_and_1():
    torch.manual_seed(0)
    block = PATBlock(8, 8, dropout=0).eval()
    nn.init.normal_(block.pose_conv[-1].weight)
    image_code, pose_code = torch.randn(2, 8, 6, 5), torch.randn(2, 8, 6, 5)
    with torch.no_grad():
        update = block.image_conv(image_code)
        change = block(image_code, pose_code)[0] - image_code
    fraction = (change / update)[update.abs() > 0.1]
    assert fraction.min().item() == pytest.approx(0, abs=1e-4)
    assert fraction.max().item() == pytest.approx(1, abs=1e-4)


def test_each_block_gets_the_pose_and_the_image_code_of_the_previous_one(random_pair: PosePair):
    generator = make(num_blocks=3).eval()
    inputs_of, outputs_of = [], []
    for block in generator.blocks:
        block.register_forward_pre_hook(lambda _, inputs: inputs_of.append(inputs))
        block.register_forward_hook(lambda _, inputs, outputs: outputs_of.append(outputs))
    image = generator(*random_pair[:3])
    assert torch.equal(inputs_of[0][0], generator.image_encoder(random_pair.source_image))
    both = torch.cat([random_pair.source_heatmaps, random_pair.target_heatmaps], dim=1)
    assert torch.equal(inputs_of[0][1], generator.pose_encoder(both))
    for (image_code, pose_code), (last_image_code, last_pose) in zip(inputs_of[1:], outputs_of[:-1], strict=True):
        assert torch.equal(image_code, last_image_code)
        assert torch.equal(pose_code, torch.cat([last_pose, last_image_code], dim=1))
    assert torch.equal(image, generator.decoder(outputs_of[-1][0]))


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


def test_all_three_inputs_reach_the_output(random_pair: PosePair):
    inputs = [tensor.clone().requires_grad_() for tensor in random_pair[:3]]
    make(num_blocks=1).eval()(*inputs).sum().backward()
    assert all(tensor.grad.abs().sum() > 0 for tensor in inputs)


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
