import pytest
import torch

from twostream.benchmark.curves import as_markdown, measure_curves

CPU = torch.device("cpu")


@pytest.fixture
def results(benchmark_config):
    settings = ["iterations=3", "other_seeds=1", "batch_size.cpu=2", "width.cpu=4", "size.cpu=[32,16]"]
    levers = ["measured.cpu=[attention,one_pass]", "tuned.cpu=[attention,bfloat16]"]
    return measure_curves(benchmark_config(*(f"curves.{setting}" for setting in settings), *levers), CPU)


def test_forms_begin_alike_and_other_seeds_do_not(results):
    curves = results["curves"]
    assert list(curves) == ["plain", "attention", "one_pass", "tuned", "plain, seed 1"]
    assert all(len(curve) == results["iterations"] == 3 for curve in curves.values())
    for name in ("attention", "one_pass"):
        assert curves[name] == pytest.approx(curves["plain"], rel=1e-3)
    assert curves["tuned"] == pytest.approx(curves["plain"], rel=3e-2)
    assert curves["tuned"] != curves["plain"]
    assert curves["plain, seed 1"][0] != pytest.approx(curves["plain"][0], rel=1e-3)
    assert len(set(curves["plain"])) == 3
    assert {len(curve) for losses in results["losses"].values() for curve in losses.values()} == {3}
    assert {"l1", "perceptual", "adversarial", "shape_discriminator"} <= results["losses"]["tuned"].keys()
    assert results["setting"] == "synthetic people, 32x16, width 4, no dropout, batches of 2"


def test_a_table_compares_the_ends_and_the_curves():
    plain = [1.0] * 5 + [0.5] * 10
    curves = {"plain": plain, "one_pass": [1.0] * 5 + [0.6] * 10}
    lines = as_markdown({"iterations": 15, "setting": "some", "tuned": ["one_pass"], "curves": curves}).splitlines()
    assert lines[4:] == [
        "| plain | 0.5000 | +0.00% | 0.00000 |",
        "| one pass | 0.6000 | +20.00% | 0.06667 |",
    ]
