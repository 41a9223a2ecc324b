import importlib
import shutil

import pytest
import torch

from twostream.nets import attention
from twostream.nets.attention import (
    attend,
    attend_by_rows,
    attend_fused,
    correspondence,
    logit_range,
    parts_of,
    transfer,
)


def draw(num_positions, channels=(4, 4, 16), dtype=torch.float32, scale=1.0):
    random = torch.Generator().manual_seed(0)
    return [
        (torch.randn(2, width, num_positions, generator=random) * scale).to(dtype).requires_grad_()
        for width in channels
    ]


@pytest.mark.parametrize("form", [attend_fused, attend_by_rows])
@pytest.mark.parametrize(("num_positions", "channels"), [(1, (4, 4, 16)), (300, (4, 4, 16)), (100, (32, 32, 128))])
def test_each_form_is_the_written_out_one_with_its_gradients(num_positions, channels, form):
    queries, keys, values = draw(num_positions, channels, scale=0.5)
    weights = torch.randn(2, channels[2], num_positions, generator=torch.Generator().manual_seed(1))
    result, written_out = form(queries, keys, values), transfer(values, correspondence(queries, keys))
    torch.testing.assert_close(result, written_out, rtol=1e-5, atol=1e-5)
    given = (queries, keys, values)
    gradients = (torch.autograd.grad(whole, given, weights) for whole in (result, written_out))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("at_once", [1, 7, 40, 100, 1000, 10**6])
def test_however_much_of_d_is_made_at_once(monkeypatch, at_once):
    """Single rows of 10, some, all of a sample's, and more than one sample of the 5."""
    monkeypatch.setattr(attention, "AT_ONCE", at_once)
    random = torch.Generator().manual_seed(0)
    given = [torch.randn(5, width, 10, generator=random, dtype=torch.float64).requires_grad_() for width in (2, 2, 3)]
    torch.testing.assert_close(attend_by_rows(*given), transfer(given[2], correspondence(*given[:2])))
    assert torch.autograd.gradcheck(attend_by_rows, given)


@pytest.mark.parametrize("at_once", [1, 7, 40, 100, 1000, 10**6])
def test_parts_hold_every_row_of_d_once(monkeypatch, at_once):
    monkeypatch.setattr(attention, "AT_ONCE", at_once)
    seen = torch.zeros(5, 10)
    for samples, rows in parts_of(5, 10):
        part = seen[samples, rows]
        part += 1
        assert part.numel() * 10 <= max(at_once, 10)
    assert (seen == 1).all()


@pytest.mark.parametrize("at_once", [1, 7, 40, 100, 1000, 10**6])
def test_the_range_of_the_logits_is_that_of_the_dense_ones(monkeypatch, at_once):
    monkeypatch.setattr(attention, "AT_ONCE", at_once)
    random = torch.Generator().manual_seed(0)
    queries, keys = torch.randn(2, 5, 2, 10, generator=random) * 30
    dense = torch.stack(
        [(queries[b, :, i] * keys[b, :, j]).sum() for b in range(5) for i in range(10) for j in range(10)]
    )
    expected = torch.tensor([dense.min(), dense.max()])
    torch.testing.assert_close(logit_range(queries, keys), expected)
    for sample in range(5):
        # The extremes may lie in any sample and, of a position's logits, in any part.
        scale = torch.ones(5, 1, 1)
        scale[sample] = 100
        alone = dense.view(5, 100)[sample] * 100
        torch.testing.assert_close(logit_range(queries * scale, keys), torch.tensor([alone.min(), alone.max()]))


@pytest.mark.parametrize("signs", [(1, 1), (1, -1)])
def test_the_range_of_logits_of_one_sign_does_not_begin_at_zero(signs):
    queries, keys = (sign * torch.tensor([[[2.0, 3.0]]]) for sign in signs)
    expected = [4.0, 9.0] if signs == (1, 1) else [-9.0, -4.0]
    assert logit_range(queries, keys).tolist() == expected


def test_the_range_of_the_logits_is_in_float32_at_any_precision():
    queries, keys, _ = draw(50, dtype=torch.bfloat16, scale=20.0)
    dense = queries.double().mT @ keys.double()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = logit_range(queries, keys)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), torch.stack(dense.aminmax()), rtol=1e-6, atol=0)


def kept_for_the_gradient(form, num_positions):
    """Numbers that autograd holds between forward and backward."""
    sizes = {}

    def note(tensor):
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() // tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        form(*draw(num_positions))
    return sum(sizes.values())


@pytest.mark.parametrize("form", [attend_fused, attend_by_rows])
def test_memory_grows_with_the_positions_and_not_with_their_square(form):
    small, great = (kept_for_the_gradient(form, count) for count in (256, 1024))
    assert great < 4.5 * small


def test_memory_of_the_written_out_form_grows_with_the_square():
    def dense(queries, keys, values):
        return transfer(values, correspondence(queries, keys))

    small, great = (kept_for_the_gradient(dense, count) for count in (256, 1024))
    assert great > 10 * small


@pytest.mark.parametrize("form", [attend_fused, attend_by_rows])
def test_great_logits_are_safe_in_bfloat16(form):
    """There is no 1 / sqrt(d): logits of hundreds occur."""
    queries, keys, values = draw(50, dtype=torch.bfloat16, scale=20.0)
    logits = queries.float().transpose(1, 2) @ keys.float()
    assert logits.abs().max() > 1000
    result = form(queries, keys, values)
    exact = transfer(values.float(), correspondence(queries.float(), keys.float()))
    assert result.isfinite().all()
    torch.testing.assert_close(result.float(), exact, rtol=2e-2, atol=0.5)
    gradients = torch.autograd.grad(result.float().sum(), (queries, keys, values))
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_mixed_precision_leaves_the_logits_in_float32():
    queries, keys, values = draw(300, scale=20.0)
    exact = attend_by_rows(queries, keys, values)
    weights = torch.randn(exact.shape, generator=torch.Generator().manual_seed(1))
    gradients = torch.autograd.grad(exact, (queries, keys, values), weights)
    with torch.autocast("cpu", torch.bfloat16):
        result = attend(queries, keys, values)
        assert torch.equal(result, exact)
        again = torch.autograd.grad(result, (queries, keys, values), weights)
    assert all(torch.equal(one, other) for one, other in zip(again, gradients, strict=True))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, up to 2.11
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles for a CPU by g++")
def test_what_is_compiled_for_a_cpu_is_the_same(unchecked):
    form = importlib.import_module("twostream.nets.attention").attend_by_rows
    given = [tensor[:1].detach().requires_grad_() for tensor in draw(600, (8, 8, 32), scale=0.5)]
    weights = torch.randn(1, 32, 600, generator=torch.Generator().manual_seed(1))
    results = [function(*given) for function in (form, torch.compile(form))]
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-5)
    for one, other in zip(*(torch.autograd.grad(result, given, weights) for result in results), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
