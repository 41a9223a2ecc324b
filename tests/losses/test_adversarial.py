import math

import pytest
import torch

from twostream.losses.adversarial import CrossEntropy, LeastSquares


def test_criteria_are_their_formulas(agree):
    scores = torch.randn(50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    probabilities = [1 / (1 + math.exp(-score)) for score in scores.tolist()]
    squares = [(score - real) ** 2 for real in (1, 0) for score in scores.tolist()]
    expected = {
        CrossEntropy: [-sum(map(math.log, probabilities)) / 50, -sum(math.log(1 - p) for p in probabilities) / 50],
        LeastSquares: [sum(squares[:50]) / 50, sum(squares[50:]) / 50],
    }
    for criterion, values in expected.items():
        losses = [criterion()(scores, real=real) for real in (True, False)]
        agree("Losses and training", "adversarial losses", "formulas a score at a time, float64", losses, values, 1e-12)


@pytest.mark.parametrize("criterion", [LeastSquares(), CrossEntropy()])
def test_gradients(criterion):
    scores = torch.randn(5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda values: criterion(values, real=True), scores)
