"""Training with several processes."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from pytorch_lightning.strategies import DDPStrategy, Strategy
from torch import Tensor
from typing_extensions import override

from twostream.data.sampling import rank_slice


class NetworkDDP(DDPStrategy):
    """DistributedDataParallel around each network of a `TwoStreamModule`.

    Lightning's own strategy wraps the whole module: with several backward passes per batch it has to search for unused
    parameters and reduces the gradients of all networks in each of them.

    The loss of a process is weighted by its fraction of the batch, so that the gradients are those of the mean over all
    pairs of the batch, also if the processes have different numbers of pairs.
    """

    @property
    def rank_weight(self) -> float:
        """Pairs of this process in a batch over their mean over the processes."""
        batch_size: int = self.lightning_module.trainer.datamodule.batch_size  # type: ignore[union-attr]
        return len(rank_slice(batch_size, self.global_rank, self.world_size)) * self.world_size / batch_size

    @override
    def configure_ddp(self) -> None:
        module: Any = self.lightning_module
        module.wrapped = {name: self._setup_model(net) for name, net in module.nets.items()}
        # Each process has its slice of the fake pools and its own dropout; Lightning gives all processes one seed.
        for pool in module.pools.values():
            pool.size = len(rank_slice(module.objective.pool_size, self.global_rank, self.world_size))
        if self.world_size > 1:
            torch.manual_seed(torch.initial_seed() + self.global_rank)

    @override
    def backward(self, closure_loss: Tensor, optimizer: Any, *args: Any, **kwargs: Any) -> Tensor:
        loss = closure_loss if self.rank_weight == 1 else closure_loss * self.rank_weight
        return super().backward(loss, optimizer, *args, **kwargs)

    @override
    def pre_backward(self, closure_loss: Tensor) -> None:
        # The forward pass of each wrapped network has prepared its own reducer.
        pass

    @override
    def post_backward(self, closure_loss: Tensor) -> None:
        pass

    @override
    def teardown(self) -> None:
        module: Any = self.lightning_module
        if module is not None:
            module.wrapped = {}
        super().teardown()


def mean_over_batch(strategy: Strategy, means: Mapping[str, Float[Tensor, ""]]) -> dict[str, Float[Tensor, ""]]:
    """Return the means over all pairs of a batch, given those over the pairs of this process."""
    values = torch.stack([mean.detach().float() for mean in means.values()])
    if isinstance(strategy, NetworkDDP):
        values = torch.as_tensor(strategy.reduce(values * strategy.rank_weight, reduce_op="mean"))
    return dict(zip(means, values.unbind(), strict=True))
