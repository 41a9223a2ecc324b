import pytest
import torch
import torch.nn.functional as F
from torch import nn

from twostream.benchmark import resources
from twostream.benchmark.resources import LiveTensors, Timing, peak_memory, time_interleaved

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

    timings = time_interleaved({"short": lambda: advance(1), "long": lambda: advance(4)}, 3, CPU)
    assert timings == {"short": Timing((1, 1, 1)), "long": Timing((4, 4, 4))}


def test_quartiles_of_seconds_rates_and_speedups():
    assert Timing((1, 2, 4)).seconds_quartiles() == (2, 1.5, 3)
    assert Timing((1, 2, 4)).rate(8) == (4, 3, 6)
    # A speedup is computed round by round: the third round was slow for both.
    assert Timing((1, 2, 8)).speedup(Timing((2, 6, 8))) == (2, 1.5, 2.5)


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


def test_the_inputs_of_an_operation_exist_while_it_runs():
    """In a chain of three, two tensors exist at a time."""
    with LiveTensors() as live:
        last = torch.zeros(100).exp().exp().exp()
    assert (live.live, live.peak, len(last)) == (400, 800, 100)


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


class TestLayers:
    """Two linear layers of 16 to 32 to 8 channels with a ReLU between, on 4 rows: bytes counted by hand."""

    HIDDEN, OUT, WEIGHTS, BIASES = 4 * 32 * 4, 4 * 8 * 4, (32 * 16 + 8 * 32) * 4, (32 + 8) * 4

    @pytest.fixture
    def rows(self):
        return torch.rand(4, 16)

    @pytest.fixture
    def net(self):
        return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8))

    def test_forward_keeps_the_activations_of_the_backward_pass(self, net, rows):
        """The ReLU's result is needed by its own gradient and by the second layer's; the first layer's is not."""
        with LiveTensors() as live:
            out = net(rows)
            assert live.live == self.HIDDEN + self.OUT
            assert live.peak == 2 * self.HIDDEN
            del out
        assert live.live == 0

    def test_backward_leaves_only_the_gradients_of_the_weights(self, net, rows):
        with LiveTensors() as live:
            net(rows).sum().backward()
            assert live.live == self.WEIGHTS + self.BIASES
            net.zero_grad()
            assert live.live == 0

    def test_peak_of_an_iteration(self, net, rows):
        """At the first layer's weights: all gradients of weights and biases, and that of the layer's own result."""
        peak = self.WEIGHTS + self.BIASES + self.HIDDEN
        # The sum and its gradient.
        assert peak <= peak_memory(lambda: net(rows).sum().backward(), CPU) <= peak + 2 * 4
        assert all(weight.grad.abs().max() > 0 for weight in net.parameters())


def test_peak_memory_starts_from_the_tensors_that_exist():
    before = torch.zeros(10_000)
    assert peak_memory(lambda: before + 1, CPU) == 40_000
    assert peak_memory(lambda: None, CPU) == 0
