"""The full objective (Eq. 7): what the generator and each discriminator minimise."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class Objective(nn.Module):
    """Weighted sum of the adversarial, the L1 and the perceptual loss.

    Args:
        adversarial: criterion `(scores, real) -> loss` with a `threshold`: scores above it mean real.
        perceptual: `(generated, target) -> loss`.
        adversarial_weight: alpha_g.
        l1_weight: alpha_1.
        perceptual_weight: alpha_p.
        pool_size: past fakes stored for each discriminator; 0 for none.
        weighted_discriminators: alpha_g also scales the loss of each discriminator, as in PATN.
        adversarial_start: iteration, counted from 0, before which there are no discriminators; 0 in the paper.
        person_weight: weight of the L1 loss at a keypoint of the target pose against 1 far from all of them; in
            between it follows the heatmaps. 1 in the paper.
        chroma_weight: factor on the chroma of a difference in the L1 loss, on what is left of its red, green and blue
            without their mean. 1 in the paper.

    Raises ValueError for a negative weight.

    """

    def __init__(
        self,
        adversarial: nn.Module,
        perceptual: nn.Module,
        adversarial_weight: float,
        l1_weight: float,
        perceptual_weight: float,
        pool_size: int,
        weighted_discriminators: bool = True,
        adversarial_start: int = 0,
        person_weight: float = 1.0,
        chroma_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.adversarial = adversarial
        self.perceptual = perceptual
        self.pool_size = pool_size
        self.discriminator_weight = adversarial_weight if weighted_discriminators else 1.0
        self.adversarial_start = adversarial_start
        self.person_weight = person_weight
        self.chroma_weight = chroma_weight
        self.weights = {"adversarial": adversarial_weight, "l1": l1_weight, "perceptual": perceptual_weight}
        for name, weight in (self.weights | {"person": person_weight, "chroma": chroma_weight}).items():
            if weight < 0:
                raise ValueError(f"loss.{name}_weight: expected at least 0, got {weight}")

    def discriminators_at(self, iteration: int, discriminators: nn.ModuleDict) -> dict[str, nn.Module]:
        """Return the discriminators that an iteration, counted from 0, trains and is trained against."""
        return dict(discriminators.items()) if iteration >= self.adversarial_start else {}

    def generator(
        self,
        generated: Float[Tensor, "b 3 h w"],
        target: Float[Tensor, "b 3 h w"],
        target_heatmaps: Float[Tensor, "b joints h w"],
        scores: Sequence[Float[Tensor, "b c h4 w4"]],
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """Return the loss of the generator (Eq. 7) and its unweighted terms.

        The adversarial term is the mean over the discriminators, given their `scores` of the generated images; it is
        absent without discriminators. The perceptual term is absent if its weight is 0.
        """
        terms = {"l1": self.l1(generated, target, target_heatmaps)}
        if self.weights["perceptual"]:
            terms["perceptual"] = self.perceptual(generated, target)
        if scores:
            terms["adversarial"] = torch.stack([self.adversarial(score, real=True) for score in scores]).mean()
        return torch.stack([self.weights[name] * term for name, term in terms.items()]).sum(), terms

    def l1(
        self,
        generated: Float[Tensor, "b 3 h w"],
        target: Float[Tensor, "b 3 h w"],
        target_heatmaps: Float[Tensor, "b joints h w"],
    ) -> Float[Tensor, ""]:
        """Return the mean absolute difference over pixels and channels, weighted as requested."""
        if self.person_weight == self.chroma_weight == 1:
            return F.l1_loss(generated, target)
        difference = generated - target
        if self.chroma_weight != 1:
            grey = difference.mean(dim=1, keepdim=True)
            difference = grey + self.chroma_weight * (difference - grey)
        weights = 1 + (self.person_weight - 1) * target_heatmaps.amax(dim=1, keepdim=True)
        return (weights * difference.abs()).mean() / weights.mean()

    def discriminator(
        self, real_scores: Float[Tensor, "b c h4 w4"], fake_scores: Float[Tensor, "b c h4 w4"]
    ) -> Float[Tensor, ""]:
        """Return the loss of a discriminator: the mean of its criterion on real and fake images, times its weight."""
        real = self.adversarial(real_scores, real=True)
        fake = self.adversarial(fake_scores, real=False)
        return self.discriminator_weight * (real + fake) / 2

    def accuracy(
        self, real_scores: Float[Tensor, "b c h4 w4"], fake_scores: Float[Tensor, "b c h4 w4"]
    ) -> Float[Tensor, ""]:
        """Return the fraction of correctly classified scores of a discriminator, the mean of real and fake images."""
        threshold: float = self.adversarial.threshold  # type: ignore[assignment]
        return ((real_scores > threshold).float().mean() + (fake_scores <= threshold).float().mean()) / 2
