import importlib
import shutil

import pytest
import torch

from twostream.nets import chunked_attention as module
from twostream.nets.attention import attend, attend_materialized, attention_matrix, fused_attention
from twostream.nets.chunked_attention import chunked_attention, chunks

CHUNK_SIZES = [7, 40, 100, 1000, 10**6]  # less than a row, rows, one sample, two and all samples of 10 x 10


def draw(num_positions, channels=(4, 4, 16), dtype=torch.float32, scale=1.0, batch=2):
    random = torch.Generator().manual_seed(0)
    return [
        (torch.randn(batch, width, num_positions, generator=random) * scale).to(dtype).requires_grad_()
        for width in channels
    ]


@pytest.mark.parametrize("implementation", [fused_attention, chunked_attention])
@pytest.mark.parametrize(("num_positions", "channels"), [(1, (4, 4, 16)), (300, (4, 4, 16)), (100, (32, 32, 128))])
def test_implementations_equal_the_equations_in_outputs_and_gradients(agree, num_positions, channels, implementation):
    inputs = draw(num_positions, channels, scale=0.5)
    weights = torch.randn(2, channels[2], num_positions, generator=torch.Generator().manual_seed(1))
    outputs = implementation(*inputs), attend_materialized(*inputs)
    gradients = [torch.autograd.grad(output, inputs, weights) for output in outputs]
    what, against = "fused and chunked attention", "the attention matrix of Eq. 4 and 5, float32"
    agree("Networks", f"{what}: outputs", against, *outputs, 1e-5)
    agree("Networks", f"{what}: gradients", against, *gradients, 1e-5, relative=True)


def test_rows_of_the_attention_matrix_are_target_positions():
    """Another query at one position changes that row alone."""
    queries, keys, _ = (tensor.detach() for tensor in draw(4))
    before = attention_matrix(queries, keys)
    torch.testing.assert_close(before.sum(dim=2), torch.ones(2, 4))
    queries[..., 2] += 1
    changed = (attention_matrix(queries, keys) - before).abs().sum(dim=2)
    assert (changed > 0).tolist() == [[False, False, True, False]] * 2


@pytest.mark.parametrize("num_sources", [10, 13])
@pytest.mark.parametrize("numel", CHUNK_SIZES)
def test_chunks_of_any_size_give_the_same_outputs_and_gradients(agree, monkeypatch, numel, num_sources):
    """There may be more source positions than target positions."""
    monkeypatch.setattr(module, "CHUNK_NUMEL", numel)
    random = torch.Generator().manual_seed(0)
    sizes = ((2, 10), (2, num_sources), (3, num_sources))
    inputs = [torch.randn(5, *size, generator=random, dtype=torch.float64).requires_grad_() for size in sizes]
    what, against = "attention in chunks of any size", "the attention matrix of Eq. 4 and 5, float64"
    outputs, expected = chunked_attention(*inputs), attend_materialized(*inputs)
    assert expected.shape == (5, 3, 10)
    agree("Networks", what, against, outputs, expected, 1e-12)
    weights = torch.randn(expected.shape, generator=random, dtype=torch.float64)
    torch.testing.assert_close(*(torch.autograd.grad(output, inputs, weights) for output in (outputs, expected)))
    torch.testing.assert_close(fused_attention(*inputs), expected)


@pytest.mark.parametrize("numel", CHUNK_SIZES)
def test_chunks_cover_each_row_once(monkeypatch, numel):
    monkeypatch.setattr(module, "CHUNK_NUMEL", numel)
    covered = torch.zeros(5, 10)
    for samples, rows in chunks(5, 10, 10):
        chunk = covered[samples, rows]
        chunk += 1
        assert chunk.numel() * 10 <= max(numel, 10)
    assert (covered == 1).all()


def saved_for_backward(implementation, num_positions):
    """Number of elements that autograd stores between forward and backward pass."""
    sizes = {}

    def record(tensor):
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() // tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor):
        implementation(*draw(num_positions))
    return sum(sizes.values())


def test_memory_of_chunks_grows_linearly_with_the_positions():
    assert saved_for_backward(chunked_attention, 1024) < 4.5 * saved_for_backward(chunked_attention, 256)
    assert saved_for_backward(attend_materialized, 1024) > 10 * saved_for_backward(attend_materialized, 256)


@pytest.mark.parametrize("implementation", [fused_attention, chunked_attention])
def test_large_logits_are_safe_in_bfloat16(implementation):
    """The logits are not scaled: hundreds occur."""
    inputs = draw(50, dtype=torch.bfloat16, scale=20.0)
    queries, keys, values = (tensor.float() for tensor in inputs)
    assert (queries.mT @ keys).abs().max() > 1000
    output = implementation(*inputs)
    assert output.isfinite().all()
    torch.testing.assert_close(output.float(), attend_materialized(queries, keys, values), rtol=2e-2, atol=0.5)
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(output.float().sum(), inputs))


def test_logits_stay_in_float32_under_autocast():
    inputs = draw(300, scale=20.0)
    exact = chunked_attention(*inputs)
    weights = torch.randn(exact.shape, generator=torch.Generator().manual_seed(1))
    gradients = torch.autograd.grad(exact, inputs, weights)
    with torch.autocast("cpu", torch.bfloat16):
        output = attend(*inputs)
        assert torch.equal(output, exact)
        again = torch.autograd.grad(output, inputs, weights)
    assert all(torch.equal(one, other) for one, other in zip(again, gradients, strict=True))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, up to 2.11
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles for a CPU with g++")
def test_compiled_for_a_cpu_it_is_the_same(unchecked):
    function = importlib.import_module("twostream.nets.chunked_attention").chunked_attention
    inputs = [tensor.detach().requires_grad_() for tensor in draw(600, (8, 8, 32), scale=0.5, batch=1)]
    weights = torch.randn(1, 32, 600, generator=torch.Generator().manual_seed(1))
    outputs = [implementation(*inputs) for implementation in (function, torch.compile(function))]
    torch.testing.assert_close(*outputs, rtol=1e-5, atol=1e-5)
    for one, other in zip(*(torch.autograd.grad(output, inputs, weights) for output in outputs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
