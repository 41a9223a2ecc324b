"""The commands as a user calls them, in subprocesses."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from commands import call, train
from twostream.cli import find_spec
from twostream.cli.jobs import quote_numbered_options, variant_name
from twostream.cli.train import main, run


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], "full"),
        (["ablation=full", "seed=3", "scale=small", "data=synthetic", "trainer=cpu", "logger=wandb"], "full"),
        (["generator/blocks=5"], "full+generator.blocks-5"),
        (["generator/blocks='5'", "trainer.devices=2"], "full+generator.blocks-5"),
        (["trainer=cpu", "trainer.precision=32-true"], "full+trainer.precision-32-true"),
        (["loss.l1_weight=1", "data.batch_size=4"], "full+data.batch_size-4+loss.l1_weight-1"),
        (["data.batch_size=4", "loss.l1_weight=1"], "full+data.batch_size-4+loss.l1_weight-1"),
        (["data.image_size=[64,32]"], "full+data.image_size-64.32"),
        (["data/augmentation=flip"], "full+data.augmentation-flip"),
        (["resume=never", "deterministic=true", "data.cache=none", "data.num_workers=2", "trainer=ddp"], "full"),
        (["hparams_search=optuna", "loss.l1_weight=7"], "full+loss.l1_weight-7"),
        (["sweep=ablations", "ablation=blocks_5"], "full"),
        (["weights.folder=w", "weights.lpips=w/a.pth", "pose_estimator@scoring.pose_estimator=keypoint_rcnn"], "full"),
        (["weights.download=false", "weights.vgg19=w/vgg19.pth"], "full+weights.vgg19-w.vgg19.pth"),
    ],
)
def test_variant_name(overrides, expected):
    assert variant_name("full", overrides) == expected


def test_a_long_name_is_truncated_and_stays_unique():
    names = {variant_name("full", [f"data.root={'x' * 300}{i}"]) for i in range(3)}
    assert len(names) == 3
    assert {len(name) for name in names} == {200}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("generator/blocks=5", "generator/blocks='5'"),
        ("generator/blocks=5,13", "generator/blocks='5','13'"),
        ("generator.num_blocks=5", "generator.num_blocks=5"),
        ("seed=0,1", "seed=0,1"),
        ("generator/at_module=on,off", "generator/at_module=on,off"),
    ],
)
def test_numbered_options_are_quoted(given, expected):
    assert quote_numbered_options([given]) == [expected]


@pytest.mark.parametrize(
    ("option", "package"),
    [("hydra/launcher=joblib", "joblib"), ("hydra/launcher=slurm", "submitit"), ("hparams_search=optuna", "optuna")],
)
def test_an_option_whose_package_is_missing_names_the_extra(monkeypatch, caplog, option, package):
    monkeypatch.setattr(sys, "argv", ["twostream-train", "-m", option])
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SystemExit):
        main()
    assert caplog.messages == [f"ImportError: {option} needs {package}: pip install 'twostream[sweep]'"]


@pytest.mark.parametrize("override", ["variant=../../../x", "data.name=../../x", "seed=../x", "variant=.."])
def test_a_path_is_no_name_of_a_folder(tmp_path, monkeypatch, override):
    key, value = override.split("=")
    monkeypatch.setattr(sys, "argv", ["twostream-train", override])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=f"^{key}: expected the name of a folder, without /, got '{value}'$"):
        run()
    assert list(tmp_path.iterdir()) == []


def test_an_invalid_config_is_refused_in_one_line(tmp_path, tiny):
    code, output = train(tmp_path, *tiny, "variant=x", "data.image_size=[30,16]")
    assert code == 1
    assert "data.image_size: expected height and width divisible by 4, got 30x16" in output
    assert "Traceback" not in output


def test_tables_without_runs_list_what_is_missing(tmp_path):
    specs = sorted(str(path) for path in Path(__file__).parents[2].glob("experiments/table[345]_*.yaml"))
    done = call(
        "table",
        tmp_path,
        "runs=runs/synthetic/smoke",
        "seeds=[0,1]",
        f"specs=[{','.join(specs)}]",
        PYTHONIOENCODING="ascii",
    )
    assert done.stdout.count("Full table: ") == 3
    assert "synthetic/smoke/full/seed1: not run" in done.stdout
    assert (tmp_path / "runs/synthetic/smoke/tables/table3_at_module.csv").is_file()
    assert "?" in done.stdout, "a character that ASCII does not have"
    assert done.returncode == 0


def test_default_specs_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_spec("experiments/table5_blocks.yaml").is_file()
    own = tmp_path / "experiments/table5_blocks.yaml"
    own.parent.mkdir()
    own.touch()
    assert find_spec("experiments/table5_blocks.yaml").resolve() == own
    assert find_spec("x.yaml") == Path("x.yaml")


@pytest.mark.slow
def test_a_sweep_continues_after_a_failure_and_skips_finished_runs(tmp_path, tiny):
    sweep = ["-m", *tiny, "variant=rate${generator.dropout}"]
    runs = tmp_path / "runs/synthetic/smoke"
    code, output = train(tmp_path, *sweep, "generator.dropout=2,0.5")
    assert code == 1
    failed = json.loads((runs / "rate2/seed0/run.json").read_text())
    assert failed["state"] == "failed"
    assert "dropout probability has to be between 0 and 1" in failed["reason"]
    assert (runs / "rate0.5/seed0/metrics.json").is_file(), output
    code, output = train(tmp_path, *sweep, "generator.dropout=0.5,0.25")
    assert code == 0, output
    assert (runs / "rate0.25/seed0/metrics.json").is_file()
    code, output = train(tmp_path, *sweep, "generator.dropout=0.5,0.25")
    assert code == 0
    assert output.count("is finished") == 2
    assert "iteration 4/4" not in output


@pytest.mark.slow
def test_wandb_logs_offline_in_addition_to_the_csv(tmp_path, tiny):
    code, output = train(tmp_path, *tiny, "variant=full", "logger=wandb")
    assert code == 0, output
    run_dir = tmp_path / "runs/synthetic/smoke/full/seed0"
    assert list(run_dir.glob("wandb/offline-run-*/run-*.wandb"))
    assert (run_dir / "logs/metrics.csv").is_file()


@pytest.mark.parametrize("name", ["file", "odd${e}"])
def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, monkeypatch, name):
    folder = tmp_path / name
    monkeypatch.setattr(sys, "argv", ["twostream-train"])
    if name == "file":
        (tmp_path / "runs").touch()
        folder = tmp_path
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit, match=r"Not a directory: 'runs|without \${, which Hydra") as exited:
        run()
    assert "\n" not in str(exited.value)


def test_a_full_disk_is_one_line_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["twostream-train", "-m"])
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=5))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"^runs: expected at least 1,000,000 bytes of space on its disk, got 5$"):
        run()
    assert [path.name for path in tmp_path.rglob("*")] == ["runs"]
