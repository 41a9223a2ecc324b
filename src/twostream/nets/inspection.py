"""What the AT-modules of a generator compute inside, read out by forward hooks."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from twostream.nets.appearance_transfer import AppearanceTransfer
from twostream.nets.attention import attention_matrix
from twostream.nets.blocks import flatten_positions
from twostream.nets.chunked_attention import chunks

Inputs = tuple[Float[Tensor, "b 3 h w"], Float[Tensor, "b joints h w"], Float[Tensor, "b joints h w"]]
"""Arguments of a generator: source image, source heatmaps, target heatmaps."""


def at_modules(generator: nn.Module) -> list[AppearanceTransfer]:
    """Return the AT-modules of a generator in the order of its blocks; empty for PATN and "w/o AT-module"."""
    return [module for module in generator.modules() if isinstance(module, AppearanceTransfer)]


@torch.no_grad()
def attention_matrices(generator: nn.Module, inputs: Inputs) -> list[Float[Tensor, "b hw hw"]]:
    """Return D (Eq. 4) of each AT-block: rows are target positions, columns source positions of the h/4 x w/4 map.

    Raises TypeError for a generator without AT-modules.
    """
    return [attention_matrix(queries, keys) for queries, keys in _queries_and_keys(generator, inputs)]


@torch.no_grad()
def best_matches(generator: nn.Module, inputs: Inputs) -> list[Int[Tensor, "b hw"]]:
    """Return for each AT-block and target position the source position j with the highest D_ij (Eq. 4).

    Positions number the h/4 x w/4 map row by row. The softmax preserves the order within a row, so chunks of the logits
    suffice. Raises TypeError for a generator without AT-modules.
    """
    return [_argmax(queries, keys) for queries, keys in _queries_and_keys(generator, inputs)]


@torch.no_grad()
def logit_ranges(generator: nn.Module, inputs: Inputs) -> list[Float[Tensor, "2"]]:
    """Return the smallest and largest logit Q^T K (Eq. 4) of each AT-block over the batch, in float32.

    Raises TypeError for a generator without AT-modules.
    """
    return [_logit_range(queries, keys) for queries, keys in _queries_and_keys(generator, inputs)]


def _queries_and_keys(generator: nn.Module, inputs: Inputs) -> list[tuple[Tensor, Tensor]]:
    """Run the generator and compute Q and K of each AT-module, (b, k, hw), from its inputs S and T."""
    modules = at_modules(generator)
    if not modules:
        raise TypeError(f"expected a generator with AT-modules, got {type(generator).__name__} without any")
    captured: list[tuple[Tensor, Tensor]] = []
    hooks = [module.register_forward_pre_hook(lambda _, streams: captured.append(streams)) for module in modules]
    try:
        generator(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return [
        (flatten_positions(module.to_queries(target)), flatten_positions(module.to_keys(source)))
        for module, (source, target) in zip(modules, captured, strict=True)
    ]


def _argmax(
    queries: Float[Tensor, "b k positions"], keys: Float[Tensor, "b k positions"]
) -> Int[Tensor, "b positions"]:
    matches = torch.empty(queries.shape[0], queries.shape[2], dtype=torch.long, device=queries.device)
    for samples, rows in chunks(*matches.shape):
        matches[samples, rows] = (queries.mT[samples, rows] @ keys[samples]).argmax(dim=2)
    return matches


def _logit_range(queries: Float[Tensor, "b k positions"], keys: Float[Tensor, "b k positions"]) -> Float[Tensor, "2"]:
    with torch.autocast(queries.device.type, enabled=False):
        q, k = queries.float().mT, keys.float()
        ranges = [torch.stack((q[samples, rows] @ k[samples]).aminmax()) for samples, rows in chunks(*q.shape[:2])]
    smallest, largest = torch.stack(ranges, dim=1)
    return torch.stack([smallest.min(), largest.max()])
