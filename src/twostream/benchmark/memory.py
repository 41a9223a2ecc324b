"""Memory of tensors, on a CPU as on a GPU."""

import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def peak_of(call: Callable[[], object], device: torch.device) -> int:
    """Return the bytes of tensors that a call has at most at a time, beside those that were there before."""
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        return torch.cuda.max_memory_allocated(device) - before
    with LiveTensors() as live:
        call()
    return live.peak


def bytes_of(tensors: Iterable[Tensor]) -> int:
    """Return the bytes of tensors."""
    return sum(tensor.nbytes for tensor in tensors)


def tensors_of(optimizers: Iterable[Optimizer]) -> list[Tensor]:
    """Return the weights that optimizers train and what they keep for each."""
    found = []
    for optimizer in optimizers:
        found += [weights for group in optimizer.param_groups for weights in group["params"]]
        found += [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]
    return found


class LiveTensors(TorchDispatchMode):
    """Counts the bytes of the tensors that operations make while it is on; what a kernel takes for itself is not seen.

    `live` is what there is now, `peak` the most that there was.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Do the operation and count what is new in its result."""
        for tensor in tree_leaves((args, kwargs)):
            self._note(tensor, new=False)
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            self._note(tensor, new=True)
        self.peak = max(self.peak, self.live)
        return result

    def _note(self, tensor: Any, new: bool) -> None:
        if not isinstance(tensor, Tensor):
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._sizes:
            self._sizes[key] = storage.nbytes() if new else 0
            self.live += self._sizes[key]
            weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self.live -= self._sizes.pop(key)
