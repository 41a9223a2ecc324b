"""An interrupted run ends bit for bit as an uninterrupted one."""

import copy
import functools
import math
import os
import re
import resource
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer

from tiny_run import assert_same_leaves, compose_config, overrides_of_tiny_run, read_curves, train_tiny
from twostream import files
from twostream.build import build_module, build_trainer
from twostream.callbacks.averaging import KEY
from twostream.callbacks.checkpoints import Checkpoints
from twostream.callbacks.preemption import Preemption
from twostream.cli.train import train_and_evaluate
from twostream.module import TwoStreamModule
from twostream.resume import ResumePoint, find_checkpoint
from twostream.runs import read_provenance, read_run, update_run
from twostream.signals import Interrupted

# All random draws are on: dropout, pools, augmentation, pairs with replacement.
SETTINGS = [
    "schedule.constant_iterations=8",
    "schedule.decay_iterations=4",
    "trainer.val_check_interval=4",
    "callbacks.checkpoints.every_n_iterations=3",
    "data/augmentation=flip",
    "data.pairs_per_epoch=5",
    "loss.pool_size=3",
    "averaging=ema",
    "evaluate=false",
]
NUM_ITERATIONS = 12


class Killed(BaseException):
    """Like SIGKILL: only the files are left."""


def config(tiny_config, run_dir: Path, *overrides: str):
    return tiny_config(*SETTINGS, *overrides, f"run_dir={run_dir}")


@pytest.fixture(scope="module")
def uninterrupted(people_parent, tmp_path_factory) -> Path:
    run_dir = tmp_path_factory.mktemp("uninterrupted")
    train_tiny(people_parent, run_dir, *SETTINGS)
    return run_dir


@contextmanager
def acting_at(iteration: int, action: Callable[[], object]) -> Iterator[None]:
    """Trainings have an action in the middle of one iteration."""
    step = TwoStreamModule.training_step

    def step_with_action(self, pair, batch_idx):
        if self.iteration + 1 == iteration:
            action()
        return step(self, pair, batch_idx)

    with pytest.MonkeyPatch.context() as context:
        context.setattr(TwoStreamModule, "training_step", step_with_action)
        yield


@contextmanager
def killed_at(iteration: int) -> Iterator[None]:
    def die():
        raise Killed

    with pytest.raises(Killed), acting_at(iteration, die):
        yield


@pytest.fixture(scope="module")
def run_killed_at_7(people_parent, tmp_path_factory) -> Path:
    run_dir = tmp_path_factory.mktemp("killed")
    with killed_at(7):
        train_tiny(people_parent, run_dir, *SETTINGS)
    return run_dir


@pytest.fixture
def killed(run_killed_at_7, tiny_config, tmp_path):
    """The config of a run that was killed in iteration 7, with checkpoints of iterations 3 and 6."""
    return config(tiny_config, shutil.copytree(run_killed_at_7, tmp_path / "run"))


def iteration_of(run_dir: Path) -> int:
    return torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)["iteration"]


def assert_same_end(run_dir: Path, other: Path):
    """The last checkpoint except Lightning's counts of restarts, and the curves."""
    one, two = (torch.load(d / "checkpoints" / "last.ckpt", weights_only=True) for d in (run_dir, other))
    assert one["iteration"] == NUM_ITERATIONS
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "processes", "best", KEY, "hyper_parameters"):
        # Python's own draws are those of beartype, which checks random items.
        assert_same_leaves(one[part], two[part], ignored=".python.")
    assert curves_of(run_dir) == curves_of(other)


def curves_of(run_dir: Path) -> list[dict[str, float]]:
    return [
        {name: value for name, value in row.items() if not name.startswith("throughput/")}
        for row in read_curves(run_dir)
    ]


@pytest.mark.parametrize("iterations", [(1,), (4,), (7, 8, 12)])
def test_a_run_killed_at_any_iteration_ends_as_one_never_killed(tiny_config, tmp_path, uninterrupted, iterations):
    cfg = config(tiny_config, tmp_path / "run")
    for iteration in iterations:
        with killed_at(iteration):
            train_and_evaluate(cfg, tmp_path / "run")
        assert read_run(tmp_path / "run").state == "failed"
    train_and_evaluate(cfg, tmp_path / "run")
    assert_same_end(uninterrupted, tmp_path / "run")


@pytest.mark.parametrize(
    ("number", "name", "iteration"),
    [(signal.SIGTERM, "SIGTERM", 8), (signal.SIGINT, "Ctrl-C", 8), (signal.SIGUSR1, "SIGUSR1", NUM_ITERATIONS)],
)
def test_a_signal_saves_a_checkpoint_and_stops(tiny_config, tmp_path, uninterrupted, number, name, iteration):
    if signal.getsignal(number) is signal.SIG_IGN:  # as in a shell's background
        signal.signal(number, signal.default_int_handler)
    cfg = config(tiny_config, tmp_path / "run")
    handler = signal.getsignal(number)
    interrupted = pytest.raises(Interrupted, match=f"{name} at iteration {iteration}")
    with interrupted, acting_at(iteration, lambda: os.kill(os.getpid(), number)):
        train_and_evaluate(cfg, tmp_path / "run")
    assert signal.getsignal(number) == handler
    run = read_run(tmp_path / "run")
    assert (run.state, run.reason) == ("stopped", f"{name} at iteration {iteration}")
    assert run.progress.iteration == iteration_of(tmp_path / "run") == iteration
    train_and_evaluate(cfg, tmp_path / "run")
    assert_same_end(uninterrupted, tmp_path / "run")


def test_a_signal_before_the_first_iteration_of_a_resumed_run_changes_nothing(
    killed, tmp_path, uninterrupted, monkeypatch
):
    on_train_start = Preemption.on_train_start

    def start_and_signal(self, trainer, pl_module):
        on_train_start(self, trainer, pl_module)
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as context:
        context.setattr(Preemption, "on_train_start", start_and_signal)
        with pytest.raises(Interrupted, match="SIGTERM at iteration 6"):
            train_and_evaluate(killed, tmp_path / "run")
    train_and_evaluate(killed, tmp_path / "run")
    assert_same_end(uninterrupted, tmp_path / "run")


@pytest.mark.parametrize(
    ("replace", "message"),
    [
        (lambda last, content: last.write_bytes(content[:-1000]), "{}: expected an intact checkpoint"),
        (lambda last, _: os.mkfifo(last), "{}: expected a regular file, got a pipe"),
        (lambda last, _: last.symlink_to("nowhere"), "checkpoint not found: {}"),
    ],
    ids=["damaged", "pipe", "lost link"],
)
def test_an_unusable_checkpoint_is_replaced_by_the_previous_one(
    killed, tmp_path, uninterrupted, caplog, replace, message
):
    """What is no regular file is neither waited for nor taken for no checkpoint."""
    folder = tmp_path / "run" / "checkpoints"
    last, previous = folder / "last.ckpt", folder / "previous.ckpt"
    content = last.read_bytes()
    last.unlink()
    replace(last, content)
    kept = previous.rename(folder / "kept.ckpt")
    with pytest.raises(ValueError, match=f"^{message.format(last)}.*\nno usable checkpoint"):
        train_and_evaluate(killed, tmp_path / "run")
    kept.rename(previous)
    train_and_evaluate(killed, tmp_path / "run")
    assert message.format(last) in caplog.text
    assert_same_end(uninterrupted, tmp_path / "run")


@pytest.fixture(scope="module")
def finished(people_parent, tmp_path_factory, uninterrupted):
    """Module and trainer of the finished run, and its last checkpoint."""
    cfg = compose_config("train", *overrides_of_tiny_run(people_parent, tmp_path_factory.mktemp("run")), *SETTINGS)
    checkpoint = torch.load(uninterrupted / "checkpoints" / "last.ckpt", weights_only=True)
    return build_module(cfg), build_trainer(cfg), checkpoint


@pytest.fixture
def find(finished, tmp_path, uninterrupted):
    """Finds the checkpoint from which a copy of the finished run resumes, after a change of the last one."""
    module, trainer, checkpoint = finished
    run_dir = shutil.copytree(uninterrupted, tmp_path / "run")
    last = run_dir / "checkpoints" / "last.ckpt"

    def find(change=lambda checkpoint: None, resume="auto"):
        changed = copy.deepcopy(checkpoint)
        change(changed)
        last.unlink()
        torch.save(changed, last)
        return find_checkpoint(run_dir, resume, module, trainer)

    return find


def at(path: str, value):
    """Return a change of a checkpoint: another value at a path, or none if it is REMOVED."""

    def change(checkpoint):
        *folders, name = (int(key) if key.lstrip("-").isdigit() else key for key in path.split("/"))
        inner = checkpoint
        for key in folders:
            inner = inner[key]
        if value is REMOVED:
            del inner[name]
        elif callable(value):
            inner[name] = value(inner[name])
        else:
            inner[name] = value

    return change


REMOVED = object()
SIGMA = "generator.blocks.0.at_module.sigma"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("hyper_parameters/seed", 7, "checkpoint of a different config: seed: 7 on disk, 0 requested"),
        ("hyper_parameters", [], "hyper_parameters: expected averaging, data,"),
        ("hyper_parameters/seed", torch.zeros(2), "hyper_parameters.seed: expected a number"),
        ("state_dict", None, "state_dict: expected tensors by name, got NoneType"),
        ("state_dict", {}, "weights of different networks: 9[0-9] differ: generator"),
        (f"state_dict/{SIGMA}", torch.tensor(math.nan), rf"{re.escape(SIGMA)}: expected finite values, got 1 that"),
        ("iteration", -5, "iteration: expected a whole number of at least 0, got -5"),
        ("iteration", 13, "iteration: expected at most 12, got 13"),
        ("global_step", math.nan, "global_step: expected a whole number of at least 0, got nan"),
        ("epoch", True, "epoch: expected a whole number of at least 0, got True"),
        ("pytorch-lightning_version", "x", "pytorch-lightning_version: expected a version, got 'x'"),
        ("best", "x", "best: expected a finite number, got 'x'"),
        ("callbacks", None, "callbacks: expected a dict, got NoneType"),
        ("loops", None, "loops: expected a dict, got NoneType"),
        ("loops", {}, "loops: expected the key 'fit_loop'"),
        ("loops/fit_loop/epoch_progress/total/ready", None, "loops.fit_loop.epoch_progress.total.ready: expected a"),
        ("loops/fit_loop/state_dict/combined_loader", 5, "loops.fit_loop: expected the state of one loader, got 5"),
        ("loops/fit_loop/epoch_loop.batch_progress/total/completed", 3, "loops: expected 12 iterations as in"),
        ("optimizer_states", REMOVED, "expected a checkpoint to resume from, it lacks optimizer_states"),
        ("optimizer_states", lambda states: states[:2], "optimizer_states: expected a list of 3, got 2"),
        ("optimizer_states/0/state", None, r"optimizer_states\[0\].state: expected a dict, got NoneType"),
        (
            "optimizer_states/0/state/0/exp_avg",
            torch.zeros(2),
            r"exp_avg: expected float32 of shape \(4, 21, 7, 7\), got",
        ),
        (
            "optimizer_states/1/state/0/exp_avg_sq",
            lambda old: -1 - old,
            "expected a step of 0 to 12 and squares of at least 0",
        ),
        ("optimizer_states/1/state/0/step", lambda old: old * 1e30, "expected a step of 0 to 12 and squares of"),
        ("optimizer_states/0/state", {}, r"optimizer_states\[0\].state: expected those of the generator's weights"),
        ("optimizer_states/0/param_groups/0/lr", 123, "param_groups: lr: expected .*, got 123"),
        ("optimizer_states/1/state/99", {}, "state: expected 0 to 17, got 99"),
        ("optimizer_states/0/param_groups", [], "param_groups: expected a list of 1, got 0"),
        ("optimizer_states/0/param_groups/0/betas", (0.9, 0.9), r"betas: expected \(0.5, 0.999\), got \(0.9, 0.9\)"),
        ("optimizer_states/0/param_groups/0/params/0", 1, "param_groups: params: expected"),
        ("lr_schedulers", [], "lr_schedulers: expected a list of 3, got 0"),
        ("lr_schedulers/1/last_epoch", 3, r"lr_schedulers\[1\]: expected iteration 12, got 3"),
        ("lr_schedulers/0/_last_lr/0", math.nan, r"_last_lr\[0\]: expected a finite number, got nan"),
        ("processes", [], "processes: expected a list of at least 1, got 0"),
        ("processes/0", None, r"processes\[0\]: expected random states and pools, got"),
        ("processes/0/torch", torch.zeros(3), r"processes\[0\]: expected random states and pools, got"),
        ("processes/0/numpy", ("x",), r"processes\[0\]: expected random states and pools, got"),
        ("processes/0/python", (), r"processes\[0\]: expected random states and pools, got"),
        ("processes/0/pools", {}, r"processes\[0\]: expected random states and pools, got"),
        (
            "processes/0/pools/shape",
            lambda samples: samples[:1] * 100_000,
            r"processes\[0\]: pools: shape: expected at most 3 samples, got 100,000$",
        ),
        ("processes/0/pools/shape/0", (5,), r"pools: expected two images and a pose of shapes .*, got \['int'\]"),
        (
            "processes/0/pools/shape/0",
            lambda sample: tuple(tensor[:, ::2, ::2] for tensor in sample),
            r"of shapes \[\(3, 32, 16\), \(3, 32, 16\), \(18, 32, 16\)\], got \['float32 of shape \(3, 16, 8\)'",
        ),
        (
            "processes/0/pools/shape/0",
            lambda sample: tuple(tensor * math.nan for tensor in sample),
            "pools: expected finite values of a floating type",
        ),
        (KEY, REMOVED, f"{KEY}: expected a state dict, got NoneType"),
        (f"{KEY}/blocks.0.at_module.sigma", torch.tensor(math.inf), "sigma: expected finite values, got 1 that"),
    ],
)
def test_a_wrong_part_of_a_checkpoint_is_named_and_the_previous_one_used(find, caplog, path, value, message):
    assert find(at(path, value)).path.name == "previous.ckpt"
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert re.search(rf"last\.ckpt: .*{message}", warning)
    assert "\n" not in warning


def test_deeply_nested_values_of_a_checkpoint_are_refused(find, monkeypatch):
    load = torch.load

    def load_nested(path, **options):
        checkpoint = load(path, **options)
        checkpoint["hyper_parameters"]["loss"] = functools.reduce(lambda inner, _: [inner], range(5000), [])
        return checkpoint

    monkeypatch.setattr(torch, "load", load_nested)
    with pytest.raises(ValueError, match="hyper_parameters: expected plain values, got deeply nested ones"):
        find()


def test_a_checkpoint_of_an_earlier_stage_of_training_is_usable(find, tmp_path):
    def forget(checkpoint):
        checkpoint["optimizer_states"][1]["state"] = {}  # a discriminator that starts later
        checkpoint["processes"][0]["pools"]["shape"] = []
        checkpoint["best"] = None

    assert find(forget) == ResumePoint(tmp_path / "run" / "checkpoints" / "last.ckpt", NUM_ITERATIONS)


def test_a_checkpoint_that_can_not_be_used_is_refused_with_the_reason(find, tmp_path):
    folder = tmp_path / "run" / "checkpoints"
    (folder / "previous.ckpt").unlink()
    with pytest.raises(ValueError, match="it lacks loops\nno usable checkpoint; use resume=never to restart from the"):
        find(at("loops", REMOVED))
    (folder / "broken.ckpt").write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match=r"broken\.ckpt: expected an intact checkpoint that torch can load safely"):
        find(resume=str(folder / "broken.ckpt"))
    with pytest.raises(ValueError, match="checkpoint not found: nowhere"):
        find(resume="nowhere")
    os.mkfifo(folder / "pipe.ckpt")
    with pytest.raises(ValueError, match=r"pipe\.ckpt: expected a regular file, got a pipe$"):
        find(resume=str(folder / "pipe.ckpt"))
    assert find(resume="never") is None


def test_another_runs_checkpoint_is_used_until_the_run_has_its_own(find, uninterrupted, tmp_path):
    others, own = uninterrupted / "checkpoints/previous.ckpt", tmp_path / "run/checkpoints"
    assert find(resume=str(others)).path == own / "last.ckpt"
    assert find(resume=str(own / "previous.ckpt")).path == own / "previous.ckpt"


def test_a_run_restarts_without_permission_to_resume(killed, tiny_config, tmp_path, uninterrupted):
    train_and_evaluate(config(tiny_config, tmp_path / "run", "resume=never"), tmp_path / "run")
    assert_same_end(uninterrupted, tmp_path / "run")


def test_a_run_that_is_trained_further_loses_the_values_of_its_earlier_weights(killed, tmp_path):
    (tmp_path / "run/metrics.json").write_text("{}")
    killed.evaluate = False
    train_and_evaluate(killed, tmp_path / "run")
    assert not (tmp_path / "run/metrics.json").exists()


def test_a_run_is_not_resumed_on_different_data(killed, tmp_path):
    provenance = read_provenance(tmp_path / "run")
    update_run(tmp_path / "run", provenance={**provenance, "data_hash": "x"})
    with pytest.raises(ValueError, match="the run was started on data with hash x"):
        train_and_evaluate(killed, tmp_path / "run")
    assert read_provenance(tmp_path / "run")["data_hash"] == "x"


def test_the_best_checkpoint_is_that_of_the_highest_validation_ssim(uninterrupted):
    best = max(read_curves(uninterrupted), key=lambda row: row.get("val/ssim", -1.0))
    checkpoint = torch.load(uninterrupted / "checkpoints" / "best.ckpt", weights_only=True)
    assert checkpoint["iteration"] == best["step"]
    assert checkpoint["best"] == pytest.approx(best["val/ssim"])


def test_a_checkpoint_that_can_not_be_written_leaves_the_previous_one(killed, tmp_path):
    folder = tmp_path / "run" / "checkpoints"
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
        with pytest.raises(OSError, match=r"last\.ckpt: the checkpoint of iteration 9 can't be written, the previous"):
            train_and_evaluate(killed, tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files


def test_a_checkpoint_is_written_beside_its_place_and_reaches_the_disk(tiny_config, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    synced = []
    monkeypatch.setattr(files, "_sync", lambda path: synced.append(path.name))
    with killed_at(4):
        train_and_evaluate(config(tiny_config, tmp_path / "run"), tmp_path / "run")
    folder = tmp_path / "run" / "checkpoints"
    assert [path.name for path in folder.iterdir()] == ["last.ckpt"]
    assert synced.count(f".last.{os.getpid()}.ckpt") == synced.count("checkpoints") == 1


def test_the_number_of_processes_may_change(killed, tmp_path, caplog):
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(last, weights_only=True)
    last.unlink()
    torch.save({**checkpoint, "processes": checkpoint["processes"] * 2}, last)
    train_and_evaluate(killed, tmp_path / "run")
    assert "The checkpoint was saved by 2 processes and is resumed by 1: random draws will differ" in caplog.text


def test_a_folder_that_can_not_be_written_to_is_named(tiny_config, tmp_path):
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(OSError, match="file/run"):
        train_and_evaluate(config(tiny_config, tmp_path / "file" / "run"), tmp_path / "file" / "run")


def test_a_validation_of_nan_is_not_the_best(tmp_path):
    checkpoints = Checkpoints(tmp_path, 1)
    for value, best in ((math.nan, None), (0.2, 0.2), (math.nan, 0.2), (0.1, 0.2), (0.3, 0.3)):
        trainer = Trainer(logger=False, accelerator="cpu", enable_checkpointing=False, barebones=True)
        trainer._logger_connector._callback_metrics["val/ssim"] = torch.tensor(value)
        checkpoints.on_validation_end(trainer, LightningModule())
        assert checkpoints.best == (None if best is None else pytest.approx(best))
