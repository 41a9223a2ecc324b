"""The two discriminators of the adversarial loss (Sec. 3.3), after PATN (Zhu et al. 2019)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from twostream.nets.blocks import Init, InstanceNorm, ReflectionPad, check_at_least, downsample, normal_weights, stem

NEGATIVE_SLOPE = 0.2  # Sec. 4, "Implement details"


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with reflection padding and norm, and a shortcut around them.

    The second norm has an activation only if `activate_all`.
    """

    def __init__(self, channels: int, activate_all: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(
            ReflectionPad(1),
            nn.Conv2d(channels, channels, 3),
            InstanceNorm(),
            nn.LeakyReLU(NEGATIVE_SLOPE),
            ReflectionPad(1),
            nn.Conv2d(channels, channels, 3),
            InstanceNorm(),
            *([nn.LeakyReLU(NEGATIVE_SLOPE)] if activate_all else []),
        )

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return the features plus their residual."""
        return features + self.body(features)


class ResidualPatchDiscriminator(nn.Sequential):
    """(b, in, h, w) -> (b, 4 width, h/4, w/4): every element is a score, without a final 1-channel convolution.

    Args:
        in_channels: channels of the image and of what it is concatenated with.
        width: channels at full resolution.
        num_blocks: residual blocks at a quarter of the resolution.
        activate_all: leaky ReLU after every norm (Sec. 4, read literally); else as PATN's ReLU, which leaves out the
            second norm of a residual block.
        init: sets the initial weights.

    """

    def __init__(self, in_channels: int, width: int, num_blocks: int, activate_all: bool, init: Init) -> None:
        check_at_least(1, width=width)
        check_at_least(0, num_blocks=num_blocks)
        super().__init__(
            stem(in_channels, width, nn.LeakyReLU(NEGATIVE_SLOPE)),
            downsample(width, nn.LeakyReLU(NEGATIVE_SLOPE)),
            downsample(2 * width, nn.LeakyReLU(NEGATIVE_SLOPE)),
            *(ResidualBlock(4 * width, activate_all) for _ in range(num_blocks)),
        )
        init(self, width)


class AppearanceDiscriminator(nn.Module):
    """Scores whether `image` shows the person of `source_image`, both concatenated."""

    def __init__(self, width: int, num_blocks: int, activate_all: bool = False, init: Init = normal_weights) -> None:
        super().__init__()
        self.net = ResidualPatchDiscriminator(3 + 3, width, num_blocks, activate_all, init)

    def forward(
        self,
        image: Float[Tensor, "b 3 h w"],
        source_image: Float[Tensor, "b 3 h w"],
        target_heatmaps: Float[Tensor, "b joints h w"],
    ) -> Float[Tensor, "b c h4 w4"]:
        """Score `image` given `source_image`."""
        return self.net(torch.cat([image, source_image], dim=1))


class ShapeDiscriminator(nn.Module):
    """Scores whether the person in `image` is in the target pose, image and heatmaps concatenated."""

    def __init__(
        self, width: int, num_blocks: int, num_joints: int, activate_all: bool = False, init: Init = normal_weights
    ) -> None:
        super().__init__()
        self.net = ResidualPatchDiscriminator(3 + num_joints, width, num_blocks, activate_all, init)

    def forward(
        self,
        image: Float[Tensor, "b 3 h w"],
        source_image: Float[Tensor, "b 3 h w"],
        target_heatmaps: Float[Tensor, "b joints h w"],
    ) -> Float[Tensor, "b c h4 w4"]:
        """Score `image` given `target_heatmaps`."""
        return self.net(torch.cat([image, target_heatmaps], dim=1))
