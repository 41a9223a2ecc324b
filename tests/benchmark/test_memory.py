import gc

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import SGD, Adam

from twostream.benchmark.memory import LiveTensors, bytes_of, peak_of, tensors_of

CPU = torch.device("cpu")


def test_tensors_count_from_when_they_are_made_until_they_are_dropped():
    with LiveTensors() as live:
        assert (live.live, live.peak) == (0, 0)
        numbers = torch.zeros(1000)
        assert live.live == 4000
        others = numbers * 2
        assert live.live == 8000
        del numbers
        assert live.live == 4000
        exact = torch.ones(10, dtype=torch.float64)
        flags = others > 1
        assert live.live == 4000 + 80 + 1000
        del others, exact, flags
    assert (live.live, live.peak) == (0, 8000)


def test_what_an_operation_needs_is_there_while_it_works():
    """Of a chain of three, two are there at a time; the first and the third never are together."""
    with LiveTensors() as live:
        last = torch.zeros(100).exp().exp().exp()
    assert (live.live, live.peak) == (400, 800)
    assert last.shape == (100,)


def test_an_operation_with_several_results_counts_all_of_them():
    numbers = torch.rand(6, 10)
    with LiveTensors() as live:
        values, places = numbers.max(dim=0)
        assert live.live == 10 * 4 + 10 * 8
        parts = torch.split(values, 5)
        copies = torch._foreach_add(list(parts), 1.0)
        assert live.live == 10 * 4 + 10 * 8 + 2 * 5 * 4
    assert len(copies) == len(parts) == 2
    assert places.shape == (10,)


@pytest.mark.parametrize(
    "operation",
    [
        lambda a: a.view(-1),
        lambda a: a[1:, ::2],
        lambda a: a.T.unsqueeze(0).expand(7, 5, 4),
        lambda a: a.detach(),
        lambda a: a.chunk(2),
        lambda a: a.add_(1),
        lambda a: a.zero_(),
        lambda a: a[0].copy_(a[1]),
        lambda a: torch.mul(a, 2, out=a),
        lambda a: F.relu(a, inplace=True),
        lambda a: a.to(torch.float32),
    ],
)
def test_views_and_operations_in_place_take_nothing(operation):
    with LiveTensors() as live:
        numbers = torch.zeros(4, 5)
        results = operation(numbers)
        assert (live.live, live.peak) == (80, 80)
        del numbers
        assert live.live == 80
        del results
    assert (live.live, live.peak) == (0, 80)


def test_a_view_keeps_its_whole_tensor():
    with LiveTensors() as live:
        number = torch.zeros(1000)[3]
        assert live.live == 4000
        del number
        assert live.live == 0


def test_what_was_there_before_counts_nothing_when_it_is_used_and_when_it_is_dropped():
    weights, never_used = torch.ones(1000), torch.ones(10)
    with LiveTensors() as live:
        weights.mul_(2)
        view = weights[:500]
        assert (live.live, live.peak) == (0, 0)
        total = weights.sum()
        assert live.live == 4
        del weights, view, never_used
        assert live.live == 4
    assert (total, live.peak) == (2000, 4)


def test_what_is_dropped_after_the_end_is_gone_too():
    with LiveTensors() as live:
        numbers = torch.zeros(1000)
    assert live.live == 4000
    del numbers
    assert (live.live, live.peak) == (0, 4000)


def test_what_is_made_after_the_end_is_not_counted():
    with LiveTensors() as live:
        numbers = torch.zeros(10)
    others = torch.zeros(1000) + 1
    assert (live.live, live.peak) == (40, 40)
    assert len(numbers) < len(others)


def test_places_in_memory_that_are_used_again_count_each_time():
    with LiveTensors() as live:
        for _ in range(200):
            torch.zeros(100)
            assert live.live == 0
    assert live.peak == 400


class TestLayers:
    """Two linear layers of 16 to 32 to 8 channels with a ReLU between, on 4 rows: what is kept, counted by hand."""

    HIDDEN, OUT, WEIGHTS, BIASES = 4 * 32 * 4, 4 * 8 * 4, (32 * 16 + 8 * 32) * 4, (32 + 8) * 4

    @pytest.fixture
    def rows(self):
        return torch.rand(4, 16)

    @pytest.fixture
    def net(self):
        return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8))

    def test_forward_keeps_the_activations_that_a_gradient_needs(self, net, rows):
        """The second layer needs the ReLU's result, and so does the ReLU; the first layer's own may go."""
        with LiveTensors() as live:
            out = net(rows)
            assert live.live == self.HIDDEN + self.OUT
            assert live.peak == 2 * self.HIDDEN
            del out
        assert live.live == 0

    def test_without_gradients_only_the_result_is_left(self, net, rows):
        with LiveTensors() as live, torch.no_grad():
            out = net(rows)
            assert live.live == self.OUT
        assert live.peak == 2 * self.HIDDEN
        assert out.shape == (4, 8)

    def test_backward_leaves_the_gradients_of_the_weights_alone(self, net, rows):
        with LiveTensors() as live:
            net(rows).sum().backward()
            assert live.live == self.WEIGHTS + self.BIASES
            net.zero_grad()
            assert live.live == 0

    def test_peak_of_an_iteration(self, net, rows):
        """At the first layer's weights: all gradients of weights and biases, and that of the layer's own result.

        Before it, at the ReLU's gradient, there are less: the hidden rows, two gradients of them and what the second
        layer has left.
        """
        at_relu = 3 * self.HIDDEN + (8 * 32 + 8) * 4
        at_weights = self.WEIGHTS + self.BIASES + self.HIDDEN
        assert at_weights > at_relu
        # The sum and the one that it begins with.
        assert at_weights <= peak_of(lambda: net(rows).sum().backward(), CPU) <= at_weights + 2 * 4
        first = [weight.grad.clone() for weight in net.parameters()]
        assert all(gradient.abs().max() > 0 for gradient in first)

    def test_gradients_that_are_there_already_take_nothing_more(self, net, rows):
        net(rows).sum().backward()
        with LiveTensors() as live:
            net(rows).sum().backward()
            assert live.live == 0
        gc.collect()
        assert live.live == 0


def test_the_peak_of_a_call_begins_at_what_is_there():
    before = torch.zeros(10_000)
    assert peak_of(lambda: before + 1, CPU) == 40_000
    assert peak_of(lambda: (before + 1).view(-1)[0].item(), CPU) == 40_000
    assert peak_of(lambda: None, CPU) == 0


def test_bytes_of_tensors():
    assert bytes_of([torch.zeros(3, 5), torch.zeros(7, dtype=torch.uint8), torch.zeros((), dtype=torch.float64)]) == 75
    assert bytes_of([]) == 0


def test_adam_keeps_two_numbers_a_weight_and_the_step():
    net = nn.Linear(16, 32)
    optimizer = Adam(net.parameters())
    weights = (16 * 32 + 32) * 4
    assert bytes_of(tensors_of([optimizer])) == weights
    net(torch.rand(4, 16)).sum().backward()
    optimizer.step()
    found = tensors_of([optimizer])
    assert [tensor.shape for tensor in found[:2]] == [net.weight.shape, net.bias.shape]
    # The step of weights and of biases are a float32 each.
    assert bytes_of(found) == 3 * weights + 2 * 4


def test_optimizers_without_states_have_their_weights_alone():
    nets = nn.Linear(2, 3), nn.Linear(3, 1)
    optimizers = [SGD(net.parameters(), lr=0.1) for net in nets]
    nets[1](nets[0](torch.rand(4, 2))).sum().backward()
    for optimizer in optimizers:
        optimizer.step()
    assert bytes_of(tensors_of(optimizers)) == (2 * 3 + 3 + 3 + 1) * 4
