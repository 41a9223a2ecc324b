"""The correspondence of the two streams (Eq. 4) and the transfer of appearance by it (Eq. 5), as pure functions."""

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from twostream.nets.chunked_attention import chunked_attention


def attention_matrix(
    queries: Float[Tensor, "b k positions"], keys: Float[Tensor, "b k sources"]
) -> Float[Tensor, "b positions sources"]:
    """Return D of Eq. 4: D_ij is how well source position j (key) matches target position i (query).

    Each row sums to 1. The logits are not scaled: the paper does not divide by the square root of the key channels.
    """
    return (queries.mT @ keys).softmax(dim=-1)


def transfer(
    values: Float[Tensor, "b v sources"], matrix: Float[Tensor, "b positions sources"]
) -> Float[Tensor, "b v positions"]:
    """Return V D^T of Eq. 5: for each target position the mean of the source values, weighted by its row of D."""
    return values @ matrix.mT


def attend_materialized(
    queries: Float[Tensor, "b k positions"],
    keys: Float[Tensor, "b k sources"],
    values: Float[Tensor, "b v sources"],
) -> Float[Tensor, "b v positions"]:
    """Return V D^T with D materialised: Eq. 4 and 5 as written, the reference for `attend`."""
    return transfer(values, attention_matrix(queries, keys))


def attend(
    queries: Float[Tensor, "b k positions"],
    keys: Float[Tensor, "b k sources"],
    values: Float[Tensor, "b v sources"],
) -> Float[Tensor, "b v positions"]:
    """Return V D^T without materialising D: PyTorch's fused attention on a GPU, chunks of D on a CPU.

    Memory grows with the number of positions instead of its square, for the backward pass too. Logits and softmax are
    in float32 whatever the precision of the inputs, since unscaled logits can be large. `torch.export` gets PyTorch's.
    """
    if values.device.type == "cpu" and not torch.compiler.is_exporting():
        return chunked_attention(queries, keys, values)
    return fused_attention(queries, keys, values)


def fused_attention(
    queries: Float[Tensor, "b k positions"],
    keys: Float[Tensor, "b k sources"],
    values: Float[Tensor, "b v sources"],
) -> Float[Tensor, "b v positions"]:
    """Return V D^T by `scaled_dot_product_attention` with a single head and scale 1."""
    q, k, v = (tensor.mT.contiguous()[:, None] for tensor in (queries, keys, values))
    # Autocast would convert float32, such as the pixels that a warp moves, to bfloat16.
    with torch.autocast("cuda", enabled=False) if values.is_cuda else nullcontext():
        return F.scaled_dot_product_attention(q, k, v, scale=1.0)[:, 0].mT
