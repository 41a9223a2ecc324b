"""How the networks are executed. None of these optimizations changes what is computed, except for rounding."""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
import torch._dynamo
from torch import Tensor, nn

RECOMPILE_LIMIT = 64  # compiled versions of a network in one process


@dataclass(frozen=True)
class Compiler:
    """`torch.compile` in place, so that the names in checkpoints stay the same.

    Args:
        by_block: compile the submodules of a network one by one instead of the whole network; equal blocks share their
            kernels, so that compilation is faster.
        cuda_graphs: on a GPU, record the kernels of each compiled module and replay them together.
        backend: of `torch.compile`.

    """

    by_block: bool
    cuda_graphs: bool
    backend: str = "inductor"

    def is_usable(self) -> bool:
        """Compile a small function; if that fails, for want of a C++ compiler for example, warn and return False."""
        if self.backend != "inductor":
            return True
        try:
            torch.compile(torch.neg, backend=self.backend)(torch.ones(2))
        except Exception as error:
            reason = str(error).strip().partition("\n")[0]
            warnings.warn(f"networks are executed eagerly, torch.compile does not work here: {reason}", stacklevel=2)
            return False
        return True

    def compile(self, net: nn.Module) -> None:
        """Compile a network on its first call, for each shape of its inputs."""
        mode = "reduce-overhead" if self.cuda_graphs else None
        for module in _submodules(net) if self.by_block else [net]:
            module.compile(backend=self.backend, mode=mode, dynamic=False)


@dataclass(frozen=True)
class Performance:
    """Optimizations of a training iteration; the precision belongs to the trainer.

    Args:
        channels_last: store feature maps and weights in the channels-last memory format.
        fused_adam: update all parameters of a network by one kernel.
        one_pass: score real and generated images in one batch in a discriminator's update.
        frozen_discriminators: compute no gradients of the discriminators' weights in the generator's update.
        compiler: compiles the networks; None executes them eagerly, and so does a compiler that does not work here.

    """

    channels_last: bool
    fused_adam: bool
    one_pass: bool
    frozen_discriminators: bool
    compiler: Compiler | None

    @property
    def memory_format(self) -> torch.memory_format:
        """Memory format of (b, c, h, w) tensors."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def to_memory_format(self, tensors: Iterable[Tensor]) -> tuple[Tensor, ...]:
        """Return (b, c, h, w) tensors in the memory format."""
        return tuple(tensor.contiguous(memory_format=self.memory_format) for tensor in tensors)

    def prepare(self, nets: Iterable[nn.Module], others: Iterable[nn.Module]) -> None:
        """Convert the weights of all modules and compile the networks, before they are wrapped or optimized.

        From then on compiled networks of the process run compiled inside `compiled()` only, until `release`.
        """
        for module in (nets := list(nets)) + list(others):
            module.to(memory_format=self.memory_format)
        if self.compiler and self.compiler.is_usable():
            # Each update, shape and layout is a version; beyond the limit torch falls back to eager execution.
            torch._dynamo.config.recompile_limit = RECOMPILE_LIMIT
            # With these guards torch 2.11 misses that weights were frozen or unfrozen (pytorch issue 139476).
            torch._dynamo.config.use_recursive_dict_tags_for_guards = False
            for net in nets:
                self.compiler.compile(net)
            # Outside `compiled()` networks run eagerly: validation has many shapes.
            torch.compiler.set_stance("force_eager")

    @contextmanager
    def frozen(self, nets: nn.Module) -> Iterator[None]:
        """Compute no weight gradients of `nets` in this context, if the discriminators are to be frozen."""
        trained = [weight for weight in nets.parameters() if weight.requires_grad] if self.frozen_discriminators else []
        try:
            for weight in trained:
                weight.requires_grad_(False)
            yield
        finally:
            for weight in trained:
                weight.requires_grad_(True)

    def compiled(self) -> AbstractContextManager[object]:
        """Return a context in which compiled networks run compiled."""
        if not self.compiler:
            return nullcontext()
        if self.compiler.cuda_graphs:
            # From here on the outputs of the previous iteration's graphs may be overwritten.
            torch.compiler.cudagraph_mark_step_begin()
        return torch.compiler.set_stance("default")

    def release(self) -> None:
        """Let compiled networks of the process run compiled everywhere again."""
        if self.compiler:
            torch.compiler.set_stance("default")


def _submodules(net: nn.Module) -> Iterator[nn.Module]:
    """Yield the children of a network, and the elements of a list one by one."""
    for child in net.children():
        yield from child if isinstance(child, nn.ModuleList) else [child]
