"""Two processes train as a single one, and a lost one is named."""

import signal
import subprocess

import pytest
import torch
from pytorch_lightning import Callback
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.optim import SGD

from tiny_run import fit, read_curves
from twostream import schedule as schedule_file
from twostream.build import build_datamodule, build_module, build_trainer
from twostream.strategies import NetworkDDP, name_lost_rank

# No dropout and no past fakes, which each process draws for itself.
EQUAL = ["generator.dropout=0", "loss.pool_size=0", "schedule.learning_rate=1e-3"]
TWO = ["trainer=ddp_cpu", "+trainer.strategy.start_method=fork"]


@pytest.fixture(autouse=True)
def gradient_descent(monkeypatch):
    """The gradient of a bias in front of a norm is rounding noise, which Adam would scale to a full step."""
    monkeypatch.setattr(schedule_file, "Adam", lambda weights, lr, betas, **_: SGD(weights, lr))


@pytest.mark.parametrize("batch_size", [4, 3])
def test_two_processes_end_with_the_weights_of_one(tiny_config, tmp_path, batch_size):
    """Also for an odd batch, of which one process has more pairs than the other."""
    settings = [*EQUAL, f"data.batch_size={batch_size}"]
    start = build_module(tiny_config(*settings)).state_dict()
    one = fit(tiny_config(*settings, f"run_dir={tmp_path / 'one'}")).lightning_module.state_dict()
    two = fit(tiny_config(*settings, *TWO, f"run_dir={tmp_path / 'two'}")).lightning_module.state_dict()
    for name, weights in one.items():
        torch.testing.assert_close(two[name], weights, rtol=1e-3, atol=1e-6)
    assert max((one[name] - start[name]).abs().max() for name in one) > 1e-3
    assert_curves_agree(read_curves(tmp_path / "one"), read_curves(tmp_path / "two"))


def assert_curves_agree(one: list[dict[str, float]], two: list[dict[str, float]]):
    """Losses and validation are those of all pairs, each counted once."""
    assert [row["step"] for row in one] == [row["step"] for row in two]
    assert {name for row in one for name in row} >= {"train/l1", "train/shape_discriminator", "val/ssim", "val/l1"}
    for alone, together in zip(one, two, strict=True):
        shared = {name: value for name, value in alone.items() if not name.startswith("throughput/")}
        assert {name: together[name] for name in shared} == pytest.approx(shared, rel=1e-3, abs=1e-5)


class CountBytes(Callback):
    """Counts what each network's wrapper reduces, by network."""

    def __init__(self):
        self.reduced = {}

    def on_train_start(self, trainer, pl_module):
        for name, wrapper in pl_module.wrapped.items():
            self.reduced[name] = 0
            wrapper.register_comm_hook(name, self.count)

    def count(self, name, bucket):
        self.reduced[name] += bucket.buffer().numel()
        return allreduce_hook(None, bucket)


def test_each_network_is_reduced_once_an_iteration(tiny_config):
    cfg = tiny_config("trainer=ddp_cpu", "trainer.devices=1")
    module, trainer = build_module(cfg), build_trainer(cfg)
    trainer.callbacks.insert(0, counter := CountBytes())
    try:
        trainer.fit(module, datamodule=build_datamodule(cfg))
    finally:
        torch.distributed.destroy_process_group()
    sizes = {name: sum(p.numel() for p in net.parameters()) for name, net in module.nets.items()}
    assert counter.reduced == {name: 4 * size for name, size in sizes.items()}
    assert module.wrapped == {}
    assert not any(".module." in name for name in module.state_dict())


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGKILL, r"rank 2 \(process \d+\) was killed by SIGKILL"),
        (signal.SIGSTOP, r"rank 2 \(process \d+\) is stopped and did not answer in time"),
        (None, "expected an answer of all 1 ranks in time .*: gloo: timed out"),
    ],
)
def test_a_lost_rank_is_named_and_the_others_end(monkeypatch, number, said):
    monkeypatch.setattr("twostream.strategies.PATIENCE", 0.5)
    strategy = NetworkDDP()
    strategy.started = [subprocess.Popen(["sleep", "60"]) for _ in range(2)]
    if number:
        strategy.started[1].send_signal(number)
    with pytest.raises(ChildProcessError, match=said):
        name_lost_rank(strategy, RuntimeError("gloo: timed out\nmore"))
    assert [process.returncode for process in strategy.started] == [-signal.SIGKILL] * 2


def test_a_rank_that_failed_by_itself_is_referred_to():
    strategy = NetworkDDP()
    strategy.started = [subprocess.Popen(["false"])]
    with pytest.raises(ChildProcessError, match="ended with exit status 1; its own message says why"):
        name_lost_rank(strategy, RuntimeError("gloo: connection closed"))


def test_an_error_of_a_rank_itself_is_no_loss():
    name_lost_rank(NetworkDDP(), ValueError("data.num_val_pairs: expected more"))
