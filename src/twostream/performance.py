"""How fast the networks are run. Nothing here changes what is computed, but for the rounding."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
import torch._dynamo
from torch import Tensor, nn

VERSIONS = 64
"""Of a network's code that are compiled in one process at most."""


@dataclass(frozen=True)
class Compiler:
    """`torch.compile`, in place: the names in checkpoints stay as they are.

    Args:
        by_block: compile the parts of a network by themselves, block by block, instead of the network as a whole; equal
            blocks share their kernels, so it is ready sooner.
        cuda_graphs: on a GPU, record each part's kernels once and have them replayed together.
        backend: of `torch.compile`.

    """

    by_block: bool
    cuda_graphs: bool
    backend: str = "inductor"

    def __call__(self, net: nn.Module) -> None:
        """Have a network compiled when it is first called. Each shape of its inputs is compiled by itself."""
        mode = "reduce-overhead" if self.cuda_graphs else None
        for part in parts_of(net) if self.by_block else [net]:
            part.compile(backend=self.backend, mode=mode, dynamic=False)


@dataclass(frozen=True)
class Performance:
    """What makes a training iteration faster; the precision is the trainer's.

    Args:
        channels_last: lay feature maps and weights out with the channels last.
        fused_adam: one kernel for all parameters of a network.
        one_pass: a discriminator scores the true and the generated images in one batch.
        frozen_discriminators: spare the gradients of the discriminators' weights in the generator's phase.
        compiler: makes kernels of the networks; None runs them operator by operator.

    """

    channels_last: bool
    fused_adam: bool
    one_pass: bool
    frozen_discriminators: bool
    compiler: Compiler | None

    @property
    def memory_format(self) -> torch.memory_format:
        """How tensors of (b, c, h, w) are laid out."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def lay_out(self, tensors: Iterable[Tensor]) -> tuple[Tensor, ...]:
        """Return tensors of (b, c, h, w) in the memory format."""
        return tuple(tensor.contiguous(memory_format=self.memory_format) for tensor in tensors)

    def prepare(self, nets: Iterable[nn.Module], others: Iterable[nn.Module]) -> None:
        """Lay out the weights of all modules and have the networks compiled, before they are wrapped or optimized."""
        for module in (nets := list(nets)) + list(others):
            module.to(memory_format=self.memory_format)
        if self.compiler:
            # Each phase, shape and layout is a version; beyond the limit torch runs a network as it is, slowly.
            torch._dynamo.config.recompile_limit = VERSIONS
            # With them torch 2.11 overlooks that weights are frozen or no longer so (pytorch issue 139476).
            torch._dynamo.config.use_recursive_dict_tags_for_guards = False
            for net in nets:
                self.compiler(net)

    def compiled(self) -> AbstractContextManager[object]:
        """Return a context in which compiled networks run as such, also where `run_eagerly` was called before."""
        if not self.compiler:
            return nullcontext()
        if self.compiler.cuda_graphs:
            # What the last iteration's graphs returned may be overwritten from here on.
            torch.compiler.cudagraph_mark_step_begin()
        return torch.compiler.set_stance("default")


def run_eagerly(always: bool) -> None:
    """Have compiled networks run operator by operator outside `Performance.compiled`: validation takes many shapes."""
    torch.compiler.set_stance("force_eager" if always else "default")


def parts_of(net: nn.Module) -> Iterator[nn.Module]:
    """Yield the parts of a network, those in a list one by one."""
    for part in net.children():
        if isinstance(part, nn.ModuleList):
            yield from part
        else:
            yield part
