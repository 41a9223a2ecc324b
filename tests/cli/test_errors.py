import logging

import pytest

from twostream.cli.errors import exit_on_error

log = logging.getLogger("command")


def exit_status(error: Exception) -> int:
    with pytest.raises(SystemExit) as exited, exit_on_error(log):
        raise error
    return exited.value.code


def test_an_expected_error_is_one_line(caplog):
    assert exit_status(ValueError("data.cache: no")) == 1
    assert caplog.messages == ["ValueError: data.cache: no"]
    assert caplog.records[0].exc_info is None


def test_an_unexpected_error_has_its_traceback(caplog):
    assert exit_status(KeyError("x")) == 1
    assert caplog.records[0].exc_info
