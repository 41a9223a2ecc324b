import json
from dataclasses import asdict

import pytest

from twostream.progress import FILE, Progress, read_progress, write_progress

PROGRESS = Progress(iteration=30, iterations=90, seconds_per_iteration=0.5, val_ssim=0.25, written=1e9)


def test_what_is_written_is_read(tmp_path):
    for progress in (PROGRESS, Progress(0, 90, None, None, 1e9)):
        write_progress(tmp_path, progress)
        assert read_progress(tmp_path) == progress
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_a_run_that_has_written_nothing_has_no_progress(tmp_path):
    assert read_progress(tmp_path) is None


def test_the_time_left_is_that_of_the_iterations_left():
    assert PROGRESS.seconds_left == 60 * 0.5
    assert Progress(0, 90, None, None, 1e9).seconds_left is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "expected JSON"),
        ("[]", "iteration: expected a number, got None"),
        (json.dumps(asdict(PROGRESS) | {"iterations": "90"}), "iterations: expected a number, got '90'"),
        (json.dumps(asdict(PROGRESS) | {"written": None}), "written: expected a number, got None"),
        (json.dumps(asdict(PROGRESS) | {"val_ssim": True}), "val_ssim: expected a number, got True"),
    ],
)
def test_another_file_of_that_name_is_refused(tmp_path, content, message):
    (tmp_path / FILE).write_text(content)
    with pytest.raises(ValueError, match=message):
        read_progress(tmp_path)


def test_what_a_later_version_adds_is_no_error(tmp_path):
    (tmp_path / FILE).write_text(json.dumps(asdict(PROGRESS) | {"more": 1}))
    assert read_progress(tmp_path) == PROGRESS
