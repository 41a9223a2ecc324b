from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch
from pytorch_lightning import Trainer

from twostream.module import TwoStreamModule


@pytest.fixture
def clock(monkeypatch):
    """The time in `seconds`, which passes only when a test says so."""
    now = SimpleNamespace(seconds=100.0)
    for name in ("monotonic", "perf_counter"):
        monkeypatch.setattr(f"time.{name}", lambda: now.seconds)
    return now


@pytest.fixture
def logged():
    """What the module has logged."""
    return {}


@pytest.fixture
def module(logged):
    schedule = SimpleNamespace(iterations=90)
    module = Mock(spec=TwoStreamModule, iteration=0, schedule=schedule, generator=torch.nn.Linear(1, 1))
    module.device = torch.device("cpu")
    module.log, module.log_dict = lambda name, value, **_: logged.update({name: value}), logged.update
    return module


@pytest.fixture
def trainer(module):
    flags = {"is_global_zero": True, "log_every_n_steps": 10, "should_stop": False}
    return Mock(spec=Trainer, lightning_module=module, callback_metrics={}, loggers=[], **flags)
