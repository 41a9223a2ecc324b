"""Training of the 2s-ATN: the generator and its discriminators, one step each per batch."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from pytorch_lightning import LightningModule
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import MeanAbsoluteError
from torchmetrics.image import StructuralSimilarityIndexMeasure

from twostream.data.sampling import rank_slice
from twostream.losses.adversarial import FakePool
from twostream.losses.objective import Objective
from twostream.performance import Performance, run_eagerly
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

    With several processes each network may be wrapped on its own (`parallel`), so that a phase synchronises its own
    gradients alone; the loss of a process is weighted by its share of the batch, so that the gradients are those of the
    mean over all pairs, also where the shares differ.

    Args:
        generator: called as `generator(source_image, source_heatmaps, target_heatmaps)`.
        discriminators: name -> net, called as `net(image, source_image, target_heatmaps)`; may be empty.
        objective: the losses.
        schedule: optimizers and iterations.
        performance: how the networks are run.

    """

    def __init__(
        self,
        generator: nn.Module,
        discriminators: Mapping[str, nn.Module],
        objective: Objective,
        schedule: Schedule,
        performance: Performance,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.generator = generator
        self.discriminators = nn.ModuleDict(discriminators)
        self.pools = nn.ModuleDict({name: FakePool(objective.pool_size) for name in discriminators})
        self.objective = objective
        self.schedule = schedule
        self.performance = performance
        self.parallel: dict[str, nn.Module] = {}
        self._weight = 0.0
        self.val_ssim = StructuralSimilarityIndexMeasure(data_range=2.0)
        self.val_l1 = MeanAbsoluteError()

    @property
    def nets(self) -> dict[str, nn.Module]:
        """The networks by name, the generator first."""
        return {"generator": self.generator, **dict(self.discriminators.items())}

    @property
    def iteration(self) -> int:
        """Iterations done: updates of the generator."""
        return self.trainer.global_step

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the iteration."""
        checkpoint["iteration"] = self.iteration

    def configure_model(self) -> None:
        """Make the networks ready to be run as `performance` says."""
        self.performance.prepare(self.nets.values(), [self.objective])

    def configure_optimizers(self) -> tuple[list[Optimizer], list[LambdaLR]]:
        """Give each network its own Adam and schedule, the generator's first."""
        schedule, fused = self.schedule, self.performance.fused_adam or None
        optimizers: list[Optimizer] = [
            Adam(net.parameters(), lr=schedule.learning_rate, betas=(schedule.beta1, schedule.beta2), fused=fused)
            for net in self.nets.values()
        ]
        # A plain function leaves nothing in the checkpoint but the iteration.
        return optimizers, [LambdaLR(optimizer, lambda i: self.schedule.factor(i)) for optimizer in optimizers]

    def on_fit_start(self) -> None:
        """Part the pools and the draws of dropout over the processes."""
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        for pool in self.pools.values():
            assert isinstance(pool, FakePool)
            pool.size = len(rank_slice(self.objective.pool_size, rank, world_size))
        if world_size > 1:
            # Lightning gives all processes one seed.
            torch.manual_seed(torch.initial_seed() + rank)
        if self.performance.compiler:
            run_eagerly(True)

    def teardown(self, stage: str) -> None:
        """Leave compiled networks of others as they were."""
        if self.performance.compiler:
            run_eagerly(False)

    def forward(self, pair: PosePair) -> Float[Tensor, "b 3 h w"]:
        """Generate the target images."""
        return self.generator(pair.source_image, pair.source_heatmaps, pair.target_heatmaps)

    def training_step(self, pair: PosePair, batch_idx: int) -> dict[str, Float[Tensor, ""]]:
        """Take one iteration and return what it logs, each value the mean over the whole batch."""
        weight = self._weight = self._weight or self._weight_of_share(len(pair.source_image))
        optimizers = dict(zip(self.nets, as_list(self.optimizers()), strict=True))
        for name in self.discriminators:
            self._leave_global_step(optimizers[name])

        def step(name: str, loss: Tensor) -> None:
            """Have a network take its step."""
            optimizers[name].zero_grad()
            self.manual_backward(loss if weight == 1 else loss * weight)
            optimizers[name].step()

        values = self.iterate(pair, step)
        for scheduler in as_list(self.lr_schedulers()):
            scheduler.step()
        losses = {f"train/{name}": value for name, value in self._means_of_batch(values).items()}
        self.log_dict(losses, prog_bar=True)
        return losses

    def iterate(self, pair: PosePair, step: Callable[[str, Tensor], None]) -> dict[str, Float[Tensor, ""]]:
        """Do the phases of an iteration: the generator's, then each discriminator's (PATN's order).

        `step(name, loss)` has the network `name` take its step. Return the losses of all phases and the discriminators'
        accuracies.
        """
        pair = PosePair(*self.performance.lay_out(pair))
        with self.performance.compiled():
            with frozen(self.discriminators) if self.performance.frozen_discriminators else nullcontext():
                generated, loss, terms = self.generator_phase(pair)
                step("generator", loss)
            values = dict(terms)
            for name in self.discriminators:
                loss, accuracy = self.discriminator_phase(name, pair, generated.detach())
                step(name, loss)
                values |= {f"{name}_discriminator": loss, f"{name}_accuracy": accuracy}
        return values

    def generator_phase(
        self, pair: PosePair
    ) -> tuple[Float[Tensor, "b 3 h w"], Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """Return the generated images, the generator's loss (Eq. 7) and its unweighted terms."""
        generator = self.parallel.get("generator", self.generator)
        generated = generator(pair.source_image, pair.source_heatmaps, pair.target_heatmaps)
        scores = [net(generated, pair.source_image, pair.target_heatmaps) for net in self.discriminators.values()]
        return generated, *self.objective.generator(generated, pair.target_image, scores)

    def discriminator_phase(
        self, name: str, pair: PosePair, generated: Float[Tensor, "b 3 h w"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Return the loss and the accuracy of the discriminator `name` on true and on generated images."""
        net, pool = self.parallel.get(name, self.discriminators[name]), self.pools[name]
        assert isinstance(pool, FakePool)
        reals = pair.target_image, pair.source_image, pair.target_heatmaps
        fakes = self.performance.lay_out(pool.exchange(generated, pair.source_image, pair.target_heatmaps))
        if self.performance.one_pass:
            real_scores, fake_scores = net(*map(torch.cat, zip(reals, fakes, strict=True))).chunk(2)
        else:
            real_scores, fake_scores = net(*reals), net(*fakes)
        loss = self.objective.discriminator(real_scores, fake_scores)
        return loss, self.objective.accuracy(real_scores.detach(), fake_scores.detach())

    def validation_step(self, pair: PosePair, batch_idx: int) -> None:
        """Compare generated images of held-out identities with the true ones."""
        generated = self(pair).float().contiguous()
        # SSIM subtracts nearly equal sums: half precision would leave it a digit or two.
        with torch.autocast(self.device.type, enabled=False):
            self.val_ssim(generated, pair.target_image)
            self.val_l1(generated, pair.target_image)
        self.log("val/ssim", self.val_ssim, prog_bar=True)
        self.log("val/l1", self.val_l1)

    def _weight_of_share(self, num_pairs: int) -> float:
        """Return the weight of this process's mean among the processes' equal parts in the mean over all pairs."""
        if self.trainer.world_size == 1:
            return 1.0
        mean = self.trainer.strategy.reduce(torch.tensor(float(num_pairs), device=self.device), reduce_op="mean")
        return num_pairs / float(mean)

    def _means_of_batch(self, values: Mapping[str, Float[Tensor, ""]]) -> dict[str, Float[Tensor, ""]]:
        means = torch.stack([value.detach().float() for value in values.values()])
        if self.trainer.world_size > 1:
            means = self.trainer.strategy.reduce(means * self._weight, reduce_op="mean")
        return dict(zip(values, means.unbind(), strict=True))

    def _leave_global_step(self, optimizer: LightningOptimizer) -> None:
        # Lightning counts every optimizer's step in `global_step`; with these hooks, which its loop sets anew before
        # each batch, only the generator's steps are counted and `global_step` is the iteration.
        profiler = self.trainer.profiler  # type: ignore[attr-defined]
        optimizer._on_before_step = lambda: profiler.start("optimizer_step")
        optimizer._on_after_step = lambda: profiler.stop("optimizer_step")


@contextmanager
def frozen(net: nn.Module) -> Iterator[None]:
    """Spare the gradients of a network's weights, which pass through it only."""
    net.requires_grad_(False)
    try:
        yield
    finally:
        net.requires_grad_(True)


def as_list(one_or_many: Any) -> list[Any]:
    """Undo Lightning's habit of returning a single optimizer or schedule bare."""
    return list(one_or_many) if isinstance(one_or_many, list | tuple) else [one_or_many]
