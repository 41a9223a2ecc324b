import json
import os
import signal
from dataclasses import asdict, replace

import pytest

from commands import ended_process
from twostream import runs
from twostream.runs import (
    Progress,
    RunState,
    check_same_config,
    clear_outputs,
    differences,
    is_finished,
    is_locked,
    read_provenance,
    read_run,
    run_lock,
    track_status,
    update_run,
)
from twostream.signals import Interrupted

PROGRESS = Progress(iteration=30, iterations=90, seconds_per_iteration=0.5, val_ssim=0.25, written=1e9)
FULL = RunState("running", "x", PROGRESS, {"data_hash": "a", "notes": ["b"]})


def test_an_update_keeps_the_other_fields(tmp_path):
    update_run(tmp_path, state="running")
    assert read_run(tmp_path) == RunState("running")
    update_run(tmp_path, progress=PROGRESS)
    update_run(tmp_path, provenance=FULL.provenance)
    update_run(tmp_path, reason="x")
    assert read_run(tmp_path) == FULL
    assert read_provenance(tmp_path) == FULL.provenance
    update_run(tmp_path, progress=replace(PROGRESS, seconds_per_iteration=None, val_ssim=None))
    assert read_run(tmp_path).progress.val_ssim is None
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_a_run_without_run_json_is_not_started(tmp_path):
    assert read_run(tmp_path) == RunState("not started", None, None, None)
    with pytest.raises(ValueError, match="expected the directory of a run, found no provenance"):
        read_provenance(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"state": "asleep"}, "state: expected one of .*running, done, stopped, failed, got 'asleep'"),
        ({"state": None}, "state: expected str, got None"),
        ({"reason": 1}, "reason: expected str or null, got 1"),
        ({"provenance": []}, r"provenance: expected dict or null, got \[\]"),
        ({"progress": []}, r"progress: expected an object or null, got \[\]"),
        ({"progress": {}}, "progress.iteration: expected int, got None"),
        ({"progress": asdict(PROGRESS) | {"iterations": "90"}}, "progress.iterations: expected int, got '90'"),
        ({"progress": asdict(PROGRESS) | {"written": None}}, "progress.written: expected float, got None"),
        ({"progress": asdict(PROGRESS) | {"val_ssim": True}}, "progress.val_ssim: expected float or null, got True"),
    ],
)
def test_a_wrong_field_is_named_with_its_file(tmp_path, changes, message):
    (tmp_path / "run.json").write_text(json.dumps(asdict(FULL) | changes))
    with pytest.raises(ValueError, match=f"{tmp_path}/run.json: {message}"):
        read_run(tmp_path)
    assert not is_finished(tmp_path, evaluate=False)


@pytest.mark.parametrize(("content", "message"), [("{", "expected JSON"), ("[]", "expected a JSON object, got")])
def test_a_damaged_file_is_named_and_kept(tmp_path, content, message):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(ValueError, match=f"run.json: {message}"), track_status(tmp_path):
        pass
    assert (tmp_path / "run.json").read_text() == content


def test_a_damaged_progress_does_not_keep_a_run_from_resuming(tmp_path):
    content = asdict(FULL) | {"progress": {"iteration": "x"}}
    (tmp_path / "run.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"run\.json: progress\.iteration: expected int, got 'x'"):
        read_run(tmp_path)
    assert read_provenance(tmp_path) == FULL.provenance
    with track_status(tmp_path):
        assert read_run(tmp_path) == replace(FULL, reason=None, progress=None)
    assert is_finished(tmp_path, evaluate=False)


@pytest.mark.parametrize("content", ["null", "[" * 100_000, ""])
@pytest.mark.parametrize("name", ["run.json", "config.json"])
def test_json_of_another_type_is_refused_with_the_file(tmp_path, name, content):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=rf"^{tmp_path}/{name}: expected (a JSON object|JSON)") as error:
        read_provenance(tmp_path) if name == "run.json" else check_same_config(tmp_path, {})
    assert "\n" not in str(error.value)


def test_fields_of_a_later_version_are_ignored(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"state": "done", "progress": asdict(PROGRESS) | {"a": 1}, "b": 2}))
    assert read_run(tmp_path) == RunState("done", progress=PROGRESS)


def test_the_time_left_is_that_of_the_remaining_iterations():
    assert FULL.seconds_left == 60 * 0.5
    assert replace(FULL, state="failed").seconds_left is None
    assert replace(FULL, progress=replace(PROGRESS, seconds_per_iteration=None)).seconds_left is None


def test_the_state_follows_the_run(tmp_path):
    update_run(tmp_path, progress=PROGRESS, provenance={"seed": 0})
    with pytest.raises(ValueError, match="first"), track_status(tmp_path):
        raise ValueError("first\nsecond")
    assert read_run(tmp_path) == RunState("failed", "ValueError: first", PROGRESS, {"seed": 0})
    assert not is_finished(tmp_path, evaluate=False)
    with pytest.raises(Interrupted), track_status(tmp_path):
        raise Interrupted(signal.SIGTERM, 10)
    assert read_run(tmp_path) == RunState("stopped", "SIGTERM at iteration 10", PROGRESS, {"seed": 0})
    with track_status(tmp_path):
        assert read_run(tmp_path) == RunState("running", None, PROGRESS, {"seed": 0})
    assert read_run(tmp_path) == RunState("done", None, PROGRESS, {"seed": 0})
    assert is_finished(tmp_path, evaluate=False)
    assert not is_finished(tmp_path, evaluate=True)
    (tmp_path / "metrics.json").touch()
    assert is_finished(tmp_path, evaluate=True)


def test_a_full_disk_does_not_hide_the_error(tmp_path, monkeypatch):
    def full(path, value):
        raise OSError(28, "No space left on device")

    def fail():
        monkeypatch.setattr(runs, "write_json", full)
        raise ValueError("the first error")

    with pytest.raises(ValueError, match="the first error"), track_status(tmp_path):
        fail()


def test_one_process_holds_the_lock_at_a_time(tmp_path):
    run_dir = tmp_path / "run"
    for _ in range(2):
        with run_lock(run_dir):
            assert is_locked(run_dir)
            with pytest.raises(ValueError, match="run: another process is running in this"), run_lock(run_dir):
                pass
        assert not is_locked(run_dir)


def test_reading_the_lock_does_not_create_it(tmp_path):
    assert not is_locked(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_is_a_symlink_leaves_its_target_alone(tmp_path):
    target = tmp_path / "target"
    target.write_text("content")
    (tmp_path / ".lock").symlink_to(target)
    with pytest.raises(OSError, match=r"\.lock"), run_lock(tmp_path):
        pass
    assert not is_locked(tmp_path)
    assert target.read_text() == "content"


def test_a_lock_that_is_a_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / ".lock")
    assert not is_locked(tmp_path)


def test_a_config_is_compared_by_what_affects_the_result(tmp_path):
    old = {"seed": 0, "data": {"root": "a", "batch_size": 2, "source": {"num_workers": 1}}, "loss": {"weight": 1.0}}
    assert differences(old, {**old, "data": {"root": "b", "batch_size": 2, "source": {"num_workers": 2}}}) == ""
    assert differences({"a": {"weights": [1], "empty": {}}}, {"a": {"weights": [2], "empty": {}}}) != ""
    assert differences({"a": {}}, {"a": {"b": {}}}) != ""
    new = {**old, "seed": 1, "loss": {"weight": 1.0, "more": None}, "data": {**old["data"], "batch_size": 3}}
    assert differences(old, new) == "data.batch_size: 2 on disk, 3 requested, seed: 0 on disk, 1 requested"
    (tmp_path / "config.json").write_text(json.dumps(old))
    check_same_config(tmp_path, new)
    (tmp_path / "checkpoints").mkdir()
    check_same_config(tmp_path, old)
    with pytest.raises(ValueError, match=r"different config \(data\.batch_size.*variant=NAME"):
        check_same_config(tmp_path, new)


def test_a_restart_keeps_the_log_alone(tmp_path):
    update_run(tmp_path, state="running", progress=PROGRESS, provenance={"seed": 0})
    (tmp_path / "checkpoints").mkdir()
    for name in ("checkpoints/last.ckpt", "metrics.json", "train.log"):
        (tmp_path / name).touch()
    clear_outputs(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.json", "train.log"]
    assert read_run(tmp_path) == RunState("running")


def test_a_signal_while_the_state_is_written_leaves_it_stopped(tmp_path, monkeypatch):
    update = runs.update_run

    def update_and_interrupt(run_dir, **changes):
        update(run_dir, **changes)
        if changes["state"] == "running":
            raise Interrupted(signal.SIGTERM)

    monkeypatch.setattr(runs, "update_run", update_and_interrupt)
    with pytest.raises(Interrupted), track_status(tmp_path):
        pass
    assert read_run(tmp_path) == RunState("stopped", "SIGTERM")


def test_folders_that_are_links_stay_and_lose_what_a_run_wrote_in_them(tmp_path):
    disk = tmp_path / "disk"
    of_run = ["checkpoints/last.ckpt", "images/a_2_b.png", "logs/metrics.csv"]
    of_others = ["images/holiday.png", "logs/diary.txt"]
    for name in of_run + of_others:
        (disk / name).parent.mkdir(parents=True, exist_ok=True)
        (disk / name).touch()
    run = tmp_path / "run"
    run.mkdir()
    for name in ("checkpoints", "images", "logs"):
        (run / name).symlink_to(disk / name)
    left_by_killed = disk / "checkpoints" / f".last.{ended_process()}.ckpt"
    left_by_killed.touch()
    with run_lock(run):
        assert not left_by_killed.exists()
        clear_outputs(run)
    assert all((run / name).is_symlink() for name in ("checkpoints", "images", "logs"))
    left = sorted(path.relative_to(disk).as_posix() for path in disk.rglob("*") if path.is_file())
    assert left == of_others
