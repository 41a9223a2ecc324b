"""Adam and its learning rate over a run (Sec. 4, "Implement details")."""

from dataclasses import dataclass

from torch import nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LambdaLR


@dataclass(frozen=True)
class Schedule:
    """Adam with a learning rate that is constant, then decays linearly to zero; counted in iterations.

    Raises ValueError for a negative number of iterations, or none at all.
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
        """Return the factor on the learning rate at an iteration, counted from 0."""
        if iteration < self.constant_iterations:
            return 1.0
        return max(0.0, (self.iterations - iteration) / max(1, self.decay_iterations))

    def optimizer(self, net: nn.Module, fused: bool) -> Optimizer:
        """Return Adam for a network, with one kernel for all of its parameters if `fused`."""
        return Adam(net.parameters(), lr=self.learning_rate, betas=(self.beta1, self.beta2), fused=fused or None)

    def scheduler(self, optimizer: Optimizer) -> LambdaLR:
        """Return the scheduler of an optimizer, to be stepped once an iteration."""
        # A plain function leaves nothing but the iteration in a checkpoint.
        return LambdaLR(optimizer, lambda iteration: self.factor(iteration))
