"""The correspondence of the two streams as pure functions (Eq. 4 and 5)."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

AT_ONCE = 2**20
"""Numbers of D that are made together where D itself is not wanted: as float32 4 MiB, which a CPU's caches hold."""


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

    D is never held as a whole, for no gradient either: the memory grows with the number of positions, not with its
    square. Logits and softmax are in float32 at any precision of the inputs: without a division by sqrt(d) they can be
    large.
    """
    on_cpu = values.device.type == "cpu"
    return attend_by_rows(queries, keys, values) if on_cpu else attend_fused(queries, keys, values)


def attend_by_rows(
    queries: Float[Tensor, "b k positions"],
    keys: Float[Tensor, "b k positions"],
    values: Float[Tensor, "b v positions"],
) -> Float[Tensor, "b v positions"]:
    """Return what `attend` does, some rows of D at a time, which stay in a CPU's cache; a gradient makes them anew."""
    with torch.autocast(values.device.type, enabled=False):
        return _ByRows.apply(queries.mT, keys.mT, values.mT).mT


def attend_fused(
    queries: Float[Tensor, "b k positions"],
    keys: Float[Tensor, "b k positions"],
    values: Float[Tensor, "b v positions"],
) -> Float[Tensor, "b v positions"]:
    """Return what `attend` does, by PyTorch's fused attention. Values have at least as many channels as keys."""
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
    matches = torch.empty(queries.shape[0], queries.shape[2], dtype=torch.long, device=queries.device)
    for samples, rows in parts_of(*matches.shape):
        matches[samples, rows] = (queries.mT[samples, rows] @ keys[samples]).argmax(dim=2)
    return matches


def logit_range(queries: Float[Tensor, "b k positions"], keys: Float[Tensor, "b k positions"]) -> Float[Tensor, "2"]:
    """Return the smallest and the greatest logit of Eq. 4, Q^T K, of all samples: in float32, some rows at a time."""
    with torch.autocast(queries.device.type, enabled=False):
        q, k = queries.float().mT, keys.float()
        ranges = [torch.stack((q[samples, rows] @ k[samples]).aminmax()) for samples, rows in parts_of(*q.shape[:2])]
    smallest, greatest = torch.stack(ranges, dim=1)
    return torch.stack([smallest.min(), greatest.max()])


def parts_of(num_samples: int, positions: int) -> Iterator[tuple[slice, slice]]:
    """Cut the D of several samples into parts of `AT_ONCE` numbers: some rows of a sample, or all of some samples.

    Samples come together only in parts a quarter as large: in float32 a large sample is faster by itself.
    """
    num_rows = max(1, min(positions, AT_ONCE // positions))
    at_once = max(1, AT_ONCE // 4 // positions**2)
    for first in range(0, num_samples, at_once):
        for row in range(0, positions, num_rows):
            yield slice(first, min(first + at_once, num_samples)), slice(row, min(row + num_rows, positions))


class _ByRows(Function):
    """Attention of (b, positions, channels) by parts of D.

    With P = softmax(Q K^T) and O = P V, a gradient G of O gives V's, P^T G, and by way of the logits' gradient
    E = P * (G V^T - rows' sums of G * O) those of Q and K, E K and E^T Q.
    """

    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Return O in the values' precision."""
        exact = torch.promote_types(queries.dtype, torch.float32)
        q, k, v = queries.to(exact).contiguous(), keys.to(exact).contiguous(), values.contiguous()
        v_columns = v.mT.contiguous()
        result = v.new_empty(v.shape)
        for samples, rows in parts_of(*v.shape[:2]):
            matches = _matches(q[samples, rows], k[samples])
            result[samples, rows] = _product(matches.to(v.dtype), v_columns[samples])
        ctx.save_for_backward(q, k, v, result)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of queries, keys and values, in the precision in which they were made."""
        q, k, v, result = ctx.saved_tensors
        g = gradients[0].to(v.dtype).contiguous()
        shares = (g.to(q.dtype) * result).sum(dim=2, keepdim=True)
        k_columns = k.mT.contiguous()
        # Those of the keys and values are summed up over the rows, a channel to a row, as the products lay them out.
        of_q, of_k, of_v = torch.empty_like(q), torch.zeros_like(k_columns), v.new_zeros(v.mT.shape, dtype=q.dtype)
        # Products of float32 stay in it, also where the backward pass is under autocast.
        with torch.autocast(g.device.type, enabled=False):
            for samples, rows in parts_of(*v.shape[:2]):
                matches = _matches(q[samples, rows], k[samples])
                of_v[samples] += _product(g[samples, rows].mT, matches.to(v.dtype).mT)
                of_matches = _product(g[samples, rows], v[samples]).to(q.dtype)
                of_logits = of_matches.sub_(shares[samples, rows]).mul_(matches)
                of_q[samples, rows] = _product(of_logits, k_columns[samples])
                of_k[samples] += _product(q[samples, rows].mT, of_logits.mT)
        return of_q, of_k.mT, of_v.mT


def _matches(queries: Tensor, keys: Tensor) -> Tensor:
    """Return the rows of D of some queries."""
    logits = _product(queries, keys)
    return torch.softmax(logits, dim=-1, out=logits)


def _product(rows: Tensor, columns: Tensor) -> Tensor:
    """Return the product of (b, r, k) and the transpose of (b, c, k), b x r x c; a single sample's by oneDNN.

    torch itself takes MKL for float32, which needed about twice as long on an AMD EPYC, the one that was measured.
    A compiler chooses for itself.
    """
    if not torch.compiler.is_compiling() and len(rows) == 1 and _onednn_has(rows.dtype):
        return torch.ops.mkldnn._linear_pointwise(rows[0], columns[0], None, "none", [], "")[None]
    return rows @ columns.mT


def _onednn_has(dtype: torch.dtype) -> bool:
    if not torch.backends.mkldnn.is_available():
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())
