import functools
import json
from pathlib import Path

import pytest
import torch

from tiny_run import assert_same_leaves, fit
from twostream.callbacks.averaging import KEY, ExponentialAverage
from twostream.cli.train import train_and_evaluate
from twostream.module import TwoStreamModule
from twostream.nets.generator import TwoStreamGenerator


def test_the_average_is_that_of_the_formula_and_leaves_training_alone(tiny_config, tmp_path, monkeypatch):
    weights = []
    step = TwoStreamModule.training_step

    def recorded(self, pair, batch_idx):
        weights.append({name: value.clone() for name, value in self.generator.state_dict().items()})
        return step(self, pair, batch_idx)

    with monkeypatch.context() as context:
        context.setattr(TwoStreamModule, "training_step", recorded)
        fit(tiny_config("averaging=ema", "averaging.decay=0.3", f"run_dir={tmp_path / 'a'}"))
    checkpoint = torch.load(tmp_path / "a/checkpoints/last.ckpt", weights_only=True)
    last = {name.removeprefix("generator."): value for name, value in checkpoint["state_dict"].items()}
    after = [*weights[1:], {name: last[name] for name in weights[0]}]
    for name, expected in weights[0].items():
        for iteration, state in enumerate(after, start=1):
            decay = min(0.3, (1 + iteration) / (10 + iteration))
            expected = decay * expected + (1 - decay) * state[name]
        torch.testing.assert_close(checkpoint[KEY][name], expected)
    fit(tiny_config(f"run_dir={tmp_path / 'b'}"))
    other = torch.load(tmp_path / "b/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert_same_leaves(checkpoint["state_dict"], other)


def test_the_average_is_evaluated_in_addition_to_the_weights(tiny_config, tmp_path):
    cfg = tiny_config("averaging=ema", f"run_dir={tmp_path}", "scoring.metrics=[ssim]", "schedule.learning_rate=1e-2")
    train_and_evaluate(cfg, tmp_path)
    raw, averaged = (json.loads((tmp_path / part / "metrics.json").read_text()) for part in ("", "averaged"))
    assert "averaged weights, decay 0.999" in averaged["run"]["notes"]
    assert raw["run"]["notes"] == averaged["run"]["notes"][:-1]
    assert [entry["metric"] for entry in raw["values"]] == [entry["metric"] for entry in averaged["values"]]
    assert raw["values"][0]["value"] != averaged["values"][0]["value"]
    assert len(list(Path(tmp_path / "averaged" / "images").glob("*.png"))) == 6


def test_counts_are_not_averaged(tiny_config, tmp_path, monkeypatch):
    init = TwoStreamGenerator.__init__

    @functools.wraps(init)
    def with_counts(self, **options):
        init(self, **options)
        self.register_buffer("count", torch.tensor(7))

    monkeypatch.setattr(TwoStreamGenerator, "__init__", with_counts)
    fit(tiny_config("averaging=ema", f"run_dir={tmp_path}"))
    assert torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)[KEY]["count"] == 7


@pytest.mark.parametrize("decay", [-0.1, 1])
def test_a_decay_out_of_range_is_refused(decay):
    with pytest.raises(ValueError, match=r"averaging\.decay: expected at least 0 and under 1, got"):
        ExponentialAverage(decay)
