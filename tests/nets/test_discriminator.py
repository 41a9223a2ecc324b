import pytest
import torch
from torch import nn

from twostream.nets.discriminator import AppearanceDiscriminator, ShapeDiscriminator
from twostream.types import PosePair


def test_scores_are_the_last_feature_map(random_pair: PosePair):
    net = AppearanceDiscriminator(width=4, num_blocks=3)
    assert net(random_pair.target_image, random_pair.source_image, random_pair.target_heatmaps).shape == (2, 16, 8, 4)


def test_each_sees_its_own_condition(random_pair: PosePair):
    image, source, heatmaps = random_pair.target_image, random_pair.source_image, random_pair.target_heatmaps
    appearance = AppearanceDiscriminator(width=4, num_blocks=1)
    shape = ShapeDiscriminator(width=4, num_blocks=1, num_joints=18)
    assert torch.equal(appearance(image, source, heatmaps), appearance(image, source, heatmaps * 0))
    assert not torch.equal(appearance(image, source, heatmaps), appearance(image, source * 0, heatmaps))
    assert torch.equal(shape(image, source, heatmaps), shape(image, source * 0, heatmaps))
    assert not torch.equal(shape(image, source, heatmaps), shape(image, source, heatmaps * 0))


# After the stem, the two down-sampling convolutions and inside each block; read literally, at its end too.
@pytest.mark.parametrize(("activate_all", "count"), [(False, 6), (True, 9)])
def test_leaky_relu_everywhere_and_no_dropout(activate_all, count):
    net = ShapeDiscriminator(width=4, num_blocks=3, num_joints=18, activate_all=activate_all)
    modules = list(net.modules())
    slopes = [module.negative_slope for module in modules if isinstance(module, nn.LeakyReLU)]
    assert slopes == [0.2] * count
    assert not any(isinstance(module, nn.ReLU | nn.Dropout) for module in modules)
    assert sum(isinstance(module, nn.Conv2d) for module in modules) == 9
