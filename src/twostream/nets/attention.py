"""The correspondence of the two streams as pure functions (Eq. 4 and 5)."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

ROWS = 256
"""Rows of D that are looked at together where D itself is not wanted."""


def correspondence(
    queries: Float[Tensor, "b k positions"], keys: Float[Tensor, "b k positions"]
) -> Float[Tensor, "b positions positions"]:
    """Eq. 4: D_ij, how well source position j (key) matches target position i (query). Each row sums to 1.

    The scale is 1: the paper divides by no square root of the key's width.
    """
    return (queries.transpose(1, 2) @ keys).softmax(dim=-1)


def transfer(
    values: Float[Tensor, "b v positions"], matches: Float[Tensor, "b positions positions"]
) -> Float[Tensor, "b v positions"]:
    """Eq. 5 without W_o: V D^T, for each target position the mean of the source values under its row of D."""
    return values @ matches.transpose(1, 2)


def attend(
    queries: Float[Tensor, "b k positions"],
    keys: Float[Tensor, "b k positions"],
    values: Float[Tensor, "b v positions"],
) -> Float[Tensor, "b v positions"]:
    """Return what `transfer` makes of `correspondence`, in the way that is the faster one on the device.

    Logits and softmax are in float32 at any precision of the inputs: without a division by sqrt(d) they can be large.
    """
    on_cpu = values.device.type == "cpu"
    return attend_by_rows(queries, keys, values) if on_cpu else attend_fused(queries, keys, values)


def attend_by_rows(
    queries: Float[Tensor, "b k positions"],
    keys: Float[Tensor, "b k positions"],
    values: Float[Tensor, "b v positions"],
) -> Float[Tensor, "b v positions"]:
    """Return what `attend` does, some rows of D at a time, which stay in a CPU's cache; a gradient keeps them all."""
    with torch.autocast(values.device.type, enabled=False):
        exact = torch.promote_types(queries.dtype, torch.float32)
        rows, columns, v = queries.to(exact).transpose(1, 2), keys.to(exact), values.transpose(1, 2)
        parts = [(some @ columns).softmax(dim=-1).to(v.dtype) @ v for some in rows.split(ROWS, dim=1)]
    return torch.cat(parts, dim=1).transpose(1, 2)


def attend_fused(
    queries: Float[Tensor, "b k positions"],
    keys: Float[Tensor, "b k positions"],
    values: Float[Tensor, "b v positions"],
) -> Float[Tensor, "b v positions"]:
    """Return what `attend` does, by PyTorch's fused attention: D is never held as a whole, for no gradient either.

    The memory grows with the number of positions, not with its square. Values have at least as many channels as keys.
    """
    if values.device.type == "cpu":
        # Its fused kernel wants all of one width; zeros change no product of queries and keys.
        padding = (0, 0, 0, values.shape[1] - keys.shape[1])
        queries, keys = F.pad(queries, padding), F.pad(keys, padding)
    # One head; channels last in memory, as the kernels want them.
    q, k, v = (tensor.transpose(1, 2).contiguous()[:, None] for tensor in (queries, keys, values))
    return F.scaled_dot_product_attention(q, k, v, scale=1.0)[:, 0].transpose(1, 2)


def best_matches(
    queries: Float[Tensor, "b k positions"], keys: Float[Tensor, "b k positions"]
) -> Int[Tensor, "b positions"]:
    """Return for each target position the source position of the highest D_ij.

    The softmax keeps the order within a row, so D is never built: some rows of Q^T K at a time do.
    """
    return torch.cat([(some.transpose(1, 2) @ keys).argmax(dim=2) for some in queries.split(ROWS, dim=2)], dim=1)
