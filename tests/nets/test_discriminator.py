import torch

from twostream.nets.discriminator import AppearanceDiscriminator, ShapeDiscriminator
from twostream.types import PosePair


def test_each_sees_its_own_condition(random_pair: PosePair):
    image, source, heatmaps = random_pair.target_image, random_pair.source_image, random_pair.target_heatmaps
    appearance = AppearanceDiscriminator(width=4, num_blocks=1)
    shape = ShapeDiscriminator(width=4, num_blocks=1, num_joints=18)
    assert torch.equal(appearance(image, source, heatmaps), appearance(image, source, heatmaps * 0))
    assert not torch.equal(appearance(image, source, heatmaps), appearance(image, source * 0, heatmaps))
    assert torch.equal(shape(image, source, heatmaps), shape(image, source * 0, heatmaps))
    assert not torch.equal(shape(image, source, heatmaps), shape(image, source, heatmaps * 0))
