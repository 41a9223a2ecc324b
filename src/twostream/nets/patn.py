"""The generator of PATN, the baseline of the paper's Table 1.

Zhu et al., "Progressive Pose Attention Transfer for Person Image Generation", CVPR 2019; sections and equations in this
file are those of that paper. Choices that it leaves open follow the authors' released code, as the comments say.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from twostream.nets.blocks import (
    Decoder,
    Encoder,
    Init,
    InstanceNorm,
    ReflectionPad,
    check_at_least,
    check_divisible,
    normal_weights,
)


class PaddedConvs(nn.Sequential):
    """Two 3x3 convolutions with reflection padding; norm, ReLU and dropout between them."""

    def __init__(self, in_channels: int, out_channels: int, dropout: float) -> None:
        # Padding and position of the dropout follow the released code.
        super().__init__(
            ReflectionPad(1),
            nn.Conv2d(in_channels, in_channels, 3),
            InstanceNorm(),
            nn.ReLU(),
            nn.Dropout(dropout),
            ReflectionPad(1),
            nn.Conv2d(in_channels, out_channels, 3),
        )


class PATBlock(nn.Module):
    """Pose-attentional transfer block (Sec. 3.1.2): the pose code masks the update of the image code."""

    def __init__(self, channels: int, pose_channels: int, dropout: float) -> None:
        super().__init__()
        self.image_conv = nn.Sequential(PaddedConvs(channels, channels, dropout), InstanceNorm())
        # No norm before the sigmoid, as in the released code: it would fix the mean mask of each channel near 0.5.
        self.pose_conv = PaddedConvs(pose_channels, channels, dropout)

    def forward(
        self, image_code: Float[Tensor, "b c h w"], pose_code: Float[Tensor, "b p h w"]
    ) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b c h w"]]:
        """Return the new image code and the convolved pose code, the two halves of the next block's pose code."""
        convolved_pose = self.pose_conv(pose_code)
        mask = convolved_pose.sigmoid()  # Eq. 1
        new_image_code = image_code + mask * self.image_conv(image_code)  # Eq. 2
        return new_image_code, convolved_pose


class PATNGenerator(nn.Module):
    """PATN: encoders of image and poses, a cascade of PAT-blocks, a decoder of the image code (Sec. 3.1).

    With 9 blocks and width 64 (C = 256) it has 41,358,019 parameters, the 41.36 M in Table 2 of the 2s-ATN's paper:

    - image encoder, 3 channels: 378,496
    - pose encoder, 2 x 18 channels: 481,984
    - convolutions of the image code, C to C to C: 9 x 1,180,160
    - convolutions of the pose code, C to C to C in the first block: 1,180,160
    - the same from the second block on, 2C to 2C to C: 8 x 3,539,712
    - decoder: 378,243

    Args:
        num_blocks: number of PAT-blocks, at least 1.
        width: channels at full resolution, at least 1; the PAT-blocks have four times as many.
        num_joints: heatmap channels of a pose.
        dropout: rate in the PAT-blocks.
        init: sets the initial weights.

    """

    def __init__(
        self, num_blocks: int, width: int, num_joints: int, dropout: float, init: Init = normal_weights
    ) -> None:
        super().__init__()
        check_at_least(1, num_blocks=num_blocks, width=width, num_joints=num_joints)
        channels = 4 * width
        self.image_encoder = Encoder(3, width)
        self.pose_encoder = Encoder(2 * num_joints, width)
        self.blocks = nn.ModuleList(
            PATBlock(channels, channels if index == 0 else 2 * channels, dropout) for index in range(num_blocks)
        )
        self.decoder = Decoder(width)
        init(self, width)

    def forward(
        self,
        source_image: Float[Tensor, "b 3 h w"],
        source_heatmaps: Float[Tensor, "b joints h w"],
        target_heatmaps: Float[Tensor, "b joints h w"],
    ) -> Float[Tensor, "b 3 h w"]:
        """Generate the person of `source_image` in the pose of `target_heatmaps`; images in [-1, 1].

        Raises ValueError if height or width is not a multiple of 4.
        """
        check_divisible(source_image)
        image_code = self.image_encoder(source_image)
        pose_code = self.pose_encoder(torch.cat([source_heatmaps, target_heatmaps], dim=1))
        first, *others = self.blocks
        image_code, convolved_pose = first(image_code, pose_code)
        for block in others:
            pose_code = torch.cat([convolved_pose, image_code], dim=1)  # Eq. 3
            image_code, convolved_pose = block(image_code, pose_code)
        # The pose code after the last block would feed nothing (Sec. 3.1.3).
        return self.decoder(image_code)
