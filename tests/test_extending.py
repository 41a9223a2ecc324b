"""The examples of docs/extending.md, in a copy of the package: they train, are scored and stand in a table."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tiny_run import overrides_of_tiny_run

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/extending.md").read_text()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package with the files and the changes of the page."""
    for folder in ("src", "conf"):
        shutil.copytree(ROOT / folder, tmp_path / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "experiments").mkdir()
    shutil.copy(ROOT / "experiments/_base.yaml", tmp_path / "experiments")
    files = re.findall(r"^```(?:python|yaml)\n# (\S+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert len(files) == 7
    for name, text in files:
        assert not (tmp_path / name).exists()
        (tmp_path / name).write_text(text)
    (changes,) = re.findall(r"^```diff\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    for name, hunks in re.findall(r"^\+\+\+ b/(\S+)\n(.*?)(?=^--- |\Z)", changes, re.DOTALL | re.MULTILINE):
        path = tmp_path / name
        for hunk in hunks.split("@@\n")[1:]:
            before, after = ("".join(re.findall(rf"^[ {sign}](.*\n)", hunk, re.MULTILINE)) for sign in "-+")
            assert path.read_text().count(before) == 1
            path.write_text(path.read_text().replace(before, after))
    return tmp_path


def test_the_networks_of_the_page_are_built_in_other_code():
    (code,) = re.findall(r"^```python\n(import torch\n.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    names: dict[str, torch.Tensor] = {}
    with torch.device("meta"):
        exec(code, names)
    assert names["appearance"].shape == (2, 256, 32, 16)
    assert names["generated"].shape == (2, 3, 128, 64)


@pytest.mark.slow
def test_the_examples_of_the_page_train_and_stand_in_a_table(copy, people_parent):
    def call(command: str, *overrides: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(copy / "src")}
        start = "from twostream.cli.main import main; main()"
        arguments = [sys.executable, "-c", start, command, *overrides]
        done = subprocess.run(arguments, cwd=copy, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    tiny = [*overrides_of_tiny_run(people_parent, copy / "run")[:-2], "variant=${ablation}"]
    call("train", "-m", "ablation=full,scaled", *tiny, "scoring.metrics=[ssim,l1]")
    call("train", "generator=one_stream", *tiny[:-1], "variant=one_stream", "evaluate=false")
    runs = copy / "runs/synthetic/smoke"
    scores = json.loads((runs / "scaled/seed0/metrics.json").read_text())["values"]
    assert [(score["metric"], score["protocol"]) for score in scores if score["metric"] == "l1"] == [("l1", "standard")]
    assert (
        json.loads((runs / "one_stream/seed0/config.json").read_text())["generator"]["option"] == "OneStreamGenerator"
    )
    call("export", f"run={runs / 'one_stream/seed0'}", "out=package", "onnx=false")
    assert (copy / "package/model.safetensors").is_file()
    call("table", f"runs={runs}", "specs=[experiments/table_scaled.yaml]")
    table = (runs / "tables/table_scaled.md").read_text()
    assert re.search(r"^\| scaled logits +\| +0\.\d{3}.*\| +1/1 \|$", table, re.MULTILINE), table
