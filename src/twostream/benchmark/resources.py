"""Time and memory of a call: interleaved timing, and the peak of allocated tensors."""

import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from typing_extensions import override

Rounds = Float[np.ndarray, " rounds"]
Quartiles = tuple[float, float, float]  # median, lower and upper quartile


def quartiles(values: Rounds) -> Quartiles:
    """Return the median, the lower and the upper quartile."""
    median, lower, upper = np.quantile(values, [0.5, 0.25, 0.75]).tolist()
    return median, lower, upper


def time_interleaved(
    calls: Mapping[str, Callable[[], object]], rounds: int, device: torch.device, warm_up: bool = True
) -> dict[str, Rounds]:
    """Return the seconds of every call in each round; interleaved, drift in the machine's load affects all calls alike.

    Each round starts with another call, after one warm-up call of each if `warm_up` is set. The device is synchronized
    before and after a call. Raises ValueError for fewer than 1 round.
    """
    if rounds < 1:
        raise ValueError(f"rounds: expected at least 1, got {rounds}")
    names = list(calls)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for name in names if warm_up else ():
        calls[name]()
    for index in range(rounds):
        first = index % len(names)
        for name in names[first:] + names[:first]:
            synchronize(device)
            start = time.perf_counter()
            calls[name]()
            synchronize(device)
            seconds[name].append(time.perf_counter() - start)
    return {name: np.array(values) for name, values in seconds.items()}


def synchronize(device: torch.device) -> None:
    """Wait for all kernels on a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory(call: Callable[[], object], device: torch.device) -> int:
    """Return the peak bytes of the tensors that a call allocates, without those that exist before it."""
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        return torch.cuda.max_memory_allocated(device) - before
    with LiveTensors() as live:
        call()
    return live.peak


class LiveTensors(TorchDispatchMode):
    """Counts the bytes of tensors that operations allocate, without the temporary memory of kernels.

    `live` is the current number of bytes, `peak` the maximum so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._sizes: dict[int, int] = {}

    @override
    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        for tensor in tree_leaves((args, kwargs)):
            self._track(tensor, is_new=False)
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            self._track(tensor, is_new=True)
        self.peak = max(self.peak, self.live)
        return result

    def _track(self, tensor: Any, is_new: bool) -> None:
        if not isinstance(tensor, Tensor):
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._sizes:
            self._sizes[key] = storage.nbytes() if is_new else 0
            self.live += self._sizes[key]
            weakref.finalize(storage, self._release, key)

    def _release(self, key: int) -> None:
        self.live -= self._sizes.pop(key)
