import logging
import os
import signal
import sys
import time
from importlib import import_module

import pytest
from omegaconf import OmegaConf
from torch.utils.data import DataLoader

from twostream import signals
from twostream.cli.errors import exit_on_error, exit_on_signal
from twostream.signals import STOP_SIGNALS, Interrupted, interruptible


@pytest.fixture(autouse=True)
def handlers():
    """Handlers that a terminal's shell leaves, and after the test those before it."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    for number in STOP_SIGNALS:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield {number: signal.getsignal(number) for number in STOP_SIGNALS}
    for number, handler in before.items():
        signal.signal(number, handler)
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize(
    ("number", "said", "of_training", "of_others"),
    [
        (signal.SIGINT, "Ctrl-C", 130, 130),
        (signal.SIGTERM, "SIGTERM", 0, 143),
        (signal.SIGUSR1, "SIGUSR1", 0, 138),
        (signal.SIGHUP, "SIGHUP", 0, 129),
    ],
)
def test_a_signal_ends_a_command_with_one_line(caplog, number, said, of_training, of_others):
    for name, status in {"train": of_training, "score": of_others}.items():
        signal.signal(number, signal.SIG_DFL)
        logging.disable(logging.NOTSET)
        with pytest.raises(SystemExit) as exited, exit_on_signal(name):
            signal.raise_signal(number)
        assert exited.value.code == status
    assert caplog.messages == [f"interrupted by {said}; run the command again to resume"] * 2


def test_a_signal_that_other_code_catches_is_named_when_that_code_fails(caplog):
    def half_imported():
        try:
            signal.raise_signal(signal.SIGTERM)
        except BaseException:
            raise RecursionError("a module is half imported") from None

    with pytest.raises(SystemExit) as exited, exit_on_signal("score"), exit_on_error(logging.getLogger("x")):
        half_imported()
    assert exited.value.code == 143
    assert caplog.messages == ["interrupted by SIGTERM; run the command again to resume"]


def test_a_signal_waits_while_a_config_is_composed():
    read = []

    def resolver():
        signal.raise_signal(signal.SIGTERM)
        return "value"

    def read_config():
        read.append(OmegaConf.create({"key": "${of_test:}"}).key)
        time.sleep(5)

    OmegaConf.register_new_resolver("of_test", resolver, replace=True)
    with pytest.raises(Interrupted, match="SIGTERM"), interruptible():
        read_config()
    assert read == ["value"]


def test_a_signal_that_waits_when_the_work_ends_is_reported():
    def end():
        OmegaConf.register_new_resolver("of_test", lambda: signal.raise_signal(signal.SIGTERM), replace=True)
        assert OmegaConf.create({"key": "${of_test:}"}).key is None

    with pytest.raises(Interrupted, match="SIGTERM"), interruptible():
        end()
    time.sleep(2 * signals.RETRY)  # ignored: the process is about to end


def test_a_signal_waits_while_a_module_is_imported(tmp_path, monkeypatch):
    (tmp_path / "slow_to_import.py").write_text("import signal\nsignal.raise_signal(signal.SIGTERM)\nDONE = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "slow_to_import", raising=False)

    def import_it():
        import_module("slow_to_import")
        time.sleep(5)

    with pytest.raises(Interrupted), interruptible():
        import_it()
    assert sys.modules.pop("slow_to_import").DONE


def test_a_signal_waits_while_a_loader_starts():
    class Sampler:
        def __iter__(self):
            signal.raise_signal(signal.SIGTERM)
            return iter([0])

    started = []

    def load():
        started.append(iter(DataLoader([1], sampler=Sampler(), batch_size=None, num_workers=1)))
        time.sleep(5)

    with pytest.raises(Interrupted), interruptible():
        load()
    assert next(started[0]) == 1


def test_a_second_signal_does_not_disturb_the_clean_up_unless_it_comes_later():
    cleaned = []

    def interrupted_work():
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            signal.raise_signal(signal.SIGTERM)
            cleaned.append(True)

    with pytest.raises(Interrupted, match="Ctrl-C"), interruptible():
        interrupted_work()
    assert cleaned == [True]
    signal.raise_signal(signal.SIGTERM)  # ignored: the process is about to end


def test_a_signal_whose_exception_was_lost_can_be_repeated(monkeypatch):
    monkeypatch.setattr(signals, "PAUSE", 0.01)

    def lose_one():
        try:
            signal.raise_signal(signal.SIGTERM)
        except Interrupted:
            time.sleep(0.02)
        signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Interrupted), interruptible():
        lose_one()


def test_the_handlers_before_are_back_after_the_work_and_after_an_error(handlers):
    with interruptible():
        assert {signal.getsignal(number) for number in STOP_SIGNALS}.isdisjoint(handlers.values())
    assert {number: signal.getsignal(number) for number in STOP_SIGNALS} == handlers
    with pytest.raises(ValueError, match="no"), interruptible():
        raise ValueError("no")
    assert {number: signal.getsignal(number) for number in STOP_SIGNALS} == handlers


def test_what_the_process_ignores_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    with interruptible():
        signal.raise_signal(signal.SIGHUP)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 3)])
def test_a_forked_process_ends_on_sigterm_and_leaves_ctrl_c_to_its_parent(number, status):
    with interruptible():
        child = os.fork()
        if child == 0:
            signal.raise_signal(number)
            os._exit(3)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == status
