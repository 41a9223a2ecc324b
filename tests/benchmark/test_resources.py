import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from twostream.benchmark import resources
from twostream.benchmark.resources import LiveTensors, peak_memory, quartiles, time_interleaved

CPU = torch.device("cpu")


@pytest.mark.parametrize(("warm_up", "first"), [(True, "abc"), (False, "")])
def test_every_call_runs_once_per_round_and_each_round_starts_with_another(warm_up, first):
    names = []
    time_interleaved({name: lambda name=name: names.append(name) for name in "abc"}, 4, CPU, warm_up)
    assert "".join(names) == first + "abc" + "bca" + "cab" + "abc"


def test_only_the_calls_are_timed(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(resources.time, "perf_counter", lambda: clock[0])

    def advance(seconds):
        clock[0] += seconds

    seconds = time_interleaved({"short": lambda: advance(1), "long": lambda: advance(4)}, 3, CPU)
    assert {name: values.tolist() for name, values in seconds.items()} == {"short": [1, 1, 1], "long": [4, 4, 4]}


def test_quartiles_are_the_median_first():
    assert quartiles(np.array([1.0, 4.0, 2.0])) == (2, 1.5, 3)


def test_less_than_one_round_is_refused():
    with pytest.raises(ValueError, match="rounds: expected at least 1, got 0"):
        time_interleaved({"a": lambda: None}, 0, CPU)


def test_tensors_count_while_they_exist():
    with LiveTensors() as live:
        numbers = torch.zeros(1000)
        others = numbers * 2
        assert live.live == 8000
        del numbers
        assert live.live == 4000
        exact = torch.ones(10, dtype=torch.float64)
        flags = others > 1
        assert live.live == 4000 + 80 + 1000
        del exact, flags
    after = torch.zeros(1000) + 1
    assert (live.live, live.peak, len(after)) == (4000, 8000, 1000)
    del others
    assert live.live == 0


def test_all_results_of_an_operation_count():
    numbers = torch.rand(6, 10)
    with LiveTensors() as live:
        values, indices = numbers.max(dim=0)
        assert live.live == 10 * 4 + 10 * 8
        copies = torch._foreach_add(list(torch.split(values, 5)), 1.0)
        assert live.live == 10 * 4 + 10 * 8 + 2 * 5 * 4
    assert (len(copies), len(indices)) == (2, 10)


@pytest.mark.parametrize(
    "operation",
    [
        lambda a: a.T.unsqueeze(0).expand(7, 5, 4),
        lambda a: a.chunk(2),
        lambda a: torch.mul(a, 2, out=a),
        lambda a: F.relu(a, inplace=True),
        lambda a: a.to(torch.float32),
    ],
)
def test_views_and_operations_in_place_allocate_nothing_and_keep_the_tensor(operation):
    with LiveTensors() as live:
        numbers = torch.zeros(4, 5)
        results = operation(numbers)
        del numbers
        assert (live.live, live.peak) == (80, 80)
        del results
    assert (live.live, live.peak) == (0, 80)


def test_tensors_from_before_do_not_count():
    weights, never_used = torch.ones(1000), torch.ones(10)
    with LiveTensors() as live:
        weights.mul_(2)
        view = weights[:500]
        assert (live.live, live.peak) == (0, 0)
        total = weights.sum()
        del weights, view, never_used
        assert live.live == 4
    assert (total, live.peak) == (2000, 4)


ROWS, HIDDEN = torch.rand(4, 16), 4 * 32 * 4
NET = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8))
GRADIENTS = (32 * 16 + 32 + 8 * 32 + 8) * 4


@pytest.mark.parametrize(
    ("call", "live_bytes", "peak"),
    [
        # The inputs of an operation exist while it runs: in a chain of three, two tensors at a time.
        (lambda: torch.zeros(100).exp().exp().exp(), 400, 800),
        # The ReLU's result is needed by its own gradient and by the second layer's; the first layer's is not.
        (lambda: NET(ROWS), HIDDEN + 4 * 8 * 4, 2 * HIDDEN),
        # At the first layer's weights: all gradients of weights and biases, and that of the layer's own result.
        (lambda: NET(ROWS).sum().backward(), GRADIENTS, GRADIENTS + HIDDEN),
    ],
)
def test_live_and_peak_bytes_counted_by_hand(call, live_bytes, peak):
    NET.zero_grad()
    with LiveTensors() as live:
        result = call()
        assert live.live == live_bytes
        # The sum and its gradient.
        assert peak <= live.peak <= peak + 2 * 4
        del result
        NET.zero_grad()
        assert live.live == 0
    assert peak <= peak_memory(call, CPU) <= peak + 2 * 4


def test_peak_memory_starts_from_the_tensors_that_exist():
    before = torch.zeros(10_000)
    assert peak_memory(lambda: before + 1, CPU) == 40_000
    assert peak_memory(lambda: None, CPU) == 0
