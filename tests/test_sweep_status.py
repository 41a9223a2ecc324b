from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from twostream.runs import Progress, RunState, run_lock, update_run
from twostream.sweep_status import collect_status, live_view, read_status, render_status, seconds_left

NOW = 1e9
HALF = Progress(iteration=45, iterations=90, seconds_per_iteration=2.0, val_ssim=0.31, written=NOW - 3)


@pytest.fixture
def run_dir(tmp_path):
    folder = tmp_path / "full" / "seed0"
    folder.mkdir(parents=True)
    return folder


def test_a_run_without_files_is_not_started(tmp_path, run_dir):
    assert read_status(run_dir, NOW) == read_status(tmp_path / "x" / "seed1", NOW) == RunState("not started")


@pytest.mark.parametrize(
    ("progress", "locked"),
    [
        (None, ("running", None)),
        (HALF, ("running", None)),
        (replace(HALF, iteration=90), ("evaluating", None)),
        (replace(HALF, written=NOW - 1200), ("stalled", "no progress for 0:20:00")),
    ],
)
def test_a_run_is_interrupted_unless_a_process_holds_its_lock(run_dir, progress, locked):
    update_run(run_dir, state="running", progress=progress)
    assert read_status(run_dir, NOW) == RunState("interrupted", None, progress)
    with run_lock(run_dir):
        assert read_status(run_dir, NOW) == RunState(*locked, progress)
    assert read_status(run_dir, NOW) == RunState("interrupted", None, progress)


def test_a_run_that_has_ended_shows_its_reason(run_dir):
    for state in (RunState("failed", "ValueError: no"), RunState("stopped", "SIGTERM at iteration 10")):
        update_run(run_dir, state=state.state, reason=state.reason)
        assert read_status(run_dir, NOW) == state
    update_run(run_dir, state="done", reason=None)
    assert read_status(run_dir, NOW) == RunState("done", "not evaluated")
    (run_dir / "metrics.json").touch()
    assert read_status(run_dir, NOW) == RunState("done")
    (run_dir / "run.json").write_text("{")
    unreadable = read_status(run_dir, NOW)
    assert unreadable.state == "unreadable"
    assert "run.json: expected JSON" in unreadable.reason


def test_expected_runs_come_first_in_their_order_and_others_by_name(tmp_path):
    for name in ("zebra/seed0", "ape/seed10", "ape/seed2", "full/seed7", "tables/x", "full/seedling", "b/seed1"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "b" / "seed3").write_text("not a directory")
    assert list(collect_status(tmp_path, ["full", "blocks_5"], [0, 1], NOW)) == [
        *("full/seed0", "full/seed1", "full/seed7", "blocks_5/seed0", "blocks_5/seed1"),
        *("ape/seed2", "ape/seed10", "b/seed1", "zebra/seed0"),
    ]
    assert len(collect_status(tmp_path / "nowhere", ["full"], [0], NOW)) == 1


def test_the_time_left_is_divided_by_the_number_of_parallel_runs():
    slow = replace(HALF, seconds_per_iteration=4.0)
    runs = [
        RunState("running", None, HALF),
        RunState("running", None, slow),
        RunState("interrupted", None, replace(HALF, iteration=60, seconds_per_iteration=None)),
        RunState("not started"),
        RunState("done", None, replace(HALF, iteration=90, seconds_per_iteration=3.0)),
    ]
    # The mean of the known speeds is 3 seconds per iteration; two are running.
    assert seconds_left(runs) == (45 * 2 + 45 * 4 + 30 * 3 + 90 * 3) / 2
    assert seconds_left(runs[:2]) == 180, "at least that of the longest running one"
    assert seconds_left([runs[3]]) is None
    assert seconds_left([runs[4]]) == 0


def test_the_table_is_aligned_and_ends_with_the_totals():
    runs = {
        "full/seed0": RunState("done", None, replace(HALF, iteration=90)),
        "blocks_13/seed0": RunState("running", None, HALF),
        "both_add/seed0": RunState("failed", "ValueError:\n no", replace(HALF, val_ssim=None)),
        "blocks_5/seed0": RunState("not started"),
    }
    assert render_status(runs).splitlines() == [
        "run              state        iteration  it/s     left  val/ssim  note",
        "full/seed0       done             90/90     -        -     0.310",
        "blocks_13/seed0  running          45/90  0.50  0:01:30     0.310",
        "both_add/seed0   failed           45/90     -        -         -  ValueError: no",
        "blocks_5/seed0   not started          -     -        -         -",
        "4 runs: 1 done, 1 running, 1 failed, 1 not started; training left: about 0:06:00",
    ]
    assert render_status({}).splitlines()[-1] == "0 runs: "


def test_the_live_view_shows_bars_losses_and_what_to_look_at(tmp_path):
    for name, state in (("full/seed0", "running"), ("patn/seed0", "failed")):
        folder = tmp_path / name
        (folder / "samples").mkdir(parents=True)
        (folder / "logs").mkdir()
        for sample in ("000030", "000060", "correspondence_000060"):
            (folder / "samples" / f"{sample}.png").touch()
        (folder / "logs" / "metrics.csv").write_text("step,train/l1,val/l1\n30,0.5,\n60,0.25,\n60,,0.4\n")
        (folder / "train.log").touch()
        update_run(folder, state=state, progress=HALF, reason="ValueError: no" if state == "failed" else None)
    with run_lock(tmp_path / "full/seed0"):
        runs = collect_status(tmp_path, ["full", "patn"], [0], NOW)
    console = Console(width=240, file=StringIO(), record=True)
    console.print(live_view(runs, tmp_path))
    running, failed, totals = console.export_text().splitlines()[1:4]
    for text in ("full/seed0", "running", "━", "45/90", "0:01:30", "0.310", "l1 0.250", "000060.png"):
        assert text in running
    assert "correspondence" not in running
    for text in ("patn/seed0", "failed", "ValueError: no", "train.log"):
        assert text in failed
    assert totals.strip().startswith("2 runs: 1 running, 1 failed")


def test_a_long_reason_is_wrapped_in_its_column_alone(tmp_path):
    reason = "ValueError: " + " ".join(["expected"] * 20)
    (tmp_path / "no_at_module/seed0").mkdir(parents=True)
    (tmp_path / "no_at_module/seed0/train.log").touch()
    update_run(tmp_path / "no_at_module/seed0", state="failed", reason=reason, progress=HALF)
    console = Console(width=110, file=StringIO(), record=True)
    console.print(live_view(collect_status(tmp_path, [], [], NOW), tmp_path))
    _, first, *others, _ = console.export_text().splitlines()
    assert {"no_at_module/seed0", "failed", "45/90", "train.log"} <= set(first.split())
    assert len(others) > 1
    assert all(set(line.split()) == {"expected"} for line in others)
