import csv
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch
from pytorch_lightning import Trainer

from twostream.build import build_datamodule, build_module, build_trainer
from twostream.callbacks import monitor
from twostream.callbacks.monitor import Monitor, gpu_memory, is_logged, sigmas


def trained(cfg):
    """Train a run; return its module and the rows of its curves that have losses."""
    module = build_module(cfg)
    build_trainer(cfg).fit(module, datamodule=build_datamodule(cfg))
    with (Path(cfg.run_dir) / "logs/metrics.csv").open(newline="") as file:
        return module, [{key: float(cell) for key, cell in row.items() if cell} for row in csv.DictReader(file)]


def test_everything_is_logged_where_the_trainer_logs(tiny_config):
    cfg = tiny_config("schedule.learning_rate=0.5")
    module, rows = trained(cfg)
    losses = [row for row in rows if "train/l1" in row]
    assert [row["step"] for row in losses] == [1, 2, 3, 4]
    # Two iterations at the full rate, then linearly to zero.
    for net in ("generator", "appearance", "shape"):
        assert [row[f"lr/{net}"] for row in losses] == [0.5, 0.5, 0.5, 0.25]
    for k, block in enumerate(module.generator.blocks, start=1):
        assert losses[-1][f"sigma/block_{k}"] == pytest.approx(float(block.at_module.sigma.detach()))
        assert losses[0][f"sigma/block_{k}"] != losses[-1][f"sigma/block_{k}"]
    assert all(row["speed/iterations_per_second"] > 0 for row in losses)
    assert not any(name.startswith("memory/") for row in rows for name in row)


def test_validations_stand_at_the_iteration_after_which_they_are(tiny_config):
    _, rows = trained(tiny_config())
    assert [row["step"] for row in rows if "val/ssim" in row] == [2, 4]


def test_it_keeps_to_the_trainers_interval(tiny_config):
    _, rows = trained(tiny_config("trainer.log_every_n_steps=2", "discriminators=none"))
    losses = [row for row in rows if "train/l1" in row]
    assert [row["step"] for row in losses] == [2, 4]
    assert all("lr/generator" in row and "sigma/block_1" in row for row in losses)
    assert not any(name.startswith("lr/") and name != "lr/generator" for row in rows for name in row)


def test_a_generator_without_at_modules_has_no_sigma(tiny_config):
    assert list(sigmas(build_module(tiny_config()).generator)) == ["sigma/block_1", "sigma/block_2"]
    assert sigmas(build_module(tiny_config("ablation=no_at_module")).generator) == {}
    assert sigmas(torch.nn.Linear(1, 1)) == {}


def test_the_speed_leaves_validations_out(tiny_config, monkeypatch):
    module = build_module(tiny_config())
    logged = {}
    monkeypatch.setattr(module, "log", lambda name, value, **_: logged.update({name: value}))
    monkeypatch.setattr(module, "log_dict", logged.update)
    now = 100.0
    monkeypatch.setattr(monitor.time, "perf_counter", lambda: now)
    trainer = MagicMock(spec=Trainer, global_step=0, log_every_n_steps=10, should_stop=False)
    callback = Monitor()
    callback.on_train_start(trainer, module)
    now, trainer.global_step = 102.0, 5
    callback.on_train_batch_end(trainer, module)
    assert logged == {}
    now, trainer.global_step = 104.0, 10
    callback.on_train_batch_end(trainer, module)
    assert logged["speed/iterations_per_second"] == 10 / 4
    # Six iterations in three seconds, a validation of a minute, four in one.
    trainer.global_step = 16
    now = 167.0
    callback.on_validation_end(trainer, module)
    now, trainer.global_step = 168.0, 20
    callback.on_train_batch_end(trainer, module)
    assert logged["speed/iterations_per_second"] == 4 / 1
    assert logged["step"] == 20


def test_no_speed_is_told_right_after_a_validation(tiny_config, monkeypatch):
    module = build_module(tiny_config())
    logged = {}
    monkeypatch.setattr(module, "log", lambda name, value, **_: logged.update({name: value}))
    monkeypatch.setattr(module, "log_dict", logged.update)
    trainer = MagicMock(spec=Trainer, global_step=7, log_every_n_steps=10, should_stop=True)
    callback = Monitor()
    callback.on_validation_end(trainer, module)
    callback.on_train_batch_end(trainer, module)
    assert "speed/iterations_per_second" not in logged
    assert logged["step"] == 7


@pytest.mark.parametrize(
    ("every", "iteration", "stops", "expected"),
    [(10, 10, False, True), (10, 9, False, False), (10, 9, True, True), (0, 10, True, False)],
)
def test_is_logged(every, iteration, stops, expected):
    trainer = MagicMock(spec=Trainer, log_every_n_steps=every, should_stop=stops)
    assert is_logged(trainer, iteration) is expected


def test_memory_is_in_gib_and_of_a_gpu_alone(monkeypatch):
    assert gpu_memory(torch.device("cpu")) == {}
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 2**30)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3 * 2**30)
    assert gpu_memory(torch.device("cuda")) == {"memory/allocated_gib": 1.0, "memory/peak_gib": 3.0}
