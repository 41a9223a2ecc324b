"""How commands report that they can't go on."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from twostream.runs import cause_of

EXPECTED = (ValueError, OSError, ImportError)


@contextmanager
def reported(log: logging.Logger) -> Iterator[None]:
    """Log an error and leave with exit status 1: one line where the message says it all, else with its traceback.

    As with Hydra, HYDRA_FULL_ERROR=1 shows every traceback.
    """
    try:
        yield
    except Exception as error:
        cause = cause_of(error)
        in_full = not isinstance(cause, EXPECTED) or os.environ.get("HYDRA_FULL_ERROR") == "1"
        log.error("%s: %s", type(cause).__name__, cause, exc_info=error if in_full else None)
        raise SystemExit(1) from None
