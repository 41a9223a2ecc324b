"""Training is what it was: the losses of 20 iterations, equal to the stored ones.

`python tests/store_proof.py curves` stores them anew, for a change that is meant to change them.
"""

import csv
import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from tiny_run import compose_config, overrides_of_tiny_run
from twostream.build import build_datamodule, build_module, build_trainer

STORED = Path(__file__).parent / "stored" / "loss_curves.json"
ITERATIONS = 20
# At a rate this low, two ways of computing the same losses stay within 1e-6 of each other; a weight of a loss that is
# wrong by a percent moves them by more than 1e-4.
SETTINGS = [
    f"schedule.constant_iterations={ITERATIONS}",
    "schedule.decay_iterations=0",
    "schedule.learning_rate=3e-5",
    "discriminators.appearance.num_blocks=1",
    "discriminators.shape.num_blocks=1",
    "loss.pool_size=4",
    "trainer.val_check_interval=10",
]
BASELINE = ["performance=baseline"]
PATN = ["generator=patn", "discriminators.appearance.num_blocks=1"]
# What is trained, and how; each with the tolerance of its precision.
CASES = {
    "full": [],
    "no_at_module": ["generator/at_module=off"],
    "both_add": ["generator/target_fusion=add", "generator/source_fusion=add"],
    "patn": ["generator=patn"],
    "least_squares": ["loss/adversarial=least_squares", "loss.pool_size=0", "discriminators=shape"],
    "baseline": BASELINE,
    "dense": [*BASELINE, "generator/at_module=dense"],
    "channels_last": [*BASELINE, "performance.channels_last=true", "generator.dropout=0"],
    "fused_adam": [*BASELINE, "performance.fused_adam=true"],
    "one_pass": [*BASELINE, "performance.one_pass=true"],
    "frozen_discriminators": [*BASELINE, "performance.frozen_discriminators=true"],
    "bfloat16": ["trainer.precision=bf16-mixed"],
    "two_processes": ["trainer=ddp_cpu", "+trainer.strategy.start_method=fork", "data.batch_size=3"],
}
COMPILED = {
    "compiled_nets": ["performance/compiler=nets", "performance.compiler.backend=aot_eager"],
    "compiled_blocks": ["performance/compiler=blocks", "performance.compiler.backend=aot_eager"],
}


def settings_of(case: str) -> list[str]:
    return [*(s for s in SETTINGS if case != "least_squares" or "appearance" not in s), *{**CASES, **COMPILED}[case]]


def read_losses(run_dir: Path) -> list[dict[str, float]]:
    """Training losses, accuracies and validation of every iteration."""
    with (run_dir / "logs" / "metrics.csv").open(newline="") as file:
        rows = [
            {k: float(v) for k, v in row.items() if v and k.startswith(("train/", "val/"))}
            for row in csv.DictReader(file)
        ]
    return [row for row in rows if row]


def losses_of(cfg) -> list[dict[str, float]]:
    torch.manual_seed(0)
    module, trainer = build_module(cfg), build_trainer(cfg)
    for name, parameter in module.named_parameters():
        if name.endswith("sigma"):
            # It starts at 0, where the attention matrix has no part in the losses.
            torch.nn.init.constant_(parameter, 0.5)
    with warnings.catch_warnings():
        # Python 3.12 on forks of processes with threads.
        warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*fork")
        trainer.fit(module, datamodule=build_datamodule(cfg))
    return read_losses(Path(cfg.run_dir))


def check(case: str, now: list[dict[str, float]]):
    before = json.loads(STORED.read_text())[case]
    assert len(now) == len(before) == ITERATIONS + 2
    relative = 5e-3 if case == "bfloat16" else 5e-5
    for row, stored in zip(now, before, strict=True):
        assert row.keys() == stored.keys()
        for name, value in stored.items():
            # An accuracy counts scores over a threshold: a rounding can move one of them to the other side.
            absolute = 2e-3 if name.endswith("_accuracy") else 1e-5
            assert row[name] == pytest.approx(value, rel=relative, abs=absolute), name


@pytest.mark.parametrize("case", CASES)
def test_losses_are_the_stored_ones(tiny_config, case):
    check(case, losses_of(tiny_config(*settings_of(case))))


@pytest.mark.slow
@pytest.mark.parametrize("case", COMPILED)
def test_losses_of_compiled_networks_are_the_stored_ones(tiny_config, case):
    """In a process of its own: torch can't compile the checks of axes that the tests turn on."""
    cfg = tiny_config()
    code = f"from test_loss_curves import train_compiled; train_compiled({case!r}, {cfg.data.root!r}, {cfg.run_dir!r})"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, check=True)
    check(case, read_losses(Path(cfg.run_dir)))


def train_compiled(case: str, people_parent: str, run_dir: str) -> list[dict[str, float]]:
    torch.set_num_threads(1)
    tiny = overrides_of_tiny_run(Path(people_parent), Path(run_dir))
    return losses_of(compose_config("train", *tiny, *settings_of(case)))


def test_the_attention_matrix_acts_on_the_stored_losses():
    """A proof that could not fail would prove nothing."""
    stored = json.loads(STORED.read_text())
    full, without = stored["baseline"][-2], stored["no_at_module"][-2]
    assert abs(full["train/l1"] / without["train/l1"] - 1) > 1e-2
