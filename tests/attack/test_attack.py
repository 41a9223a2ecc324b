"""Damaged inputs are refused in one line that names them, or accepted rightly: `make attack` on a smaller scale."""

import gc
import json
import signal
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf.errors import ConfigKeyError

from attack import kills, run_attack, surroundings
from attack.callables import call_in_json, write_pickle
from attack.mutations import change_bytes, change_json, change_lines, change_yaml
from attack.readers import Reader
from attack.writers import WRITERS, Writer
from twostream.demo.checked_input import BadRequest

SCRIPT = Path(run_attack.__file__)


@pytest.mark.slow
def test_no_damaged_input_hangs_floods_or_passes_unseen(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- inputs -->\nbefore this call\n<!-- /inputs -->\nafter\n")
    command = [sys.executable, str(SCRIPT), "--count", "12", "--seed", "1", "--page", str(page)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    head, *_, total = [line for line in page.read_text().splitlines() if line.startswith("|")]
    counts = dict(zip(head.split("|")[2:-1], map(int, total.split("|")[2:-1]), strict=True))
    assert {name.strip(): count for name, count in counts.items()}["refused"] > 100
    assert page.read_text().startswith("before\n")
    assert page.read_text().endswith("\nafter\n")
    assert "before this call" not in page.read_text()


@pytest.mark.slow
@pytest.mark.skipif(not surroundings.can_mount(), reason="this process may not mount file systems")
@pytest.mark.parametrize("name", ["train", "evaluate", "table", "export", "generate"])
def test_a_full_disk_or_an_odd_folder_damages_nothing(writers_folder, name):
    (writer,) = (one for one in WRITERS if one.name == name)
    counts, defects = surroundings.attack(writer, writers_folder, seed=1)
    assert not defects, defects[0]
    assert counts["full disk"]["refused"] == 1


@pytest.mark.parametrize("change", [change_bytes, change_lines, change_json, change_yaml])
def test_changes_are_repeatable_and_change(change):
    content = b'{"a": [1, 2, 3],\n "b": {"c": "x"}}\n'
    made = [change(content, np.random.default_rng(seed)) for seed in range(50)]
    assert made == [change(content, np.random.default_rng(seed)) for seed in range(50)]
    assert sum(one != content for one in made) > 40


def test_each_outcome_is_recognised(tmp_path, monkeypatch):
    monkeypatch.setattr(run_attack, "SECONDS", 0.1)
    path = tmp_path / "file.txt"
    path.write_bytes(b"right")

    def wait(path):
        while True:
            pass

    def fail(error):
        def read(path):
            raise error

        return read

    for expected, read, is_sealed in (
        ("accepted", lambda path: None, False),
        ("wrong result", lambda path: None, True),
        ("refused", fail(ValueError(f"{path}: expected x, got y")), False),
        ("refused without a name", fail(ValueError("expected x, got y")), False),
        ("traceback", fail(KeyError("x")), False),
        ("flood", fail(ValueError(f"{path}: {'x' * 5000}")), False),
        ("hang", wait, False),
    ):
        reader = Reader("file", b"right", (lambda content, rng: b"damaged",), read, path, is_sealed)
        outcomes, lines = run_attack.attack(reader, 3, 0)
        assert outcomes == Counter({expected: 3})
        assert bool(lines) == (expected in run_attack.BAD)
        assert path.read_bytes() == b"right"


@pytest.mark.parametrize(
    ("content", "error", "expected"),
    [
        (b"data.cache=x", ValueError("data.cache: expected ram, got x"), "refused"),
        (b"data.cache=x", ConfigKeyError("expected ram, got x"), "refused without a name"),
        (b"{}", BadRequest("expected x, got y", 413), "refused"),
        (b"{}", BadRequest("expected x, got y", 500), "refused without a name"),
        (b"{}", ValueError("expected x, got y"), "refused without a name"),
    ],
)
def test_a_refused_input_without_a_file_is_named_by_its_key_or_its_status(content, error, expected):
    def read(given):
        raise error

    assert run_attack.judge(Reader("input", b"", (), read), content)[0] == expected


def test_a_flood_of_memory_is_recognised_after_others_too(monkeypatch):
    monkeypatch.setattr(run_attack, "MEGABYTES", 100)
    reader = Reader(
        "input", b"", (lambda content, rng: b"150", lambda content, rng: b"50"), lambda n: b"x" * (int(n) << 20)
    )
    outcomes, _ = run_attack.attack(reader, 6, 0)
    assert outcomes == Counter({"flood": 3, "accepted": 3})


def test_a_callable_that_is_executed_is_counted(tmp_path):
    canary, pickled, path = tmp_path / "canary", tmp_path / "calls.pkl", tmp_path / "file.json"
    write_pickle(pickled, canary)
    path.write_bytes(b"{}")

    def change(content, rng):
        return call_in_json(content, canary, pickled, rng)

    def read(path):
        instantiate(json.loads(path.read_text()))

    with warnings.catch_warnings(action="ignore", category=ResourceWarning):  # of files that the callables open
        outcomes, lines = run_attack.attack(Reader("file", b"{}", (change,), read, path, canary=canary), 40, 0)
        gc.collect()
    assert outcomes["callables executed"] > 20
    assert len(lines) >= outcomes["callables executed"]
    assert not canary.exists()


@pytest.mark.parametrize(
    ("command", "status", "output", "expected"),
    [
        ("score", 143, "interrupted by SIGTERM; run the command again to resume", True),
        ("train", 0, "interrupted by SIGTERM; run the command again to resume", True),
        ("train", 143, "interrupted by SIGTERM; run the command again to resume", False),
        ("score", 0, "interrupted by SIGTERM; run the command again to resume", False),
        ("score", 143, "", False),
        ("score", 143, "Traceback\ninterrupted by SIGTERM; run the command again to resume", False),
    ],
)
def test_the_end_of_a_signalled_command_is_compared_with_the_documented_one(command, status, output, expected):
    end = kills.End(status, output, was_running=True, num_orphans=0)
    assert kills.is_as_documented(Writer(command, command, ()), signal.SIGTERM, end) == expected
