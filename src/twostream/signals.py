"""Signals that ask a process to stop: a command, a worker of a pool, and training, which first ends its iteration."""

import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
# Seconds in which a signal is not repeated: a scheduler and a sweep may both send it. Later ones count, because Python
# ignores what is raised in a destructor.
PAUSE = 1.0
# Packages and a function that may catch what a handler raises, or be unusable after it: imports, the composition of a
# config, and the start of a loader's processes. None lasts, so a signal waits for their end; RETRY is in seconds.
DEFERRED_BY = ("importlib", "omegaconf", "_MultiProcessingDataLoaderIter.__init__")
RETRY = 0.05
_heard: list["Interrupted"] = []  # by `interruptible`, while it lasts


class Interrupted(BaseException):
    """A signal asked this process to stop; the message names it, and the iteration if it interrupted training.

    It is no Exception, so that no handler of errors takes it for one.
    """

    def __init__(self, number: int, iteration: int | None = None) -> None:
        super().__init__(number, iteration)
        self.number = number
        self.iteration = iteration

    def __str__(self) -> str:
        name = "Ctrl-C" if self.number == signal.SIGINT else signal.Signals(self.number).name
        return name if self.iteration is None else f"{name} at iteration {self.iteration}"


def on_stop(act: Callable[[int, FrameType | None], None]) -> dict[int, Any]:
    """Act on each stop signal that this process does not ignore, as nohup makes it; return the handlers before.

    `act` gets the number of the signal and the frame in which it arrived.

    A forked process, such as a worker of a loader, ends on a signal, and leaves Ctrl-C to its parent.
    """
    process = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() == process:
            act(number, frame)
        elif number != signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    heard = [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, handle) for number in heard}


@contextmanager
def interruptible(before: Callable[[], None] | None = None) -> Iterator[None]:
    """Raise Interrupted where the main thread is when a stop signal arrives; then none is heard any more.

    While a module is imported, a config is composed or a loader starts, the signal waits. `before` is called first;
    another signal ends it.
    """
    last = -math.inf

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal last
        if is_deferred(frame):
            _heard.append(Interrupted(number))
            again = threading.Timer(RETRY, signal_main_thread, (number,))
            again.daemon = True
            again.start()
        elif time.monotonic() - last > PAUSE:
            last = time.monotonic()
            _heard.append(Interrupted(number))
            if before:
                before()
            raise _heard[-1]

    handlers = on_stop(stop)
    try:
        yield
        raise_lost()
    except Interrupted:
        handlers = dict.fromkeys(handlers, signal.SIG_IGN)
        raise
    finally:
        _heard.clear()
        for number, handler in handlers.items():
            signal.signal(number, handler)


def is_deferred(frame: FrameType | None) -> bool:
    """Return whether a signal that arrives in this frame has to wait: one of DEFERRED_BY has called it."""
    while frame is not None:
        package = frame.f_globals.get("__name__", "").partition(".")[0]
        if package in DEFERRED_BY or frame.f_code.co_qualname in DEFERRED_BY:
            return True
        frame = frame.f_back
    return False


def raise_lost() -> None:
    """Raise Interrupted if a stop signal has arrived: it waits, or other code has caught what was raised."""
    if _heard:
        raise _heard[-1]


def become_worker() -> None:
    """Leave Ctrl-C to the parent of this worker of a pool, and end with the parent, even if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def signal_main_thread(number: int) -> None:
    """Send the main thread a signal, from another thread; what it waits for ends."""
    ident = threading.main_thread().ident
    assert ident is not None
    signal.pthread_kill(ident, number)
