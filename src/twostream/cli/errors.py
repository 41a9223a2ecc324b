"""How a command stops on a signal, and how it reports an error."""

import io
import logging
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

from omegaconf.errors import OmegaConfBaseException

from twostream.runs import cause_of
from twostream.signals import Interrupted, interruptible, raise_lost

EXPECTED = (ValueError, OSError, ImportError, OmegaConfBaseException)


@contextmanager
def exit_on_signal(name: str, before: Callable[[], None] | None = None) -> Iterator[None]:
    """On a stop signal, call `before` and end `twostream-<name>` with a line that names the signal.

    The exit status is 128 and the number of the signal, as in a shell. That of a training is 0 but for Ctrl-C: its
    state says that it was stopped, and a scheduler shall not take it for a failure.
    """
    try:
        with interruptible(before):
            yield
    except Interrupted as stop:
        # Shown on stderr if it arrives before logging is set up.
        advice = "" if name == "demo" else "; run the command again to resume"
        logging.getLogger(f"twostream.cli.{name}").warning("interrupted by %s%s", stop, advice)
        logging.disable()  # torch, half imported, would log its counts
        is_failure = name != "train" or stop.number == signal.SIGINT
        raise SystemExit(128 + stop.number if is_failure else 0) from None


@contextmanager
def exit_on_error(log: logging.Logger) -> Iterator[None]:
    """Log an error and exit with status 1: in one line if it is of an expected type, else with its traceback.

    HYDRA_FULL_ERROR=1 shows every traceback. A character that the terminal does not have is shown as a question mark.
    If the reader of what is printed has ended, as `head` does, the command ends silently, with the status 141.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        yield
    except Exception as error:
        raise_lost()
        if isinstance(error, BrokenPipeError) and is_unread(sys.stdout):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes when it ends
            raise SystemExit(128 + signal.SIGPIPE) from None
        cause = cause_of(error)
        show_traceback = not isinstance(cause, EXPECTED) or os.environ.get("HYDRA_FULL_ERROR") == "1"
        text = str(cause)
        if isinstance(cause, OmegaConfBaseException):  # of a key that was removed
            text = f"{cause.full_key or 'config'}: {text.splitlines()[0]}"
        log.error("%s: %s", type(cause).__name__, text, exc_info=error if show_traceback else None)
        raise SystemExit(1) from None


def is_unread(stream: IO[str]) -> bool:
    """Return whether a stream is a pipe whose reader has ended."""
    poll = select.poll()
    poll.register(stream.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))
