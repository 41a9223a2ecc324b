"""Training of the 2s-ATN: the generator and its discriminators, one step each per batch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from pytorch_lightning import LightningModule
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim import Adam
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import MeanAbsoluteError
from torchmetrics.image import StructuralSimilarityIndexMeasure

from twostream.losses.adversarial import FakePool
from twostream.losses.objective import Objective
from twostream.types import PosePair


@dataclass(frozen=True)
class Schedule:
    """Adam and its learning rate: constant, then linear to zero (Sec. 4), counted in iterations.

    Raises ValueError for a count under 0 or no iteration at all.
    """

    learning_rate: float
    beta1: float
    beta2: float
    constant_iterations: int
    decay_iterations: int

    def __post_init__(self) -> None:
        if min(self.constant_iterations, self.decay_iterations) < 0 or self.iterations < 1:
            raise ValueError(
                "schedule: expected constant_iterations and decay_iterations of at least 0 and 1 together, "
                f"got {self.constant_iterations} and {self.decay_iterations}"
            )

    @property
    def iterations(self) -> int:
        """Iterations of a whole run."""
        return self.constant_iterations + self.decay_iterations

    def factor(self, iteration: int) -> float:
        """Return the factor on the learning rate at an iteration, the first being 0."""
        if iteration < self.constant_iterations:
            return 1.0
        return max(0.0, (self.iterations - iteration) / max(1, self.decay_iterations))


class TwoStreamModule(LightningModule):
    """The generator against its discriminators, by manual optimization (Eq. 7).

    Args:
        generator: called as `generator(source_image, source_heatmaps, target_heatmaps)`.
        discriminators: name -> net, called as `net(image, source_image, target_heatmaps)`; may be empty.
        objective: the losses.
        schedule: optimizers and iterations.

    """

    def __init__(
        self,
        generator: nn.Module,
        discriminators: Mapping[str, nn.Module],
        objective: Objective,
        schedule: Schedule,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.generator = generator
        self.discriminators = nn.ModuleDict(discriminators)
        self.pools = nn.ModuleDict({name: FakePool(objective.pool_size) for name in discriminators})
        self.objective = objective
        self.schedule = schedule
        self.val_ssim = StructuralSimilarityIndexMeasure(data_range=2.0)
        self.val_l1 = MeanAbsoluteError()

    def configure_optimizers(self) -> tuple[list[Adam], list[LambdaLR]]:
        """Give each network its own Adam and schedule, the generator's first."""
        betas = (self.schedule.beta1, self.schedule.beta2)
        optimizers = [
            Adam(net.parameters(), lr=self.schedule.learning_rate, betas=betas)
            for net in (self.generator, *self.discriminators.values())
        ]
        # A plain function leaves nothing in the checkpoint but the iteration.
        return optimizers, [LambdaLR(optimizer, lambda i: self.schedule.factor(i)) for optimizer in optimizers]

    def forward(self, pair: PosePair) -> Float[Tensor, "b 3 h w"]:
        """Generate the target images."""
        return self.generator(pair.source_image, pair.source_heatmaps, pair.target_heatmaps)

    def training_step(self, pair: PosePair, batch_idx: int) -> None:
        """Take one iteration: a step of the generator, then one of each discriminator (PATN's order)."""
        generator_optimizer, *discriminator_optimizers = as_list(self.optimizers())
        with self.toggled_optimizer(generator_optimizer):
            generated, loss, terms = self.generator_phase(pair)
            self._step(generator_optimizer, loss)
        losses = {f"train/{name}": term.detach() for name, term in terms.items()}
        for name, optimizer in zip(self.discriminators, discriminator_optimizers, strict=True):
            loss = self.discriminator_phase(name, pair, generated.detach())
            self._leave_global_step(optimizer)
            self._step(optimizer, loss)
            losses[f"train/{name}_discriminator"] = loss.detach()
        self.log("lr", generator_optimizer.param_groups[0]["lr"])
        for scheduler in as_list(self.lr_schedulers()):
            scheduler.step()
        self.log_dict(losses, prog_bar=True)

    def generator_phase(
        self, pair: PosePair
    ) -> tuple[Float[Tensor, "b 3 h w"], Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """Return the generated images, the generator's loss (Eq. 7) and its unweighted terms."""
        generated = self(pair)
        scores = [net(generated, pair.source_image, pair.target_heatmaps) for net in self.discriminators.values()]
        return generated, *self.objective.generator(generated, pair.target_image, scores)

    def discriminator_phase(self, name: str, pair: PosePair, generated: Float[Tensor, "b 3 h w"]) -> Float[Tensor, ""]:
        """Return the loss of the discriminator `name` on true and on generated images."""
        net, pool = self.discriminators[name], self.pools[name]
        assert isinstance(pool, FakePool)
        real_scores = net(pair.target_image, pair.source_image, pair.target_heatmaps)
        fakes = pool.exchange(generated, pair.source_image, pair.target_heatmaps)
        return self.objective.discriminator(real_scores, net(*fakes))

    def validation_step(self, pair: PosePair, batch_idx: int) -> None:
        """Compare generated images of held-out identities with the true ones."""
        generated = self(pair).float()
        # SSIM subtracts nearly equal sums: half precision would leave it a digit or two.
        with torch.autocast(self.device.type, enabled=False):
            self.val_ssim(generated, pair.target_image)
            self.val_l1(generated, pair.target_image)
        self.log("val/ssim", self.val_ssim, prog_bar=True)
        self.log("val/l1", self.val_l1)

    def _step(self, optimizer: LightningOptimizer, loss: Tensor) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()

    def _leave_global_step(self, optimizer: LightningOptimizer) -> None:
        # Lightning counts every optimizer's step in `global_step`; with these hooks, which its loop sets anew before
        # each batch, only the generator's steps are counted and `global_step` is the iteration.
        profiler = self.trainer.profiler  # type: ignore[attr-defined]
        optimizer._on_before_step = lambda: profiler.start("optimizer_step")
        optimizer._on_after_step = lambda: profiler.stop("optimizer_step")


def as_list(one_or_many: Any) -> list[Any]:
    """Undo Lightning's habit of returning a single optimizer or schedule bare."""
    return list(one_or_many) if isinstance(one_or_many, list | tuple) else [one_or_many]
