"""Training with several processes."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from pytorch_lightning.strategies import DDPStrategy, Strategy
from torch import Tensor
from typing_extensions import override

from twostream.data.sampling import rank_slice

PATIENCE = 2.0  # seconds from the end of a process's connections to its end


class NetworkDDP(DDPStrategy):
    """DistributedDataParallel around each network of a `TwoStreamModule`.

    Lightning's own strategy wraps the whole module: with several backward passes per batch it has to search for unused
    parameters and reduces the gradients of all networks in each of them.

    The loss of a process is weighted by its fraction of the batch, so that the gradients are those of the mean over all
    pairs of the batch, also if the processes have different numbers of pairs.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.started: list[subprocess.Popen[bytes]] = []  # ranks 1, 2, ... if rank 0 started them

    @override
    def setup_environment(self) -> None:
        # Lightning watches the ranks that it started, and kills rank 0 when one ends, before that can say so.
        watched = getattr(self.launcher, "procs", [])
        self.started, watched[:] = list(watched), []
        super().setup_environment()

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


def name_lost_rank(strategy: Strategy, error: Exception) -> None:
    """If an error says that another rank does not answer, end the ranks that this one has started.

    Raises ChildProcessError that names the rank, in rank 0; SystemExit in the others, so that one line says it.
    """
    is_of_group = isinstance(error, torch.distributed.DistError) or "gloo" in str(error)
    if not isinstance(strategy, NetworkDDP) or not is_of_group:
        return
    if strategy.global_rank > 0:
        raise SystemExit(1)
    lost = _lost(strategy.started)
    for process in strategy.started:
        process.kill()
        process.wait()
    reason, *_ = str(error).splitlines()
    expected = (
        f"expected an answer of all {strategy.world_size} ranks in time (trainer.strategy.timeout), got: {reason}"
    )
    raise ChildProcessError(lost or expected) from error


def _lost(processes: list[subprocess.Popen[bytes]]) -> str:
    """Say which rank was killed or is stopped, else which has ended; empty if none of them."""
    deadline = time.monotonic() + PATIENCE
    while True:
        ended = ""
        for rank, process in enumerate(processes, start=1):
            name = f"rank {rank} (process {process.pid})"
            code = process.poll()
            if code is None and os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT):
                return f"{name} is stopped and did not answer in time (trainer.strategy.timeout)"
            if code is not None and code < 0:
                return f"{name} was killed by {signal.Signals(-code).name}"
            if code is not None and not ended:
                ended = f"{name} ended with exit status {code}; its own message says why"
        if time.monotonic() > deadline or not processes:
            return ended
        time.sleep(0.05)
