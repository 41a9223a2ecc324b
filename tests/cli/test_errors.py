import logging
import os
import subprocess
import sys
from operator import attrgetter

import pytest
from omegaconf import OmegaConf

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


def test_a_key_that_was_removed_is_one_line_with_its_name(caplog):
    cfg = OmegaConf.create({"trainer": {"devices": 1}, "data": {"root": "${folder}"}}, flags={"struct": True})
    for path in ("trainer.precision", "data.root"):
        with pytest.raises(SystemExit), exit_on_error(log):
            attrgetter(path)(cfg)
    assert caplog.messages == [
        "ConfigAttributeError: trainer.precision: Key 'precision' is not in struct",
        "InterpolationKeyError: data.root: Interpolation key 'folder' not found",
    ]
    assert not any(record.exc_info for record in caplog.records)


def test_an_unexpected_error_has_its_traceback(caplog):
    assert exit_status(KeyError("x")) == 1
    assert caplog.records[0].exc_info


def test_a_reader_that_has_ended_is_no_error():
    code = "import logging; from twostream.cli.errors import exit_on_error\n"
    code += "with exit_on_error(logging.getLogger()):\n    while True: print('row', flush=True)"
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", code], stdout=pipe, stderr=pipe, text=True)
    assert process.stdout.readline() == "row\n"
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 141
    process.stderr.close()


def test_help_that_is_not_read_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    code = "from twostream.cli.main import main; main()"
    command = [sys.executable, "-u", "-c", code, "train", "--help"]
    run = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (run.returncode, run.stderr) == (141, "")


def test_a_broken_pipe_to_another_process_is_an_error(caplog):
    assert exit_status(BrokenPipeError(32, "Broken pipe")) == 1
    assert caplog.messages == ["BrokenPipeError: [Errno 32] Broken pipe"]
