import pytest
import torch

from twostream.benchmark.curves import compare_curves, measure_curves

CPU = torch.device("cpu")


def test_variants_start_alike_and_other_seeds_do_not(benchmark_config):
    settings = ["iterations=3", "other_seeds=1", "batch_size.cpu=2", "width.cpu=4", "size.cpu=[32,16]"]
    names = ["measured.cpu=[attention,one_pass]", "optimized.cpu=[attention,bfloat16]"]
    results = measure_curves(benchmark_config(*(f"curves.{setting}" for setting in settings), *names), CPU)
    curves = {name: losses["l1"] for name, losses in results["losses"].items()}
    assert list(curves) == ["baseline", "attention", "one_pass", "optimized", "baseline, seed 1"]
    baseline = curves["baseline"]
    assert len(set(baseline)) == 3
    for name in ("attention", "one_pass"):
        assert curves[name] == pytest.approx(baseline, rel=1e-3)
    assert curves["optimized"] == pytest.approx(baseline, rel=3e-2)
    assert curves["optimized"] != baseline
    assert curves["baseline, seed 1"][0] != pytest.approx(baseline[0], rel=1e-3)
    assert {len(curve) for losses in results["losses"].values() for curve in losses.values()} == {3}
    assert {"l1", "perceptual", "adversarial", "shape_discriminator"} <= results["losses"]["optimized"].keys()
    (table,) = results["tables"]
    assert table["title"] == ("L1 loss of 3 iterations on synthetic people at 32x16, width 4, no dropout, batch size 2")


def test_curves_are_compared_by_their_ends_and_their_distances():
    losses = {"baseline": {"l1": [1.0] * 5 + [0.5] * 10}, "one_pass": {"l1": [1.0] * 5 + [0.6] * 10}}
    first, second = (list(row.values()) for row in compare_curves(losses))
    assert first == ["baseline", 0.5, 0, 0]
    assert second == ["one_pass", pytest.approx(0.6), pytest.approx(0.2), pytest.approx(1 / 15)]
