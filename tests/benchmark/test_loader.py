import pytest
import torch

from twostream.benchmark.loader import LoaderCase, as_markdown, build_data, measure_loader, ready_batches

CPU = torch.device("cpu")


@pytest.fixture
def cfg(benchmark_config):
    return benchmark_config("loader.rounds=2", "loader.num_batches=2")


@pytest.mark.slow
def test_every_loader_is_measured_beside_training(cfg):
    results = measure_loader(cfg, CPU)
    assert results["rounds"] == 2
    assert [row["cache"] for row in results["loaders"]] == ["ram", "device", "none", "none", "ram", "ram"]
    assert (results["batch_size"], results["training"]["batch_size"]) == (2, 2)
    training = results["training"]["pairs_per_second"]
    for row in results["loaders"]:
        assert 0 < row["lower_quartile"] <= row["pairs_per_second"] <= row["upper_quartile"]
        assert row["times_training"] == pytest.approx(row["pairs_per_second"] / training)
    lines = as_markdown(results).splitlines()
    assert lines[0].startswith(
        "synthetic people at 32x16: batches of 2, ready for the networks. Training, tuned: batches of 2, "
    )
    assert [line.count("|") for line in lines[2:]] == [6] * 8


def test_batches_are_those_of_training(cfg):
    batches = ready_batches(build_data(cfg, LoaderCase("device", 0, "none")), CPU)
    data = build_data(cfg, LoaderCase("ram", 0, "none"))
    for batch in data.training_loader(num_batches=3):
        expected = data.on_after_batch_transfer(batch, 0)
        assert all(torch.equal(one, other) for one, other in zip(next(batches), expected, strict=True))
