from dataclasses import replace

import pytest

from twostream.files import write_json
from twostream.progress import Progress, write_progress
from twostream.runs import TrainingInterrupted, run_lock, track_status
from twostream.status import (
    RunStatus,
    collect_status,
    duration,
    is_finished,
    is_held,
    read_status,
    render_status,
    seconds_left,
)

NOW = 1e9
HALF = Progress(iteration=45, iterations=90, seconds_per_iteration=2.0, val_ssim=0.31, written=NOW - 3)


@pytest.fixture
def run_dir(tmp_path):
    folder = tmp_path / "full" / "seed0"
    folder.mkdir(parents=True)
    return folder


def state_of(run_dir):
    status = read_status(run_dir, NOW)
    return status.state, status.note


def test_a_run_of_which_nothing_is_there_is_not_started(tmp_path, run_dir):
    assert state_of(run_dir) == ("not started", "")
    assert read_status(tmp_path / "x" / "seed1", NOW) == RunStatus("x/seed1", "not started")


def test_a_run_is_running_while_its_folder_is_held_and_cut_off_when_it_is_not(run_dir):
    write_json(run_dir / "status.json", {"state": "running"})
    write_progress(run_dir, HALF)
    assert state_of(run_dir) == ("cut off", "")
    with run_lock(run_dir):
        assert is_held(run_dir)
        assert read_status(run_dir, NOW) == RunStatus("full/seed0", "running", "", HALF)
    assert not is_held(run_dir)
    assert state_of(run_dir) == ("cut off", "")


def test_asking_leaves_the_folder_free(run_dir):
    assert not is_held(run_dir)
    assert not (run_dir / ".lock").exists()
    with run_lock(run_dir):
        pass
    assert not is_held(run_dir)
    with run_lock(run_dir):
        pass


def test_a_run_that_is_trained_and_held_is_evaluating(run_dir):
    write_json(run_dir / "status.json", {"state": "running"})
    write_progress(run_dir, replace(HALF, iteration=90))
    with run_lock(run_dir):
        assert state_of(run_dir) == ("evaluating", "")
    assert state_of(run_dir) == ("cut off", "")


def test_a_run_at_work_that_writes_nothing_is_pointed_out(run_dir):
    write_json(run_dir / "status.json", {"state": "running"})
    write_progress(run_dir, replace(HALF, written=NOW - 1200))
    with run_lock(run_dir):
        assert state_of(run_dir) == ("running", "nothing written for 20 min 00 s")


def test_the_states_are_those_that_a_run_writes(run_dir):
    with pytest.raises(ValueError, match="first"), track_status(run_dir):
        raise ValueError("first\nsecond")
    assert state_of(run_dir) == ("failed", "ValueError: first")
    with pytest.raises(TrainingInterrupted), track_status(run_dir):
        raise TrainingInterrupted("SIGTERM at iteration 10")
    assert state_of(run_dir) == ("stopped", "SIGTERM at iteration 10")
    with track_status(run_dir):
        pass
    assert state_of(run_dir) == ("done", "not evaluated")
    write_json(run_dir / "metrics.json", {})
    assert state_of(run_dir) == ("done", "")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("status.json", "{", "status.json: expected JSON"),
        ("status.json", '{"state": "asleep"}', "state: expected one of running, done, failed, stopped"),
        ("status.json", "[]", "state: expected one of"),
        ("progress.json", "{}", "progress.json: iteration: expected a number"),
    ],
)
def test_a_file_that_is_wrong_is_named(run_dir, name, content, message):
    write_json(run_dir / "status.json", {"state": "done"})
    (run_dir / name).write_text(content)
    state, note = state_of(run_dir)
    assert state == "unreadable"
    assert message in note
    assert is_finished(run_dir, evaluate=False) == (name != "status.json")


def test_a_run_is_finished_when_it_is_done_and_evaluated_if_that_is_asked_for(run_dir):
    assert not is_finished(run_dir, evaluate=False)
    write_json(run_dir / "status.json", {"state": "done"})
    assert is_finished(run_dir, evaluate=False)
    assert not is_finished(run_dir, evaluate=True)
    write_json(run_dir / "metrics.json", {})
    assert is_finished(run_dir, evaluate=True)
    write_json(run_dir / "status.json", {"state": "failed", "error": "x"})
    assert not is_finished(run_dir, evaluate=True)


def test_expected_runs_come_first_in_their_order_and_others_by_name(tmp_path):
    for name in ("zebra/seed0", "ape/seed10", "ape/seed2", "full/seed7", "tables/x", "full/seedling", "b/seed1"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "b" / "seed3").write_text("no folder")
    names = [run.name for run in collect_status(tmp_path, ["full", "blocks_5"], [0, 1], NOW)]
    assert names == [
        *("full/seed0", "full/seed1", "full/seed7", "blocks_5/seed0", "blocks_5/seed1"),
        *("ape/seed2", "ape/seed10", "b/seed1", "zebra/seed0"),
    ]
    assert len(collect_status(tmp_path / "nowhere", ["full"], [0], NOW)) == 1


def test_the_time_left_of_all_is_shared_by_the_runs_at_work():
    slow = replace(HALF, seconds_per_iteration=4.0)
    runs = [
        RunStatus("a", "running", "", HALF),
        RunStatus("b", "running", "", slow),
        RunStatus("c", "cut off", "", replace(HALF, iteration=60, seconds_per_iteration=None)),
        RunStatus("d", "not started"),
        RunStatus("e", "done", "", replace(HALF, iteration=90, seconds_per_iteration=3.0)),
    ]
    # The mean pace of a, b and e is 3; two are at work.
    assert seconds_left(runs) == (45 * 2 + 45 * 4 + 30 * 3 + 90 * 3) / 2
    assert seconds_left(runs[:2]) == 180, "no less than the longest of those at work"
    assert seconds_left([runs[3]]) is None
    assert seconds_left([runs[4]]) == 0


def test_the_table_is_aligned_and_ends_with_the_sum():
    runs = [
        RunStatus("full/seed0", "done", "", replace(HALF, iteration=90)),
        RunStatus("blocks_13/seed0", "running", "", HALF),
        RunStatus("both_add/seed0", "failed", "ValueError: no", replace(HALF, val_ssim=None)),
        RunStatus("blocks_5/seed0", "not started"),
    ]
    assert render_status(runs).splitlines() == [
        "run              state        iteration  it/s        left  val/ssim  note",
        "full/seed0       done             90/90     -           -     0.310",
        "blocks_13/seed0  running          45/90  0.50  1 min 30 s     0.310",
        "both_add/seed0   failed           45/90     -           -         -  ValueError: no",
        "blocks_5/seed0   not started          -     -           -         -",
        "4 runs: 1 done, 1 running, 1 failed, 1 not started; training left: about 6 min 00 s",
    ]
    assert render_status([]).splitlines()[-1] == "0 runs: "


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (3599, "59 min 59 s"),
        (7500, "2 h 05 min"),
        (90000, "1 d 01 h"),
    ],
)
def test_a_duration_has_two_units(seconds, text):
    assert duration(seconds) == text
