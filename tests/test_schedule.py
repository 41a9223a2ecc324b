import pytest

from twostream.schedule import Schedule


def test_the_rate_is_constant_then_decays_linearly_to_zero():
    schedule = Schedule(1e-4, 0.5, 0.999, constant_iterations=6, decay_iterations=3)
    assert schedule.iterations == 9
    assert [schedule.factor(i) for i in range(10)] == pytest.approx([1, 1, 1, 1, 1, 1, 1, 2 / 3, 1 / 3, 0])
    assert Schedule(1e-4, 0.5, 0.999, 2, 0).factor(2) == 0


@pytest.mark.parametrize("counts", [(-1, 5), (0, 0)])
def test_invalid_numbers_of_iterations_are_refused(counts):
    with pytest.raises(ValueError, match="schedule: expected constant_iterations and decay_iterations"):
        Schedule(1e-4, 0.5, 0.999, *counts)
