"""Targets of the Makefile that decide something."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("said", "status", "printed", "expected_status"),
    [
        ("No known vulnerabilities found", 0, "No known vulnerabilities found\n", 0),
        ("Found 1 known vulnerability in 1 package", 1, "Found 1 known vulnerability in 1 package\n", 2),
        ("Traceback\nNo route to host", 1, "pip-audit: skipped: No route to host\n", 0),
    ],
)
def test_pip_audit_fails_on_a_vulnerability_and_not_without_a_network(tmp_path, said, status, printed, expected_status):
    script = tmp_path / "pip-audit"
    script.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit {status}\n")
    script.chmod(0o755)
    command = ["make", "--silent", "--old-file=install", "pip-audit", f"BIN={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == (printed, expected_status), done.stderr


def test_paper_runs_its_steps_and_measures_only_what_is_missing(tmp_path):
    for name in ("requirements.lock", "pyproject.toml", ".installed", "runs/benchmark/cuda/inference.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    shutil.copy(ROOT / "Makefile", tmp_path)
    for command in ("benchmark", "train", "table", "status", "report"):
        script = tmp_path / f"twostream-{command}"
        script.write_text('#!/bin/sh\necho "$(basename "$0") $*"\n')
        script.chmod(0o755)
    knobs = ["DATA=market1501", "ITERATIONS=9000", "OPTIONS=weights.vgg19=vgg.pth", "LAUNCHER=one"]
    command = ["make", "--silent", "--no-print-directory", "paper", f"BIN={tmp_path}", *knobs]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    parts = ["training", "networks", "scaling", "curves", "loader", "startup"]
    assert lines[:6] == [f"twostream-benchmark parts=[{part}] device=cuda" for part in parts]
    assert lines[6] == (
        "twostream-train -m logger=csv data=market1501 scale=paper seed=0 performance=gpu "
        "schedule.constant_iterations=6000 schedule.decay_iterations=3000 ablation=full,no_at_module,patn "
        "variant=${ablation} weights.vgg19=vgg.pth"
    )
    assert lines[7].startswith("twostream-table runs=runs/market1501/paper ")
    assert lines[8] == "twostream-train -m logger=csv data=synthetic scale=small seed=0 sweep=ablations"
