"""`twostream` and its commands; the package outside a checkout."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from twostream.cli import main

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


@pytest.mark.slow
def test_the_installed_package_generates_without_a_checkout(people_parent, people_folder, tmp_path):
    from tiny_run import compose_config, overrides_of_tiny_run
    from twostream.cli.train import train_and_evaluate
    from twostream.export.package import export_run

    run, source = tmp_path / "run", tmp_path / "source"
    train_and_evaluate(compose_config("train", *overrides_of_tiny_run(people_parent, run), "evaluate=false"), run)
    export_run(run, tmp_path / "package", onnx=False)
    for name in ("src", "conf"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    uv = [str(Path(sys.executable).with_name("uv")), "--quiet", "--offline"]
    subprocess.run([*uv, "build", "--wheel", "--no-build-isolation", "--out-dir", tmp_path, source], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    subprocess.run([*uv, "pip", "install", "--no-deps", "--target", installed, wheel], check=True)
    shutil.rmtree(source)

    def call(code, *arguments):
        # Only the dependencies come from this environment.
        environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert call("import twostream; print(twostream.__file__)").startswith(str(installed))
    image = next((people_folder / "test").iterdir())
    asked = ["model=package", f"source={image}", f"joints={people_folder / 'annotation-test.csv'}", "pose=front"]
    assert call("from twostream.cli.main import main; main()", "generate", *asked) == "1 images in generated\n"
    assert (tmp_path / f"generated/{image.stem}_2_front.png").exists()
