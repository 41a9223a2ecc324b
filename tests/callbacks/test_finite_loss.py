import math

import pytest
import torch

from tiny_run import fit
from twostream.build import build_datamodule
from twostream.callbacks.finite_loss import FiniteLoss
from twostream.losses.objective import Objective


@pytest.fixture
def break_loss(monkeypatch):
    """Make a loss of one phase not finite at an iteration, the first being 1."""

    def replace_phase(phase: str, iteration: int, value: float):
        original, calls = getattr(Objective, phase), []

        def broken(self, *args):
            calls.append(1)
            result = original(self, *args)
            if len(calls) != iteration:
                return result
            if phase == "discriminator":
                return result * value
            loss, terms = result
            return loss, {**terms, "l1": terms["l1"] * value}

        monkeypatch.setattr(Objective, phase, broken)

    return replace_phase


def test_names_iteration_loss_and_batch_and_keeps_the_last_checkpoint(tiny_config, tmp_path, break_loss):
    cfg = tiny_config("discriminators=appearance", f"run_dir={tmp_path}", "data.batch_size=5")
    break_loss("discriminator", 3, math.nan)
    message = (
        r"iteration 3: train/appearance_discriminator is nan; the batch is \w+\.jpg -> \w+\.jpg, .* and 1 more\. "
        "The last checkpoint is from before"
    )
    with pytest.raises(ValueError, match=message):
        fit(cfg)
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["iteration"] == 2


def test_an_infinite_loss_of_the_generator_is_an_error(tiny_config, tmp_path, break_loss):
    break_loss("generator", 1, math.inf)
    with pytest.raises(ValueError, match="iteration 1: train/l1 is inf"):
        fit(tiny_config(f"run_dir={tmp_path}"))
    assert not (tmp_path / "checkpoints").exists()


def test_losses_of_a_gpu_are_checked_every_n_iterations_and_before_a_checkpoint(tiny_config, trainer, module):
    trainer.datamodule = build_datamodule(tiny_config())
    trainer.datamodule.setup("fit")
    module.device, module.iteration = torch.device("cuda"), 1
    callback = FiniteLoss(every_n_iterations=3)
    losses = {"train/l1": torch.tensor(1.0), "train/perceptual": torch.tensor(math.nan)}
    callback.on_train_batch_end(trainer, module, losses)
    with pytest.raises(ValueError, match="iteration 1: train/perceptual is nan"):
        callback.on_save_checkpoint(trainer, module, {})
    callback.on_save_checkpoint(trainer, module, {})
    for module.iteration in (2, 3):
        callback.on_train_batch_end(trainer, module, losses)
    module.iteration = 4
    with pytest.raises(ValueError, match="iteration 2: train/perceptual is nan"):
        callback.on_train_batch_end(trainer, module, losses)
