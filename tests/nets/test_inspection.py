import pytest
import torch
from torch import nn

from twostream.nets import chunked_attention
from twostream.nets.appearance_transfer import AppearanceTransfer, NoAppearanceTransfer
from twostream.nets.attention import attention_matrix
from twostream.nets.fusion import CatFusion
from twostream.nets.generator import TwoStreamGenerator
from twostream.nets.inspection import (
    ExplainedGenerator,
    at_modules,
    attention_matrices,
    best_matches,
    logit_ranges,
    strongest_matches,
)
from twostream.types import PosePair


def make(at_module=AppearanceTransfer) -> TwoStreamGenerator:
    torch.manual_seed(0)
    generator = TwoStreamGenerator(at_module, CatFusion, CatFusion, 3, width=16, num_joints=18, dropout=0.5).eval()
    for module in at_modules(generator):
        nn.init.constant_(module.sigma, 1)  # from 0, the blocks of a new generator hardly differ
    return generator


@pytest.fixture(params=[7, 256])
def chunk_rows(request, monkeypatch) -> int:
    monkeypatch.setattr(chunked_attention, "CHUNK_NUMEL", request.param * 32)
    return request.param


def test_attention_matrices_are_those_of_the_forward_pass(random_pair: PosePair):
    generator, inputs = make(), random_pair[:3]
    streams = []
    for module in at_modules(generator):
        module.register_forward_pre_hook(lambda module, inputs: streams.append((module, *inputs)))
    generator(*inputs)
    expected = [
        (module.to_queries(target).flatten(2).mT @ module.to_keys(source).flatten(2)).softmax(dim=2)
        for module, source, target in streams
    ]
    found = attention_matrices(generator, inputs)
    assert list(found) == ["block_1", "block_2", "block_3"]
    matrices = list(found.values())
    assert [tuple(matrix.shape) for matrix in matrices] == [(2, 32, 32)] * 3
    torch.testing.assert_close(matrices, expected)
    assert all(len(module._forward_pre_hooks) == 1 for module in at_modules(generator)), "only the hook of this test"


def test_a_subclass_with_queries_of_its_own_is_inspected_by_them(random_pair: PosePair):
    class Halved(AppearanceTransfer):
        def queries(self, target: torch.Tensor) -> torch.Tensor:
            return super().queries(target) / 2

    with torch.no_grad():
        ranges, halves = (
            logit_ranges(make(module), random_pair[:3])["block_1"] for module in (AppearanceTransfer, Halved)
        )
    torch.testing.assert_close(halves, ranges / 2)


def test_an_explained_generator_returns_what_its_attention_matrices_are_computed_from(random_pair: PosePair):
    generator, inputs = make(), random_pair[:3]
    explained = ExplainedGenerator(generator)
    outputs = dict(zip(explained.output_names, explained(*inputs), strict=True))
    torch.testing.assert_close(outputs["image"], generator(*inputs))
    for name, matrix in attention_matrices(generator, inputs).items():
        torch.testing.assert_close(attention_matrix(outputs[f"{name}.queries"], outputs[f"{name}.keys"]), matrix)


def test_best_matches_are_the_maxima_of_the_rows(random_pair: PosePair, chunk_rows):
    generator, inputs = make(), random_pair[:3]
    matches, matrices = (list(f(generator, inputs).values()) for f in (best_matches, attention_matrices))
    assert all(torch.equal(found, matrix.argmax(dim=2)) for found, matrix in zip(matches, matrices, strict=True))
    assert not torch.equal(matches[0], matches[1])


@pytest.mark.parametrize("sign", [1, -1])
def test_logit_ranges_are_those_of_queries_and_keys(random_pair: PosePair, chunk_rows, sign):
    generator, logits = make(), []
    for module in at_modules(generator):
        # Logits of one sign, of which 0 is not an extreme.
        nn.init.constant_(module.to_keys.bias, 1.0)
        nn.init.constant_(module.to_queries.bias, 100.0 * sign)
        module.register_forward_pre_hook(
            lambda module, s: logits.append(module.to_queries(s[1]).flatten(2).mT @ module.to_keys(s[0]).flatten(2))
        )
    with torch.no_grad():
        generator(*random_pair[:3])
    found = logit_ranges(generator, random_pair[:3])
    torch.testing.assert_close(
        torch.stack(list(found.values())), torch.tensor([matrix.aminmax() for matrix in logits[:3]])
    )


def test_logit_ranges_are_in_float32_at_any_precision(random_pair: PosePair):
    with torch.autocast("cpu", torch.bfloat16):
        ranges = logit_ranges(make(), random_pair[:3])
    assert {tensor.dtype for tensor in ranges.values()} == {torch.float32}


@pytest.mark.parametrize("function", [attention_matrices, best_matches, logit_ranges])
def test_a_generator_without_at_modules_is_refused(random_pair: PosePair, function):
    generator = make(NoAppearanceTransfer)
    assert at_modules(generator) == []
    with pytest.raises(
        TypeError, match="expected a generator with AT-modules or a warp, got TwoStreamGenerator without any"
    ):
        function(generator, random_pair[:3])


def test_the_strongest_matches_are_the_highest_values_of_each_row(random_pair: PosePair):
    (matrices,) = list(attention_matrices(make(), random_pair[:3]).values())[:1]
    found = strongest_matches(matrices, (32, 16))
    assert found["map"] == (8, 4)
    sources, weights = torch.tensor(found["sources"]), torch.tensor(found["weights"])
    assert torch.equal(sources, matrices.argsort(dim=2, descending=True)[:, :, :8])
    torch.testing.assert_close(weights, matrices.gather(2, sources) * 32, atol=0.051, rtol=0)
    few = strongest_matches(matrices[:, :2, :2], (8, 4))
    assert torch.tensor(few["sources"]).shape == (2, 2, 2)
