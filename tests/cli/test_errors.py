import logging

import pytest

from twostream.cli.errors import exit_on_error
from twostream.runs import TrainingInterrupted

log = logging.getLogger("command")


def leave(error: Exception) -> int:
    with pytest.raises(SystemExit) as left, exit_on_error(log):
        raise error
    return left.value.code


def test_a_stopped_run_leaves_with_status_0_and_says_how_to_go_on(caplog):
    with caplog.at_level(logging.INFO):
        assert leave(TrainingInterrupted("SIGTERM at iteration 7")) == 0
    assert caplog.messages == [
        "TrainingInterrupted by SIGTERM at iteration 7; started again, the run goes on from there"
    ]


def test_an_expected_error_is_one_line(caplog):
    assert leave(ValueError("data.cache: no")) == 1
    assert caplog.messages == ["ValueError: data.cache: no"]
    assert caplog.records[0].exc_info is None


def test_another_error_comes_with_its_traceback(caplog):
    assert leave(KeyError("x")) == 1
    assert caplog.records[0].exc_info
