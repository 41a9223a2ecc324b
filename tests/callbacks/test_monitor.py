from pathlib import Path

import pytest
import torch

from tiny_run import fit, read_curves
from twostream.build import build_datamodule
from twostream.callbacks.monitor import Monitor, gpu_memory, is_logged
from twostream.data.dataset import to_pose_pair


def trained(cfg):
    """Train a run; return its module and the rows of its curves."""
    return fit(cfg).lightning_module, read_curves(Path(cfg.run_dir))


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
    assert all(row["throughput/iterations_per_second"] > 0 for row in losses)
    assert not any(name.startswith("memory/") for row in rows for name in row)
    assert [row["step"] for row in rows if "val/ssim" in row] == [2, 4]


def test_the_logging_interval_is_the_trainers(tiny_config):
    _, rows = trained(tiny_config("trainer.log_every_n_steps=2", "discriminators=none"))
    losses = [row for row in rows if "train/l1" in row]
    assert [row["step"] for row in losses] == [2, 4]
    assert all("lr/generator" in row and "sigma/block_1" in row for row in losses)
    assert not any(name.startswith("lr/") and name != "lr/generator" for row in rows for name in row)


def ranges_by_hand(cfg, module, num_pairs, dtype=torch.float32):
    """The range of each block's logits over the first validation pairs, by name of the curve."""
    data = build_datamodule(cfg)
    data.setup("fit")
    pair = to_pose_pair(data.val.batch(range(num_pairs)), data.heatmaps)
    made = []
    hooks = [
        conv.register_forward_hook(lambda module, inputs, output: made.append(output.flatten(2).float()))
        for block in module.generator.blocks
        for conv in (block.at_module.to_queries, block.at_module.to_keys)
    ]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        module.eval()(pair)
    for hook in hooks:
        hook.remove()
    found = {}
    for k, (queries, keys) in enumerate(zip(made[::2], made[1::2], strict=True), start=1):
        smallest, largest = (queries.mT @ keys).aminmax()
        found |= {f"logits/block_{k}_min": float(smallest), f"logits/block_{k}_max": float(largest)}
    return found


def logits_of(row):
    return {name: value for name, value in row.items() if name.startswith("logits/")}


def test_each_validation_logs_the_logits_of_its_first_batch(tiny_config):
    cfg = tiny_config("data.batch_size=1", "schedule.learning_rate=0.01")
    module, rows = trained(cfg)
    assert [row["step"] for row in rows if logits_of(row)] == [2, 4]
    assert all(bool(logits_of(row)) == ("val/ssim" in row) for row in rows)
    expected = ranges_by_hand(cfg, module, 1)
    assert len(expected) == 4
    assert logits_of(rows[-1]) == pytest.approx(expected, rel=1e-5)
    assert ranges_by_hand(cfg, module, 2) != pytest.approx(expected, rel=1e-3)


def test_the_logits_are_of_the_precision_of_training(tiny_config):
    cfg = tiny_config("trainer.precision=bf16-mixed")
    module, rows = trained(cfg)
    found = logits_of(rows[-1])
    assert found == pytest.approx(ranges_by_hand(cfg, module, 2, torch.bfloat16), rel=1e-5)
    assert found != pytest.approx(ranges_by_hand(cfg, module, 2), rel=1e-5)


def test_the_logits_of_two_processes_are_those_of_both(tiny_config):
    """Each has a pair in its first batch."""
    cfg = tiny_config("trainer=ddp_cpu", "+trainer.strategy.start_method=fork", "generator.dropout=0")
    module, rows = trained(cfg)
    both, alone = ranges_by_hand(cfg, module, 2), ranges_by_hand(cfg, module, 1)
    assert logits_of(rows[-1]) == pytest.approx(both, rel=1e-5)
    assert both != pytest.approx(alone, rel=1e-3)


@pytest.mark.parametrize("ablation", ["no_at_module", "patn"])
def test_a_generator_without_at_modules_has_neither_sigma_nor_logits(tiny_config, ablation):
    _, rows = trained(tiny_config(f"ablation={ablation}"))
    assert any("val/ssim" in row for row in rows)
    assert not any(name.startswith(("sigma/", "logits/")) for row in rows for name in row)


def test_the_throughput_excludes_validations(clock, logged, module, trainer):
    callback = Monitor()
    callback.on_train_start(trainer, module)
    clock.seconds, module.iteration = 102.0, 5
    callback.on_train_batch_end(trainer, module)
    assert logged == {}
    clock.seconds, module.iteration = 104.0, 10
    callback.on_train_batch_end(trainer, module)
    assert logged["throughput/iterations_per_second"] == 10 / 4
    # Six iterations in three seconds, a validation of a minute, four iterations in one second.
    clock.seconds, module.iteration = 167.0, 16
    callback.on_validation_end(trainer, module)
    clock.seconds, module.iteration = 168.0, 20
    callback.on_train_batch_end(trainer, module)
    assert logged["throughput/iterations_per_second"] == 4 / 1
    assert logged["step"] == 20


def test_no_throughput_is_logged_right_after_a_validation(clock, logged, module, trainer):
    module.iteration, trainer.should_stop = 7, True
    callback = Monitor()
    callback.on_validation_end(trainer, module)
    callback.on_train_batch_end(trainer, module)
    assert logged == {"step": 7}


@pytest.mark.parametrize(
    ("every", "iteration", "stops", "expected"),
    [(10, 10, False, True), (10, 9, False, False), (10, 9, True, True), (0, 10, True, False)],
)
def test_is_logged(trainer, every, iteration, stops, expected):
    trainer.log_every_n_steps, trainer.should_stop = every, stops
    assert is_logged(trainer, iteration) is expected


def test_memory_is_in_gib_and_only_of_a_gpu(monkeypatch):
    assert gpu_memory(torch.device("cpu")) == {}
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 2**30)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3 * 2**30)
    assert gpu_memory(torch.device("cuda")) == {"memory/allocated_gib": 1.0, "memory/peak_gib": 3.0}
