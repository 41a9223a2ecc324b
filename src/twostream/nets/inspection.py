"""The correspondences that a generator computes inside, read out by forward hooks."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from twostream.nets.appearance_transfer import AppearanceTransfer
from twostream.nets.attention import attention_matrix
from twostream.nets.chunked_attention import chunks
from twostream.nets.warp import Warp

Inputs = tuple[Float[Tensor, "b 3 h w"], Float[Tensor, "b joints h w"], Float[Tensor, "b joints h w"]]
"""Arguments of a generator: source image, source heatmaps, target heatmaps."""

WARP = "warp"
"""Name of the correspondence of a warp; those of AT-blocks are `block_1`, `block_2`, ..."""

NUM_MATCHES = 8  # source positions that are kept for a target position


def at_modules(generator: nn.Module) -> list[AppearanceTransfer]:
    """Return the AT-modules of a generator in the order of its blocks; empty for PATN and "w/o AT-module"."""
    return [module for module in generator.modules() if isinstance(module, AppearanceTransfer)]


def correspondences(generator: nn.Module) -> dict[str, AppearanceTransfer | Warp]:
    """Return the modules of a generator that match positions of target and source, by name; empty for PATN."""
    named: dict[str, AppearanceTransfer | Warp] = {
        f"block_{k}": module for k, module in enumerate(at_modules(generator), start=1)
    }
    if warp := next((module for module in generator.modules() if isinstance(module, Warp)), None):
        named[WARP] = warp
    return named


def map_size(positions: int, image_size: tuple[int, int]) -> tuple[int, int]:
    """Return the rows and columns of a map of so many positions, row by row, of an image."""
    height, width = image_size
    stride = round((height * width / positions) ** 0.5)
    return height // stride, width // stride


@torch.no_grad()
def attention_matrices(generator: nn.Module, inputs: Inputs) -> dict[str, Float[Tensor, "b positions positions"]]:
    """Return the attention matrix (Eq. 4) of each correspondence: rows are target positions, columns source positions.

    Raises TypeError for a generator without any.
    """
    return {name: attention_matrix(*pair) for name, pair in _queries_and_keys(generator, inputs).items()}


def strongest_matches(matrices: Float[Tensor, "b positions positions"], image_size: tuple[int, int]) -> dict[str, Any]:
    """Return the highest values of attention matrices (Eq. 4) of images of height and width `image_size`.

    Returns `map`, the rows and columns of the map whose positions the matrices number; and for each sample and target
    position `sources`, at most `NUM_MATCHES` source positions in descending order of their attention, and `weights`,
    that attention in multiples of uniform attention.
    """
    num_positions = matrices.shape[-1]
    weights, sources = matrices.double().cpu().topk(min(NUM_MATCHES, num_positions))
    return {
        "map": map_size(num_positions, image_size),
        "sources": sources.tolist(),
        "weights": (weights * num_positions).numpy().round(1).tolist(),
    }


@torch.no_grad()
def best_matches(generator: nn.Module, inputs: Inputs) -> dict[str, Int[Tensor, "b positions"]]:
    """Return for each correspondence and target position the source position j with the highest D_ij (Eq. 4).

    Positions number a map row by row. The softmax preserves the order within a row, so chunks of the logits suffice.
    Raises TypeError for a generator without any.
    """
    return {name: _argmax(*pair) for name, pair in _queries_and_keys(generator, inputs).items()}


@torch.no_grad()
def logit_ranges(generator: nn.Module, inputs: Inputs) -> dict[str, Float[Tensor, "2"]]:
    """Return the smallest and largest logit Q^T K (Eq. 4) of each correspondence over the batch, in float32.

    Raises TypeError for a generator without any.
    """
    return {name: _logit_range(*pair) for name, pair in _queries_and_keys(generator, inputs).items()}


class ExplainedGenerator(nn.Module):
    """A generator that also returns what its correspondences compare.

    Args:
        generator: of any kind.

    Attributes:
        output_names: `image`, then for each of `correspondences` its name with `.queries` and `.keys`.

    """

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator
        parts = (f"{name}.{part}" for name in correspondences(generator) for part in ("queries", "keys"))
        self.output_names = ("image", *parts)

    def forward(
        self,
        source_image: Float[Tensor, "b 3 h w"],
        source_heatmaps: Float[Tensor, "b joints h w"],
        target_heatmaps: Float[Tensor, "b joints h w"],
    ) -> tuple[Tensor, ...]:
        """Return the image, and Q and K (Eq. 4) of each correspondence, (b, k, positions)."""
        image, compared = _generate(self.generator, (source_image, source_heatmaps, target_heatmaps))
        return image, *(tensor for pair in compared.values() for tensor in pair)


def _queries_and_keys(generator: nn.Module, inputs: Inputs) -> Mapping[str, tuple[Tensor, Tensor]]:
    """Run the generator and return Q and K of each correspondence, (b, k, positions)."""
    if not correspondences(generator):
        raise TypeError(f"expected a generator with AT-modules or a warp, got {type(generator).__name__} without any")
    return _generate(generator, inputs)[1]


def _generate(generator: nn.Module, inputs: Inputs) -> tuple[Tensor, dict[str, tuple[Tensor, Tensor]]]:
    """Return the generator's image, and Q and K of each correspondence by name."""
    modules = correspondences(generator)
    captured: dict[nn.Module, tuple[Tensor, Tensor]] = {}
    hooks = [
        module.register_forward_pre_hook(lambda module, inputs: captured.update({module: inputs[:2]}))
        for module in modules.values()
    ]
    try:
        image = generator(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    found = {}
    for name, module in modules.items():
        first, second = captured[module]
        if isinstance(module, AppearanceTransfer):  # S and T
            first, second = module.queries(second), module.keys(first)
        found[name] = (first, second)
    return image, found


def _argmax(
    queries: Float[Tensor, "b k positions"], keys: Float[Tensor, "b k positions"]
) -> Int[Tensor, "b positions"]:
    matches = torch.empty(queries.shape[0], queries.shape[2], dtype=torch.long, device=queries.device)
    for samples, rows in chunks(len(matches), matches.shape[1], keys.shape[2]):
        matches[samples, rows] = (queries.mT[samples, rows] @ keys[samples]).argmax(dim=2)
    return matches


def _logit_range(queries: Float[Tensor, "b k positions"], keys: Float[Tensor, "b k positions"]) -> Float[Tensor, "2"]:
    with torch.autocast(queries.device.type, enabled=False):
        q, k = queries.float().mT, keys.float()
        parts = chunks(len(q), q.shape[1], k.shape[2])
        ranges = [torch.stack((q[samples, rows] @ k[samples]).aminmax()) for samples, rows in parts]
    smallest, largest = torch.stack(ranges, dim=1)
    return torch.stack([smallest.min(), largest.max()])
