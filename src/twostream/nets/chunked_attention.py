"""Attention on a CPU in chunks of the attention matrix that fit into its caches, with a recomputing backward pass."""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

CHUNK_NUMEL = 2**20  # elements of the attention matrix in a chunk: 4 MiB as float32


def chunked_attention(
    queries: Float[Tensor, "b k positions"],
    keys: Float[Tensor, "b k sources"],
    values: Float[Tensor, "b v sources"],
) -> Float[Tensor, "b v positions"]:
    """Return V D^T of Eq. 4 and 5, some rows of D at a time; the backward pass computes them again."""
    with torch.autocast(values.device.type, enabled=False):
        return ChunkedAttention.apply(queries.mT, keys.mT, values.mT).mT


def chunks(num_samples: int, rows: int, columns: int) -> Iterator[tuple[slice, slice]]:
    """Yield (samples, rows) of chunks of the attention matrices: some rows of one sample, or all rows of several.

    Chunks of several samples are a quarter as large: larger samples are faster one by one in float32.
    """
    num_rows = max(1, min(rows, CHUNK_NUMEL // columns))
    chunk_samples = max(1, CHUNK_NUMEL // 4 // (rows * columns))
    for first in range(0, num_samples, chunk_samples):
        for row in range(0, rows, num_rows):
            yield slice(first, min(first + chunk_samples, num_samples)), slice(row, min(row + num_rows, rows))


class ChunkedAttention(Function):
    """Attention of queries of shape (b, positions, channels), keys and values of (b, sources, channels).

    With P = softmax(Q K^T) and O = P V, the gradient G of O gives P^T G for V, and with the gradient of the logits,
    E = P * (G V^T - rowsum(G * O)), E K for Q and E^T Q for K.
    """

    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Return O in the precision of the values."""
        exact = torch.promote_types(queries.dtype, torch.float32)
        q, k, v = queries.to(exact).contiguous(), keys.to(exact).contiguous(), values.contiguous()
        v_columns = v.mT.contiguous()
        output = v.new_empty(*q.shape[:2], v.shape[2])
        for samples, rows in chunks(len(q), q.shape[1], k.shape[1]):
            attention = _attention_rows(q[samples, rows], k[samples])
            output[samples, rows] = _matmul_nt(attention.to(v.dtype), v_columns[samples])
        ctx.save_for_backward(q, k, v, output)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of queries, keys and values, in the precision in which they were computed."""
        q, k, v, output = ctx.saved_tensors
        g = gradients[0].to(v.dtype).contiguous()
        row_sums = (g.to(q.dtype) * output).sum(dim=2, keepdim=True)
        k_columns = k.mT.contiguous()
        # Keys and values sum over the chunks, with a row per channel as the products return them.
        q_grad, k_grad, v_grad = (
            torch.empty_like(q),
            torch.zeros_like(k_columns),
            v.new_zeros(v.mT.shape, dtype=q.dtype),
        )
        # Products in float32 stay so under the autocast of a backward pass.
        with torch.autocast(g.device.type, enabled=False):
            for samples, rows in chunks(len(q), q.shape[1], k.shape[1]):
                attention = _attention_rows(q[samples, rows], k[samples])
                v_grad[samples] += _matmul_nt(g[samples, rows].mT, attention.to(v.dtype).mT)
                attention_grad = _matmul_nt(g[samples, rows], v[samples]).to(q.dtype)
                logits_grad = attention_grad.sub_(row_sums[samples, rows]).mul_(attention)
                q_grad[samples, rows] = _matmul_nt(logits_grad, k_columns[samples])
                k_grad[samples] += _matmul_nt(q[samples, rows].mT, logits_grad.mT)
        return q_grad, k_grad.mT, v_grad.mT


def _attention_rows(queries: Tensor, keys: Tensor) -> Tensor:
    logits = _matmul_nt(queries, keys)
    return torch.softmax(logits, dim=-1, out=logits)


def _matmul_nt(rows: Tensor, columns: Tensor) -> Tensor:
    """Multiply (b, r, k) by the transpose of (b, c, k); a single sample by oneDNN.

    For float32 torch itself uses MKL, which took about twice as long on an AMD EPYC, the only CPU measured.
    A compiler chooses for itself.
    """
    if not torch.compiler.is_compiling() and len(rows) == 1 and _onednn_supports(rows.dtype):
        return torch.ops.mkldnn._linear_pointwise(rows[0], columns[0], None, "none", [], "")[None]
    return rows @ columns.mT


def _onednn_supports(dtype: torch.dtype) -> bool:
    if not torch.backends.mkldnn.is_available():
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())
