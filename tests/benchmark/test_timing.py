import pytest
import torch

from twostream.benchmark import timing
from twostream.benchmark.timing import Timing, in_turns

CPU = torch.device("cpu")


def test_each_case_is_called_once_a_round_and_once_before_and_goes_first_in_turn():
    calls = []
    in_turns({name: lambda name=name: calls.append(name) for name in "abc"}, 4, CPU)
    assert "".join(calls) == "abc" + "abc" + "bca" + "cab" + "abc"


def test_what_was_called_already_is_not_called_outside():
    calls = []
    in_turns({name: lambda name=name: calls.append(name) for name in "ab"}, 2, CPU, warm_up=False)
    assert "".join(calls) == "ab" + "ba"


def test_times_are_those_of_the_calls_alone(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])

    def lasting(seconds):
        def call():
            clock[0] += seconds

        return call

    timings = in_turns({"short": lasting(1), "long": lasting(4)}, 3, CPU)
    assert timings == {"short": Timing((1, 1, 1)), "long": Timing((4, 4, 4))}


def test_a_rate_is_a_median_between_its_quartiles():
    assert Timing((1, 2, 4)).rate(8) == (4, 3, 6)


def test_times_another_are_taken_round_by_round():
    """The third round was slow for both."""
    assert Timing((1, 2, 8)).times(Timing((2, 6, 8))) == (2, 1.5, 2.5)


def test_refuses_no_rounds():
    with pytest.raises(ValueError, match="rounds: expected at least 1, got 0"):
        in_turns({"a": lambda: None}, 0, CPU)
