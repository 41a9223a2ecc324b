import csv
import math
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer

from twostream.build import build_datamodule, build_module, build_trainer
from twostream.callbacks import progress as module
from twostream.callbacks.progress import ProgressFile
from twostream.progress import FILE, read_progress

MODULE = Mock(spec=LightningModule)


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(module.time, "monotonic", lambda: now.seconds)
    return now


@pytest.fixture
def trainer():
    trainer = Mock(spec=Trainer)
    trainer.global_step, trainer.max_steps = 0, 90
    trainer.is_global_zero, trainer.callback_metrics = True, {}
    return trainer


def test_it_is_written_at_the_start_and_then_when_the_seconds_are_over(tmp_path, clock, trainer):
    callback = ProgressFile(tmp_path, every_n_seconds=5)
    callback.on_train_start(trainer, MODULE)
    assert read_progress(tmp_path).iteration == 0
    assert read_progress(tmp_path).seconds_per_iteration is None
    clock.seconds, trainer.global_step = 104.9, 7
    callback.on_train_batch_end(trainer)
    assert read_progress(tmp_path).iteration == 0
    clock.seconds, trainer.global_step = 105.0, 10
    callback.on_train_batch_end(trainer)
    assert (read_progress(tmp_path).iteration, read_progress(tmp_path).iterations) == (10, 90)
    assert read_progress(tmp_path).seconds_per_iteration == 0.5
    clock.seconds, trainer.global_step = 105.1, 11
    callback.on_train_end(trainer, MODULE)
    assert read_progress(tmp_path).iteration == 11


def test_the_pace_is_that_of_the_last_writings(tmp_path, clock, trainer):
    callback = ProgressFile(tmp_path, every_n_seconds=0)
    callback.on_train_start(trainer, MODULE)
    for step in range(1, 101):
        clock.seconds += 9.0 if step <= 50 else 0.25
        trainer.global_step = step
        callback.on_train_batch_end(trainer)
    assert read_progress(tmp_path).seconds_per_iteration == 0.25


def test_the_last_validation_is_kept_by_a_run_that_goes_on(tmp_path, clock, trainer):
    callback = ProgressFile(tmp_path, every_n_seconds=5)
    callback.on_train_start(trainer, MODULE)
    trainer.global_step, trainer.callback_metrics = 45, {"val/ssim": torch.tensor(0.25)}
    callback.on_validation_end(trainer, MODULE)
    assert read_progress(tmp_path).val_ssim == 0.25
    ProgressFile(tmp_path, every_n_seconds=5).on_train_start(trainer, MODULE)
    assert read_progress(tmp_path).val_ssim == 0.25
    trainer.global_step = 0
    ProgressFile(tmp_path, every_n_seconds=5).on_train_start(trainer, MODULE)
    assert read_progress(tmp_path).val_ssim is None


def test_a_validation_without_a_finite_number_counts_as_none(tmp_path, clock, trainer):
    callback = ProgressFile(tmp_path, every_n_seconds=5)
    for value in (math.nan, math.inf):
        trainer.callback_metrics = {"val/ssim": torch.tensor(value)}
        callback.on_validation_end(trainer, MODULE)
        assert read_progress(tmp_path).val_ssim is None


def test_a_run_that_breaks_off_says_how_far_it_came(tmp_path, clock, trainer):
    callback = ProgressFile(tmp_path, every_n_seconds=5)
    callback.on_exception(trainer, MODULE, ValueError())
    assert not (tmp_path / FILE).exists()
    callback.on_train_start(trainer, MODULE)
    trainer.global_step = 3
    callback.on_exception(trainer, MODULE, ValueError())
    assert read_progress(tmp_path).iteration == 3


def test_only_the_first_process_writes(tmp_path, clock, trainer):
    trainer.is_global_zero = False
    callback = ProgressFile(tmp_path, every_n_seconds=0)
    callback.on_train_start(trainer, MODULE)
    callback.on_train_batch_end(trainer)
    assert not (tmp_path / FILE).exists()


def test_a_real_training_ends_with_all_iterations_and_the_loggers_last_ssim(tiny_config, tmp_path):
    cfg = tiny_config()
    build_trainer(cfg).fit(build_module(cfg), datamodule=build_datamodule(cfg))
    progress = read_progress(tmp_path / "run")
    assert (progress.iteration, progress.iterations) == (4, 4)
    assert progress.seconds_per_iteration > 0
    with (tmp_path / "run/logs/metrics.csv").open() as file:
        logged = [float(row["val/ssim"]) for row in csv.DictReader(file) if row["val/ssim"]]
    assert progress.val_ssim == pytest.approx(logged[-1], rel=1e-5)
