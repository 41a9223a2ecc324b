import pytest
from torch import nn

from twostream.nets.appearance_transfer import AppearanceTransfer
from twostream.schedule import Schedule


def test_rates_are_constant_then_fall_by_equal_steps(agree):
    """After the constant part the same amount is subtracted from the rate after each iteration."""
    constant, decay = 500, 200
    schedule, expected, rate = Schedule(1e-4, 0.5, 0.999, constant, decay), [], 1e-4
    for epoch in range(1, constant + decay + 1):
        expected.append(rate)
        rate -= 1e-4 / decay if epoch > constant else 0
    layer = nn.Linear(1, 1)
    optimizer = schedule.optimizer(layer, fused=False)
    scheduler, rates = schedule.scheduler(optimizer), []
    for _ in expected:
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    what, against = "learning rate of every iteration", "the same amount subtracted at every step of the decay"
    agree("Losses and training", what, against, rates, expected, 1e-12, relative=True)


def test_the_rate_is_constant_then_decays_linearly_to_zero():
    schedule = Schedule(1e-4, 0.5, 0.999, constant_iterations=6, decay_iterations=3)
    assert schedule.iterations == 9
    assert [schedule.factor(i) for i in range(10)] == pytest.approx([1, 1, 1, 1, 1, 1, 1, 2 / 3, 1 / 3, 0])
    assert Schedule(1e-4, 0.5, 0.999, 2, 0).factor(2) == 0


def test_the_rate_rises_in_a_warmup():
    schedule = Schedule(1e-4, 0.5, 0.999, constant_iterations=6, decay_iterations=3, warmup_iterations=4)
    assert [schedule.factor(i) for i in range(7)] == [0.25, 0.5, 0.75, 1, 1, 1, 1]
    assert schedule.iterations == 9
    with pytest.raises(ValueError, match=r"schedule\.warmup_iterations: expected 0 to 6 .*, got 7"):
        Schedule(1e-4, 0.5, 0.999, constant_iterations=6, decay_iterations=3, warmup_iterations=7)


def test_sigma_can_have_a_rate_of_its_own():
    module = AppearanceTransfer(8)
    schedule = Schedule(1e-4, 0.5, 0.999, 2, 2, sigma_factor=30)
    optimizer = schedule.optimizer(module, fused=False)
    scheduler, rates = schedule.scheduler(optimizer), []
    for _ in range(4):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    assert rates == [pytest.approx([rate, 30 * rate]) for rate in (1e-4, 1e-4, 1e-4, 0.5e-4)]
    others, sigmas = (group["params"] for group in optimizer.param_groups)
    assert sigmas == [module.sigma]
    assert len(others) == len(list(module.parameters())) - 1


@pytest.mark.parametrize("counts", [(-1, 5), (0, 0)])
def test_invalid_numbers_of_iterations_are_refused(counts):
    with pytest.raises(ValueError, match="schedule: expected constant_iterations and decay_iterations"):
        Schedule(1e-4, 0.5, 0.999, *counts)


@pytest.mark.parametrize("key", ["learning_rate", "sigma_factor", "discriminator_factor"])
def test_rates_below_zero_are_refused(key):
    settings = {"learning_rate": 1e-4, "beta1": 0.5, "beta2": 0.999, "constant_iterations": 1, "decay_iterations": 1}
    with pytest.raises(ValueError, match=rf"^schedule\.{key}: expected at least 0, got -1$"):
        Schedule(**settings | {key: -1})
