"""Whole networks against their layers written out with functions of torch, in float64."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from twostream.nets.appearance_transfer import AppearanceTransfer
from twostream.nets.discriminator import ShapeDiscriminator
from twostream.nets.fusion import AddFusion, CatFusion
from twostream.nets.generator import TwoStreamGenerator
from twostream.nets.patn import PATNGenerator

LEAKY = partial(F.leaky_relu, negative_slope=0.2)


def norm(features):
    variance, mean = torch.var_mean(features, dim=(2, 3), correction=0, keepdim=True)
    return (features - mean) / torch.sqrt(variance + 1e-5)


def conv(layer, features, size, stride=1, mode="reflect"):
    """A convolution whose layout is written here; the layer provides its weights."""
    padded = F.pad(features, (size // 2,) * 4, mode=mode)
    assert layer.weight.shape[2:] == (size, size)
    return F.conv2d(padded, layer.weight, layer.bias, stride)


def layers_of(module, kind=(nn.Conv2d, nn.ConvTranspose2d)):
    return [layer for layer in module.modules() if isinstance(layer, kind)]


def encode(encoder, inputs, activation=F.relu):
    first, second, third = layers_of(encoder)[:3]
    features = activation(norm(conv(first, inputs, 7)))
    for layer in (second, third):
        features = activation(norm(conv(layer, features, 3, stride=2, mode="constant")))
    return features


def decode(decoder, features):
    first, second, last = layers_of(decoder)
    for layer in (first, second):
        up = F.conv_transpose2d(features, layer.weight, layer.bias, stride=2, padding=1, output_padding=1)
        features = F.relu(norm(up))
    return torch.tanh(conv(last, features, 7))


def two_stream_written_out(net, image, source_pose, target_pose, fusions):
    def double(convs, features):
        first, second = layers_of(convs)
        return norm(conv(second, F.relu(norm(conv(first, features, 3, mode="constant"))), 3, mode="constant"))

    def fuse(module, kind, own, other):
        if kind is AddFusion:
            return own + other
        return conv(module.conv, torch.cat([own, other], dim=1), 3, mode="constant")

    source = encode(net.source_encoder, torch.cat([image, source_pose], dim=1))
    target = encode(net.target_encoder, target_pose)
    for number, block in enumerate(net.blocks, start=1):
        s, t, module = double(block.source_conv, source), double(block.target_conv, target), block.at_module
        keys, values, queries = (
            torch.einsum("oc,bcn->bon", layer.weight[..., 0, 0], features.flatten(2)) + layer.bias[:, None]
            for layer, features in ((module.to_keys, s), (module.to_values, s), (module.to_queries, t))
        )
        exponentials = torch.exp(torch.einsum("bci,bcj->bij", queries, keys))
        attention = exponentials / exponentials.sum(dim=2, keepdim=True)
        retrieved = torch.einsum("bij,bcj->bci", attention, values)
        appearance = torch.einsum("oc,bcn->bon", module.to_appearance.weight[..., 0, 0], retrieved)
        appearance = (appearance + module.to_appearance.bias[:, None]).reshape(t.shape)
        transferred = module.sigma * appearance + t
        target = target + fuse(block.target_fusion, fusions[0], transferred, s)
        source = s if number == len(net.blocks) else fuse(block.source_fusion, fusions[1], s, target)
    return decode(net.decoder, target)


def patn_written_out(net, image, source_pose, target_pose):
    def double(convs, features):
        first, second = layers_of(convs)
        return conv(second, F.relu(norm(conv(first, features, 3))), 3)

    image_code = encode(net.image_encoder, image)
    pose_code = encode(net.pose_encoder, torch.cat([source_pose, target_pose], dim=1))
    for block in net.blocks:
        convolved = double(block.pose_conv, pose_code)
        mask = 1 / (1 + torch.exp(-convolved))
        image_code = mask * norm(double(block.image_conv, image_code)) + image_code
        pose_code = torch.cat([convolved, image_code], dim=1)
    return decode(net.decoder, image_code)


def discriminator_written_out(net, inputs, activate_all):
    first, second, third, *others = layers_of(net)
    features = encode(nn.Sequential(first, second, third), inputs, LEAKY)
    for one, other in zip(others[::2], others[1::2], strict=True):
        change = norm(conv(other, LEAKY(norm(conv(one, features, 3))), 3))
        features = features + (LEAKY(change) if activate_all else change)
    return features


@pytest.fixture
def inputs():
    random = torch.Generator().manual_seed(0)
    return [torch.rand(2, channels, 32, 16, generator=random, dtype=torch.float64) for channels in (3, 18, 18)]


@pytest.mark.parametrize("fusions", [(CatFusion, CatFusion), (AddFusion, CatFusion), (CatFusion, AddFusion)])
def test_the_2s_atn(agree, inputs, fusions):
    torch.manual_seed(0)
    module = partial(AppearanceTransfer, sigma=0.7)
    net = TwoStreamGenerator(module, *fusions, num_blocks=3, width=4, num_joints=18, dropout=0.5).double().eval()
    expected = two_stream_written_out(net, *inputs, fusions)
    what = "2s-ATN's generator (Fig. 2; `cat`, `add`)"
    agree("Networks", what, "its layers and Eq. 1 to 6, float64", net(*inputs), expected, 1e-12)


def test_patn(agree, inputs):
    torch.manual_seed(0)
    net = PATNGenerator(num_blocks=3, width=4, num_joints=18, dropout=0.5, init=lambda *_: None).double().eval()
    against = "its layers and Eq. 1 to 3 of PATN, float64"
    agree("Networks", "PATN's generator", against, net(*inputs), patn_written_out(net, *inputs), 1e-12)


@pytest.mark.parametrize("activate_all", [False, True])
def test_a_discriminator(agree, inputs, activate_all):
    torch.manual_seed(0)
    net = ShapeDiscriminator(4, 3, 18, activate_all, init=lambda *_: None).double()
    assert len(layers_of(net)) == 9
    image, _, heatmaps = inputs
    expected = discriminator_written_out(net, torch.cat([image, heatmaps], dim=1), activate_all)
    agree("Networks", "discriminators", "PATN's layers, float64", net(image, -image, heatmaps), expected, 1e-12)
