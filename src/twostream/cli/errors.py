"""What all commands have in common: a config of their own, how they stop on a signal, and how they report errors."""

import io
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import hydra
from omegaconf import DictConfig

from twostream.cli import CONF
from twostream.cli.options import check_options
from twostream.runs import cause_of
from twostream.signals import Interrupted, interruptible

EXPECTED = (ValueError, OSError, ImportError)


@contextmanager
def exit_on_signal(name: str) -> Iterator[None]:
    """On a stop signal, end `twostream-<name>` with a line that names the signal.

    The exit status is 128 and the number of the signal, as in a shell. That of a training is 0 but for Ctrl-C: its
    state says that it was stopped, and a scheduler shall not take it for a failure.
    """
    try:
        with interruptible():
            yield
    except Interrupted as stop:
        # Shown on stderr if it arrives before logging is set up.
        logging.getLogger(f"twostream.cli.{name}").warning("interrupted by %s; run the command again to resume", stop)
        logging.disable()  # torch, half imported, would log its counts
        is_failure = name != "train" or stop.number == signal.SIGINT
        raise SystemExit(128 + stop.number if is_failure else 0) from None


@contextmanager
def exit_on_error(log: logging.Logger) -> Iterator[None]:
    """Log an error and exit with status 1: in one line if it is of an expected type, else with its traceback.

    HYDRA_FULL_ERROR=1 shows every traceback. A character that the terminal does not have is shown as a question mark.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        yield
    except Exception as error:
        cause = cause_of(error)
        show_traceback = not isinstance(cause, EXPECTED) or os.environ.get("HYDRA_FULL_ERROR") == "1"
        log.error("%s: %s", type(cause).__name__, cause, exc_info=error if show_traceback else None)
        raise SystemExit(1) from None


def command(name: str) -> Callable[[Callable[[DictConfig], None]], Any]:
    """Decorate the main function of `twostream-<name>`: it gets its composed config, stops and reports errors."""

    def decorate(main: Callable[[DictConfig], None]) -> Any:
        @hydra.main(version_base="1.3", config_path=CONF, config_name=name)
        @wraps(main)
        def main_with_errors(cfg: DictConfig) -> None:
            with exit_on_error(logging.getLogger(main.__module__)):
                check_options(name, cfg)
                main(cfg)

        return exit_on_signal(name)(main_with_errors)

    return decorate
