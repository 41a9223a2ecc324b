"""Convolutions that several networks share. InstanceNorm has no affine part, so every convolution keeps its bias."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Init = Callable[[nn.Module, int], None]
"""Sets the initial weights of a network of a given width."""


# More are a mistake, or a file that is to take long.
MAX_CHANNELS, MAX_BLOCKS = 10_000, 100


def check_at_least(minimum: int, **counts: int) -> None:
    """Raise ValueError for the first named count below `minimum` or above MAX_CHANNELS; `num_blocks`: MAX_BLOCKS."""
    for name, count in counts.items():
        if count < minimum:
            raise ValueError(f"{name}: expected at least {minimum}, got {count}")
        if count > (most := MAX_BLOCKS if name == "num_blocks" else MAX_CHANNELS):
            raise ValueError(f"{name}: expected at most {most}, got {count}")


def check_divisible(image: Float[Tensor, "b 3 h w"]) -> None:
    """Raise ValueError if height or width is not a multiple of 4, as encoder and decoder require."""
    height, width = image.shape[-2:]
    if height % 4 or width % 4:
        raise ValueError(f"expected a height and a width divisible by 4, got {height}x{width}")


class InstanceNorm(nn.Module):
    """Instance normalisation without affine part or running statistics."""

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Normalise each channel of each sample to mean 0 and variance 1."""
        if input.device.type == "cpu" and input.is_contiguous():
            # Equal to one channel per group, for which torch has a kernel several times as fast.
            return F.group_norm(input, input.shape[1])
        normed = F.instance_norm(input)
        # torch returns channels first, which the next convolution would convert back.
        return normed if input.is_contiguous() else normed.contiguous(memory_format=torch.channels_last)


class ReflectionPad(nn.ReflectionPad2d):
    """Reflection padding; by flips if deterministic algorithms are requested, since torch has none for a GPU."""

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
        """Pad all four sides by reflection."""
        if not torch.are_deterministic_algorithms_enabled():
            return super().forward(input)
        size = self.padding[0]
        for axis in (-1, -2):
            inner, length = input.narrow, input.shape[axis]
            before, after = inner(axis, 1, size), inner(axis, length - size - 1, size)
            input = torch.cat([before.flip(axis), input, after.flip(axis)], dim=axis)
        return input


def stem(in_channels: int, out_channels: int, activation: nn.Module) -> nn.Sequential:
    """7x7 convolution at full resolution with reflection padding, norm, activation."""
    return nn.Sequential(
        ReflectionPad(3),
        nn.Conv2d(in_channels, out_channels, 7),
        InstanceNorm(),
        activation,
    )


def downsample(in_channels: int, activation: nn.Module) -> nn.Sequential:
    """3x3 convolution of stride 2: halves height and width, doubles the channels."""
    return nn.Sequential(
        nn.Conv2d(in_channels, 2 * in_channels, 3, stride=2, padding=1),
        InstanceNorm(),
        activation,
    )


def upsample(in_channels: int, out_channels: int) -> nn.Sequential:
    """3x3 transposed convolution of stride 2: doubles height and width."""
    return nn.Sequential(
        nn.ConvTranspose2d(in_channels, out_channels, 3, stride=2, padding=1, output_padding=1),
        InstanceNorm(),
        nn.ReLU(),
    )


class Encoder(nn.Sequential):
    """Two down-sampling convolutions after a 7x7 one (Sec. 3.1): (b, in, h, w) -> (b, 4 width, h/4, w/4)."""

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__(
            stem(in_channels, width, nn.ReLU()),
            downsample(width, nn.ReLU()),
            downsample(2 * width, nn.ReLU()),
        )


class Decoder(nn.Sequential):
    """Two deconvolutions and a 7x7 convolution (Sec. 3.1): (b, 4 width, h/4, w/4) -> (b, 3, h, w) in [-1, 1]."""

    def __init__(self, width: int) -> None:
        super().__init__(
            upsample(4 * width, 2 * width),
            upsample(2 * width, width),
            ReflectionPad(3),
            nn.Conv2d(width, 3, 7),
            nn.Tanh(),
        )


class StreamConv(nn.Sequential):
    """The convolutions of an AT-block for S or T: 3x3 of stride 1; norm, ReLU and dropout between, norm at the end.

    Args:
        channels: channels of input and output.
        dropout: rate of the dropout.
        num_layers: number of convolutions, at least 1; two give the parameters of Table 2.
        padding_mode: zeros, or reflect as in PATN's blocks (on a GPU not with deterministic algorithms).

    """

    def __init__(
        self, channels: int, dropout: float, num_layers: int = 2, padding_mode: Literal["zeros", "reflect"] = "zeros"
    ) -> None:
        check_at_least(1, num_layers=num_layers)
        layers: list[nn.Module] = []
        for index in range(num_layers):
            layers += [nn.ReLU(), nn.Dropout(dropout)] if index > 0 else []
            layers += [nn.Conv2d(channels, channels, 3, padding=1, padding_mode=padding_mode), InstanceNorm()]
        super().__init__(*layers)


def normal_weights(net: nn.Module, width: int, zero_biases: bool = True) -> None:
    """Draw the weights of all convolutions from a normal distribution; biases are zero or keep PyTorch's values.

    The standard deviation is PATN's 0.02 at the paper's width of 64, and 0.02 sqrt(64 / width) at any width,
    which keeps the scale of the outputs.
    """
    std = 0.02 * (64 / width) ** 0.5
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, std)
            if zero_biases and module.bias is not None:
                nn.init.zeros_(module.bias)


def default_weights(net: nn.Module, width: int) -> None:
    """Keep the weights that PyTorch drew, as PATN does in its discriminators."""


def flatten_positions(features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c hw"]:
    """Flatten the positions of a feature map row by row, as in the paper's matrices."""
    return torch.flatten(features, start_dim=2)


def unflatten_positions(features: Float[Tensor, "b c hw"], like: Float[Tensor, "b d h w"]) -> Float[Tensor, "b c h w"]:
    """Undo `flatten_positions` for a map of the size of `like`, in its memory format.

    The format matters: attention returns the channels last, and the gradients of the next weights would follow it.
    """
    unflattened = features.unflatten(2, like.shape[2:])
    return unflattened.contiguous() if like.is_contiguous() else unflattened
