"""Training of the 2s-ATN: the generator against its discriminators."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import MeanAbsoluteError
from torchmetrics.image import StructuralSimilarityIndexMeasure
from typing_extensions import override

from twostream.losses.fake_pool import FakePool
from twostream.losses.objective import Objective
from twostream.performance import Performance
from twostream.schedule import Schedule
from twostream.strategies import mean_over_batch
from twostream.types import PosePair


class TwoStreamModule(LightningModule):
    """The generator and its discriminators, trained by manual optimization (Eq. 7).

    Args:
        generator: called as `generator(source_image, source_heatmaps, target_heatmaps)`.
        discriminators: name -> network, called as `net(image, source_image, target_heatmaps)`; may be empty.
        objective: the losses.
        schedule: optimizers, learning rate and number of iterations.
        performance: how the networks are executed.

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
        self.iteration = 0  # iterations done: updates of the generator
        self.wrapped: dict[str, nn.Module] = {}  # networks as wrapped by `NetworkDDP`
        self.val_ssim = StructuralSimilarityIndexMeasure(data_range=2.0)
        self.val_l1 = MeanAbsoluteError()

    @property
    def nets(self) -> dict[str, nn.Module]:
        """The networks by name, the generator first."""
        return {"generator": self.generator, **dict(self.discriminators.items())}

    def forward(self, pair: PosePair) -> Float[Tensor, "b 3 h w"]:
        """Generate the target images of a batch, in [-1, 1]."""
        return self.generator(pair.source_image, pair.source_heatmaps, pair.target_heatmaps)

    @override
    def training_step(self, pair: PosePair, batch_idx: int) -> dict[str, Tensor]:
        # One iteration of Eq. 7: an update of the generator, then one of each discriminator, in PATN's order.
        pair = PosePair(*self.performance.to_memory_format(pair))
        with self.performance.compiled():
            discriminators = self.objective.discriminators_at(self.iteration, self.discriminators)
            with self.performance.frozen(self.discriminators):
                generator = self.wrapped.get("generator", self.generator)
                fake = generator(pair.source_image, pair.source_heatmaps, pair.target_heatmaps)
                scores = [net(fake, pair.source_image, pair.target_heatmaps) for net in discriminators.values()]
                loss, logs = self.objective.generator(fake, pair.target_image, pair.target_heatmaps, scores)
                self.update("generator", loss)
            for name in discriminators:
                real_scores, fake_scores = self.score_real_and_fake(name, pair, fake.detach())
                loss = self.objective.discriminator(real_scores, fake_scores)
                self.update(name, loss)
                logs[f"{name}_discriminator"] = loss
                logs[f"{name}_accuracy"] = self.objective.accuracy(real_scores, fake_scores)
        return self.end_iteration(logs)

    def score_real_and_fake(
        self, name: str, pair: PosePair, fake: Float[Tensor, "b 3 h w"]
    ) -> tuple[Float[Tensor, "b c h4 w4"], Float[Tensor, "b c h4 w4"]]:
        """Return the scores of a discriminator for the real target images and for generated ones from its pool."""
        net = self.wrapped.get(name, self.discriminators[name])
        reals = pair.target_image, pair.source_image, pair.target_heatmaps
        fakes = self.pools[name].exchange(fake, pair.source_image, pair.target_heatmaps)  # type: ignore[operator]
        fakes = self.performance.to_memory_format(fakes)
        if not self.performance.one_pass:
            return net(*reals), net(*fakes)
        real_scores, fake_scores = net(*map(torch.cat, zip(reals, fakes, strict=True))).chunk(2)
        return real_scores, fake_scores

    def update(self, name: str, loss: Float[Tensor, ""]) -> None:
        """Take an optimizer step of the network `name` on its loss."""
        optimizer = dict(zip(self.nets, as_list(self.optimizers()), strict=True))[name]
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()

    def end_iteration(self, logs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Step the learning rates, count the iteration and log means over the whole batch."""
        for scheduler in as_list(self.lr_schedulers()):
            scheduler.step()
        self.iteration += 1
        means = {f"train/{name}": mean for name, mean in mean_over_batch(self.trainer.strategy, logs).items()}
        self.log_dict(means, prog_bar=True)
        return means

    @override
    def validation_step(self, pair: PosePair, batch_idx: int) -> None:
        generated = self(pair).float().contiguous()
        # SSIM subtracts nearly equal sums: half precision would leave it a digit or two.
        with torch.autocast(self.device.type, enabled=False):
            self.val_ssim(generated, pair.target_image)
            self.val_l1(generated, pair.target_image)
        self.log("val/ssim", self.val_ssim, prog_bar=True)
        self.log("val/l1", self.val_l1)

    @override
    def configure_model(self) -> None:
        self.performance.prepare(self.nets.values(), [self.objective])

    @override
    def configure_optimizers(self) -> tuple[list[Optimizer], list[LambdaLR]]:
        fused, schedule = self.performance.fused_adam, self.schedule
        optimizers = [schedule.optimizer(net, fused, name != "generator") for name, net in self.nets.items()]
        return [*optimizers], [self.schedule.scheduler(optimizer) for optimizer in optimizers]

    @override
    def teardown(self, stage: str) -> None:
        self.performance.release()

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["iteration"] = self.iteration

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.iteration = checkpoint["iteration"]


def as_list(one_or_many: Any) -> list[Any]:
    """Return a list of optimizers or schedulers, of which Lightning returns a single one bare."""
    return list(one_or_many) if isinstance(one_or_many, list | tuple) else [one_or_many]
