import io
import re
import sys

import pytest

from tiny_run import fit


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("log_every", "expected"), [(3, ["3/4", "4/4"]), (200, ["4/4"])])
def test_a_log_has_a_line_every_n_iterations_and_no_bar(tiny_config, caplog, capsys, log_every, expected):
    with caplog.at_level("INFO", "twostream.callbacks.progress_bar"):
        fit(tiny_config(f"callbacks.progress_bar.log_every={log_every}"))
    lines = [message for message in caplog.messages if message.startswith("iteration")]
    assert [line.split()[1].rstrip(":") for line in lines] == expected
    assert re.search(r"l1 0\.\d+, .*val/ssim", lines[-1])
    assert "\r" not in "".join(capsys.readouterr())


def test_a_terminal_has_one_bar_over_all_iterations(tiny_config, monkeypatch, caplog):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    fit(tiny_config())
    assert re.search(r"Iterations: 100%\|.*\| 4/4 ", terminal.getvalue())
    assert set(re.findall(r"(\w+):\s+\d+%", terminal.getvalue())) == {"Iterations"}
    assert not [message for message in caplog.messages if message.startswith("iteration")]
