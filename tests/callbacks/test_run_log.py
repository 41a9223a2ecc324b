import math

import pytest
import torch

from tiny_run import fit, read_curves
from twostream.callbacks.run_log import RunLog, resumed
from twostream.files import sha256_of
from twostream.runs import Progress, read_provenance, read_run, update_run

AT_RESUME = dict.fromkeys(("processes", "commit", "dirty", "versions", "hardware", "precision"), 0)
PROVENANCE = {"data_hash": "a", "seed": 0, **AT_RESUME, "resumed": []}


@pytest.fixture
def callback(tmp_path, monkeypatch):
    monkeypatch.setattr(RunLog, "_provenance", lambda *_: {**PROVENANCE})
    return RunLog(tmp_path, "smoke", "full", 0, every_n_seconds=5)


def progress_of(run_dir):
    return read_run(run_dir).progress


def test_progress_is_written_at_the_start_and_then_every_n_seconds(tmp_path, clock, trainer, module, callback):
    callback.on_train_start(trainer, module)
    assert progress_of(tmp_path) == Progress(0, 90, None, None, progress_of(tmp_path).written)
    clock.seconds, module.iteration = 104.9, 7
    callback.on_train_batch_end(trainer)
    assert progress_of(tmp_path).iteration == 0
    clock.seconds, module.iteration = 105.0, 10
    callback.on_train_batch_end(trainer)
    assert progress_of(tmp_path).iteration == 10
    assert progress_of(tmp_path).seconds_per_iteration == 0.5
    clock.seconds, module.iteration = 105.1, 11
    callback.on_train_end(trainer, module)
    assert progress_of(tmp_path).iteration == 11
    module.iteration = 12
    callback.on_exception(trainer, module, ValueError())
    assert progress_of(tmp_path).iteration == 12


def test_the_speed_is_that_of_the_last_writes(tmp_path, clock, trainer, module, callback):
    callback.every_n_seconds = 0
    callback.on_train_start(trainer, module)
    for iteration in range(1, 101):
        clock.seconds += 9.0 if iteration <= 50 else 0.25
        module.iteration = iteration
        callback.on_train_batch_end(trainer)
    assert progress_of(tmp_path).seconds_per_iteration == 0.25


def test_a_resumed_run_keeps_the_last_finite_validation(tmp_path, clock, trainer, module, callback):
    callback.on_train_start(trainer, module)
    module.iteration, trainer.callback_metrics = 45, {"val/ssim": torch.tensor(0.25)}
    callback.on_validation_end(trainer, module)
    assert progress_of(tmp_path).val_ssim == 0.25
    for iteration, expected in ((45, 0.25), (0, None)):
        module.iteration = iteration
        callback.on_train_start(trainer, module)
        assert progress_of(tmp_path).val_ssim == expected
    for value in (math.nan, math.inf):
        trainer.callback_metrics = {"val/ssim": torch.tensor(value)}
        callback.on_validation_end(trainer, module)
        assert progress_of(tmp_path).val_ssim is None


def test_an_exception_is_not_hidden(tmp_path, clock, trainer, module, callback):
    callback.on_exception(trainer, module, ValueError())
    assert not (tmp_path / "run.json").exists()
    callback.on_train_start(trainer, module)
    (tmp_path / "run.json").write_text("{")
    callback.on_exception(trainer, module, ValueError())


def test_only_the_first_process_writes(tmp_path, clock, trainer, module, callback):
    trainer.is_global_zero, callback.every_n_seconds = False, 0
    callback.on_train_start(trainer, module)
    callback.on_train_batch_end(trainer)
    assert not (tmp_path / "run.json").exists()


def test_a_resumed_run_adds_to_its_provenance_and_refuses_other_data():
    now = {**PROVENANCE, "commit": 1, "seed": 1}
    twice = resumed(resumed(PROVENANCE, now, 7), now, 9)
    entry = {**AT_RESUME, "commit": 1}
    assert twice == {**PROVENANCE, "resumed": [{"iteration": 7, **entry}, {"iteration": 9, **entry}]}
    with pytest.raises(ValueError, match="started on data with hash a and can't be resumed on data with hash b"):
        resumed(PROVENANCE, {**now, "data_hash": "b"}, 7)


def test_the_provenance_names_an_own_file_of_the_perceptual_loss(tiny_config, tmp_path):
    shapes = {"features.0.weight": (64, 3, 3, 3), "features.0.bias": (64,)}
    shapes |= {"features.2.weight": (64, 64, 3, 3), "features.2.bias": (64,)}
    path = tmp_path / "mine.pth"
    torch.save({name: torch.zeros(shape) for name, shape in shapes.items()}, path)
    fit(tiny_config("loss/perceptual=vgg19", f"weights.vgg19={path}"))
    note = f"perceptual loss: VGG-19 conv1_2, own file {sha256_of(path)[:8]}"
    assert read_provenance(tmp_path / "run")["notes"][0] == note
    fit(tiny_config("loss.perceptual_weight=0"))
    (settings,) = read_provenance(tmp_path / "run")["notes"]
    assert "loss.perceptual_weight 0 (17)" in settings


def test_training_writes_all_iterations_the_logged_ssim_and_the_provenance(tiny_config, tmp_path):
    run_dir = tmp_path / "run"
    update_run(run_dir, reason="kept")
    fit(tiny_config())
    progress = progress_of(run_dir)
    assert (progress.iteration, progress.iterations) == (4, 4)
    assert progress.seconds_per_iteration > 0
    logged = [row["val/ssim"] for row in read_curves(run_dir) if "val/ssim" in row]
    assert progress.val_ssim == pytest.approx(logged[-1], rel=1e-5)
    provenance = read_provenance(run_dir)
    assert (run_dir / "changes.diff").is_file() == provenance["dirty"]
    assert (read_run(run_dir).state, read_run(run_dir).reason) == ("running", "kept")
    assert [path.name for path in (run_dir / "logs").iterdir()] == ["metrics.csv"]
