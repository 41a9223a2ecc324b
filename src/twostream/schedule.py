"""Adam and its learning rate over a run (Sec. 4, "Implement details")."""

from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LambdaLR


@dataclass(frozen=True)
class Schedule:
    """Adam with a learning rate that is constant, then decays linearly to zero; counted in iterations.

    Attributes:
        learning_rate: the highest one.
        beta1, beta2: of Adam.
        constant_iterations: iterations before the decay, those of the warm-up included.
        decay_iterations: iterations of the decay.
        warmup_iterations: the first iterations, in which the rate rises linearly; 0 in the paper.
        sigma_factor: factor on the learning rate of the AT-modules' sigma (Eq. 6); 1 in the paper.
        discriminator_factor: factor on the learning rate of the discriminators; 1 in the paper.

    Raises ValueError for rates and factors below 0, for a negative number of iterations, or none at all, and for a
    longer warm-up.
    """

    learning_rate: float
    beta1: float
    beta2: float
    constant_iterations: int
    decay_iterations: int
    warmup_iterations: int = 0
    sigma_factor: float = 1.0
    discriminator_factor: float = 1.0

    def __post_init__(self) -> None:
        for key in ("learning_rate", "sigma_factor", "discriminator_factor"):
            if getattr(self, key) < 0:
                raise ValueError(f"schedule.{key}: expected at least 0, got {getattr(self, key)}")
        if min(self.constant_iterations, self.decay_iterations) < 0 or self.iterations < 1:
            raise ValueError(
                "schedule: expected constant_iterations and decay_iterations of at least 0 and 1 together, "
                f"got {self.constant_iterations} and {self.decay_iterations}"
            )
        if not 0 <= self.warmup_iterations <= self.constant_iterations:
            raise ValueError(
                f"schedule.warmup_iterations: expected 0 to {self.constant_iterations} (constant_iterations), "
                f"got {self.warmup_iterations}"
            )

    @property
    def iterations(self) -> int:
        """Iterations of a whole run."""
        return self.constant_iterations + self.decay_iterations

    def factor(self, iteration: int) -> float:
        """Return the factor on the learning rate at an iteration, counted from 0."""
        if iteration < self.warmup_iterations:
            return (iteration + 1) / self.warmup_iterations
        if iteration < self.constant_iterations:
            return 1.0
        return max(0.0, (self.iterations - iteration) / max(1, self.decay_iterations))

    def optimizer(self, net: nn.Module, fused: bool, is_discriminator: bool = False) -> Optimizer:
        """Return Adam for a network, with one kernel for all of its parameters if `fused`."""
        learning_rate = self.learning_rate * (self.discriminator_factor if is_discriminator else 1)
        groups: list[dict[str, Any]] = [{"params": list(net.parameters())}]
        if self.sigma_factor != 1:
            named = dict(net.named_parameters())
            sigmas = [name for name in named if name.rpartition(".")[2] == "sigma"]
            groups = [
                {"params": [value for name, value in named.items() if name not in sigmas]},
                {"params": [named[name] for name in sigmas], "lr": learning_rate * self.sigma_factor},
            ]
        return Adam(groups, lr=learning_rate, betas=(self.beta1, self.beta2), fused=fused or None)

    def scheduler(self, optimizer: Optimizer) -> LambdaLR:
        """Return the scheduler of an optimizer, to be stepped once an iteration."""
        # A plain function leaves nothing but the iteration in a checkpoint.
        scheduler = LambdaLR(optimizer, lambda iteration: self.factor(iteration))
        # Without gradients a step does nothing. torch warns of an optimizer that has not stepped before its scheduler,
        # as that of a discriminator with a later start has not.
        optimizer.step()
        return scheduler
