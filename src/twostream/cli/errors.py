"""What all commands have in common: a config of their own, and how they report errors."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import hydra
from omegaconf import DictConfig

from twostream.cli import CONF
from twostream.cli.options import check_options
from twostream.runs import TrainingInterrupted, cause_of

EXPECTED = (ValueError, OSError, ImportError)


@contextmanager
def exit_on_error(log: logging.Logger) -> Iterator[None]:
    """Log an error and exit with status 1: in one line if it is of an expected type, else with its traceback.

    HYDRA_FULL_ERROR=1 shows every traceback. An interrupted training exits with status 0.
    """
    try:
        yield
    except TrainingInterrupted as interruption:
        log.info("interrupted by %s; run the command again to resume", interruption)
        raise SystemExit(0) from None
    except Exception as error:
        cause = cause_of(error)
        show_traceback = not isinstance(cause, EXPECTED) or os.environ.get("HYDRA_FULL_ERROR") == "1"
        log.error("%s: %s", type(cause).__name__, cause, exc_info=error if show_traceback else None)
        raise SystemExit(1) from None


def command(name: str) -> Callable[[Callable[[DictConfig], None]], Any]:
    """Decorate the main function of `twostream-<name>`: it gets its composed config and reports errors."""

    def decorate(main: Callable[[DictConfig], None]) -> Any:
        @hydra.main(version_base="1.3", config_path=CONF, config_name=name)
        @wraps(main)
        def main_with_errors(cfg: DictConfig) -> None:
            with exit_on_error(logging.getLogger(main.__module__)):
                check_options(name, cfg)
                main(cfg)

        return main_with_errors

    return decorate
