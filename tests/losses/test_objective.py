import pytest
import torch

from twostream.losses.adversarial import LeastSquares
from twostream.losses.objective import Objective
from twostream.losses.perceptual import RandomFeaturesLoss

NO_HEATMAPS = torch.zeros(1, 18, 8, 8)


def make(**arguments: float) -> Objective:
    chosen = {"adversarial_weight": 20, "l1_weight": 17, "perceptual_weight": 17, "pool_size": 0} | arguments
    return Objective(LeastSquares(), RandomFeaturesLoss(), **chosen)


def test_generator_loss_is_equation_7(agree):
    generated, target = torch.rand(2, 1, 3, 8, 8, dtype=torch.float64)
    scores = [torch.zeros(1, 4, 2, 2), torch.full((1, 4, 2, 2), 3.0)]
    loss, terms = make().double().generator(generated, target, NO_HEATMAPS.double(), scores)
    assert terms["adversarial"].item() == pytest.approx((1 + 4) / 2)
    assert terms["l1"].item() == pytest.approx((generated - target).abs().mean().item())
    pixels = list(zip(generated.flatten().tolist(), target.flatten().tolist(), strict=True))
    l1 = sum(abs(one - other) for one, other in pixels) / len(pixels)
    expected = 20 * (1 + 4) / 2 + 17 * l1 + 17 * terms["perceptual"].item()
    agree(
        "Losses and training",
        "generator's loss (Eq. 7)",
        "its sum over pixels and scores, float64",
        loss,
        expected,
        1e-6,
    )


def test_without_weight_there_is_no_perceptual_term():
    generated, target = torch.rand(2, 1, 3, 8, 8)
    loss, terms = make(perceptual_weight=0).generator(generated, target, NO_HEATMAPS, [])
    assert set(terms) == {"l1"}
    torch.testing.assert_close(loss, 17 * terms["l1"])


def test_without_discriminators_there_is_no_adversarial_term():
    generated, target = torch.rand(2, 1, 3, 8, 8)
    loss, terms = make().generator(generated, target, NO_HEATMAPS, [])
    assert set(terms) == {"l1", "perceptual"}
    torch.testing.assert_close(loss, 17 * (terms["l1"] + terms["perceptual"]))


def test_l1_can_be_weighted_towards_the_person_and_towards_chroma():
    generated, target = torch.rand(2, 1, 3, 8, 8)
    heatmaps = NO_HEATMAPS.clone()
    heatmaps[0, 3, :4], heatmaps[0, 5, 2:4] = 0.5, 1.0
    weights = torch.ones(8)
    weights[:2], weights[2:4] = 1 + 0.5 * 2, 1 + 1.0 * 2
    rows = (generated - target).abs().mean(dim=(0, 1, 3))
    _, terms = make(person_weight=3).generator(generated, target, heatmaps, [])
    torch.testing.assert_close(terms["l1"], (weights * rows).sum() / weights.sum())
    # The chroma of a difference is what is left of it without its mean over the channels.
    _, terms = make(chroma_weight=2.5).generator(generated, target, heatmaps, [])
    difference = (generated - target)[0]
    brightness = (difference[0] + difference[1] + difference[2]) / 3
    weighted = [brightness + 2.5 * (channel - brightness) for channel in difference]
    torch.testing.assert_close(terms["l1"], torch.stack(weighted).abs().mean())
    # Without a person, and without a weight, it is the mean.
    for objective, pose in ((make(person_weight=3), NO_HEATMAPS), (make(), heatmaps)):
        _, terms = objective.generator(generated, target, pose, [])
        torch.testing.assert_close(terms["l1"], (generated - target).abs().mean())


@pytest.mark.parametrize(("weighted", "weight"), [(True, 20), (False, 1)])
def test_discriminator_loss_is_half_of_real_and_fake(weighted, weight):
    real, fake = torch.full((1, 4, 2, 2), 0.5), torch.full((1, 4, 2, 2), 2.0)
    loss = make(weighted_discriminators=weighted).discriminator(real, fake)
    assert loss.item() == pytest.approx(weight * (0.25 + 4) / 2)


def test_refuses_a_negative_weight():
    with pytest.raises(ValueError, match=r"loss\.l1_weight: expected at least 0, got -1"):
        make(l1_weight=-1)
