"""Targets of the Makefile that decide something."""

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
