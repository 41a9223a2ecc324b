import math

import pytest
import torch

from twostream.build import build_datamodule, build_module, build_trainer
from twostream.losses.objective import Objective


def fit(cfg):
    torch.manual_seed(0)
    trainer = build_trainer(cfg)
    trainer.fit(build_module(cfg), datamodule=build_datamodule(cfg))


@pytest.fixture
def broken(monkeypatch):
    """Makes a loss of one phase not finite at an iteration, from 1."""

    def breaks(phase: str, iteration: int, value: float):
        whole, calls = getattr(Objective, phase), []

        def part(self, *given):
            calls.append(1)
            result = whole(self, *given)
            if len(calls) != iteration:
                return result
            if phase == "discriminator":
                return result * value
            loss, terms = result
            return loss, {**terms, "l1": terms["l1"] * value}

        monkeypatch.setattr(Objective, phase, part)

    return breaks


def test_names_phase_iteration_loss_and_batch_and_keeps_the_last_checkpoint(tiny_config, tmp_path, broken):
    cfg = tiny_config("discriminators=appearance", f"run_dir={tmp_path}", "data.batch_size=5")
    broken("discriminator", 3, math.nan)
    message = (
        r"iteration 3, appearance discriminator's phase: train/appearance_discriminator is nan; "
        r"the batch is \w+\.jpg -> \w+\.jpg, .* and 1 more\. The last checkpoint is from before"
    )
    with pytest.raises(ValueError, match=message):
        fit(cfg)
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 2


def test_a_loss_of_the_generator_may_not_be_infinite(tiny_config, tmp_path, broken):
    cfg = tiny_config(f"run_dir={tmp_path}")
    broken("generator", 1, math.inf)
    with pytest.raises(ValueError, match=r"iteration 1, generator's phase: train/l1 is inf"):
        fit(cfg)
    assert not (tmp_path / "checkpoints").exists()


def test_losses_that_are_seldom_looked_at_are_looked_at_before_a_checkpoint(tiny_config, tmp_path, broken, monkeypatch):
    """As on a GPU."""
    monkeypatch.setattr("twostream.callbacks.guard.LOOKS_EACH_TIME", ())
    cfg = tiny_config(f"run_dir={tmp_path}", "callbacks.guard.every_n_iterations=100")
    broken("generator", 1, math.nan)
    with pytest.raises(ValueError, match=r"iteration 1, generator's phase: train/l1 is nan"):
        fit(cfg)
    assert not (tmp_path / "checkpoints" / "last.ckpt").exists()
