"""`twostream` and its commands; the package outside a checkout."""

import os
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from twostream.cli import main
from twostream.model_package import DEFAULT_MODEL

ROOT = Path(__file__).parents[2]


def test_all_commands_are_listed(monkeypatch, capsys):
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    names = [name.removeprefix("twostream-") for name in scripts if name != "twostream"]
    assert sorted(names) == sorted(main.COMMANDS)
    assert set(scripts.values()) == {"twostream.cli.main:main"}
    for arguments in ([], ["--help"], ["-h"]):
        monkeypatch.setattr(sys, "argv", ["twostream", *arguments])
        main.main()
        printed = capsys.readouterr().out
        assert all(f"\n  {name} " in printed for name in names)


@pytest.mark.parametrize("words", [["bin/twostream", "export"], ["bin/twostream-export"]])
def test_a_command_gets_its_arguments(monkeypatch, capsys, words):
    monkeypatch.setattr(sys, "argv", [*words, "--cfg", "job", "run=r", "out=o"])
    main.main()
    assert "dtype: float32" in capsys.readouterr().out
    assert sys.argv[0] == "bin/twostream-export"


def test_an_unknown_command_is_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["twostream", "trian"])
    with pytest.raises(SystemExit, match=r"^twostream: expected a command \(train, .*\), got 'trian'$"):
        main.main()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("scoring=null", "ValueError: scoring: expected one of default, got null"),
        ("scoring=[]", "ValueError: scoring: expected one of default, got []"),
        ("~split", "ValueError: split: expected split=VALUE, got ~split, which would remove the option"),
        ("~scoring", "ValueError: scoring: expected scoring=VALUE, got ~scoring, which would remove the option"),
    ],
)
def test_a_removed_option_and_a_missing_group_are_refused(monkeypatch, caplog, override, message):
    monkeypatch.setattr(sys, "argv", ["twostream-evaluate", "run=runs", override])
    with pytest.raises(SystemExit):
        main.main()
    assert [record.getMessage() for record in caplog.records] == [message]


def test_an_option_is_refused_before_pytorch_is_imported(tmp_path):
    script = (
        "import atexit, sys; atexit.register(lambda: print('torch' in sys.modules)); "
        "from twostream.cli.main import run; run('evaluate')"
    )
    command = [sys.executable, "-c", script, "run=runs", "num_sources=two"]
    done = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True, check=False)
    refusal, imported = done.stdout.splitlines()
    assert refusal.startswith("ValueError: num_sources: ")
    assert (imported, done.returncode) == ("False", 1)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The `bin` of a virtual environment with the package's wheel and what it requires without any extra."""
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"
    for name in ("src", "conf"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    uv = [str(Path(sys.executable).with_name("uv")), "--quiet", "--offline"]
    subprocess.run([*uv, "build", "--wheel", "--no-build-isolation", "--out-dir", folder, source], check=True)
    shutil.rmtree(source)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*uv, "venv", "--python", sys.executable, folder / "venv"], check=True)
    python = folder / "venv/bin/python"
    subprocess.run([*uv, "pip", "install", "--no-deps", "--python", python, wheel], check=True)
    (packages,) = folder.glob("venv/lib/*/site-packages")
    for path in required_files("twostream"):
        if not (packages / path.name).exists():
            (packages / path.name).symlink_to(path)
    return python.parent


def required_files(package):
    """The files and folders in this environment of all distributions that a distribution without extras requires."""
    found, todo = {}, [Requirement(package)]
    while todo:
        asked = todo.pop()
        for extra in asked.extras | {""}:
            if (asked.name, extra) in found:
                continue
            of = distribution(asked.name)
            found[asked.name, extra] = of if asked.name != package else None
            required = map(Requirement, of.requires or [])
            todo += [one for one in required if one.marker is None or one.marker.evaluate({"extra": extra})]
    return {
        Path(of.locate_file(file.parts[0])) for of in found.values() if of for file in of.files if file.parts[0] != ".."
    }


SMALL = (
    *("data.source.num_train_identities=5", "data.source.num_test_identities=2", "data.source.views_per_identity=4"),
    *("data.source.num_test_pairs=6", "data.num_val_identities=1", "data.num_val_pairs=3"),
    *("schedule.constant_iterations=2", "schedule.decay_iterations=2", "trainer.val_check_interval=2"),
    *("scoring.evaluator.num_identities=4", "scoring.evaluator.num_val_identities=1"),
    *("scoring.evaluator.views_per_identity=2", "scoring.evaluator.iterations=2", "trainer.log_every_n_steps=1"),
)
RUN = "runs/synthetic/smoke/full/seed0"
GENERATE = ("generate", f"model={DEFAULT_MODEL}", "source=people", "joints=people/joints.csv", "pose=front")
EXTRAS = {
    "wandb": ("train", *SMALL, "variant=b", "logger=wandb"),
    "augment": ("train", *SMALL, "variant=c", "data/augmentation=full"),
    "pose": ("annotate", "images=people", "out=new.csv"),
    "blazepose": ("annotate", "images=people", "out=new.csv", "pose_estimator=blazepose"),
    "demo": ("demo", "open_browser=false"),
    "export": ("export", f"run={RUN}", "out=package"),
    "figures": ("report",),
    "video": (*GENERATE, "video=gif"),
}


@pytest.mark.slow
def test_the_installed_package_runs_without_a_checkout_and_without_extras(installed, tmp_path):
    def call(command, *arguments, status=0):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
        asked = [installed / command, *arguments]
        done = subprocess.run(asked, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    assert call("python", "-c", "import twostream; print(twostream.__file__)").startswith(str(installed.parent))
    assert "\n  train " in call("twostream", "--help")
    call("twostream", "train", *SMALL, "variant=full")
    assert "ssim (patn)" in call("twostream-evaluate", f"run={RUN}")
    assert "file not found; the project's are in experiments/" in call("twostream-table", status=1)
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments", ignore=shutil.ignore_patterns("results"))
    assert "2s-ATN" in call("twostream-table")
    (joints,) = tmp_path.glob("data/synthetic/64x32-4+*/annotation-test.csv")
    (tmp_path / "people").mkdir()
    shutil.copy(next((joints.parent / "test").iterdir()), tmp_path / "people")
    shutil.copy(joints, tmp_path / "people/joints.csv")
    assert call("twostream", *GENERATE) == "1 image in generated\n"
    for extra, command in EXTRAS.items():
        *_, line = call("twostream", *command, status=1).splitlines()
        assert line.endswith(f": pip install 'twostream[{extra}]'"), line
