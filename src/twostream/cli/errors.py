"""How commands report that they can't go on."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from twostream.runs import TrainingInterrupted, cause_of

EXPECTED = (ValueError, OSError, ImportError)


@contextmanager
def exit_on_error(log: logging.Logger) -> Iterator[None]:
    """Log an error and leave with exit status 1: one line where the message says it all, else with its traceback.

    As with Hydra, HYDRA_FULL_ERROR=1 shows every traceback. A run that was asked to stop leaves with status 0.
    """
    try:
        yield
    except TrainingInterrupted as stop:
        log.info("TrainingInterrupted by %s; started again, the run goes on from there", stop)
        raise SystemExit(0) from None
    except Exception as error:
        cause = cause_of(error)
        in_full = not isinstance(cause, EXPECTED) or os.environ.get("HYDRA_FULL_ERROR") == "1"
        log.error("%s: %s", type(cause).__name__, cause, exc_info=error if in_full else None)
        raise SystemExit(1) from None
