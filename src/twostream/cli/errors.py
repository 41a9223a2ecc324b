"""How commands report that they can't go on."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from hydra.errors import InstantiationException

EXPECTED = (ValueError, RuntimeError, OSError)


def reason(error: BaseException) -> BaseException:
    """Return what a constructor raised where Hydra wrapped it."""
    return error.__cause__ if isinstance(error, InstantiationException) and error.__cause__ else error


@contextmanager
def reported(log: logging.Logger) -> Iterator[None]:
    """Log an error and leave with exit status 1: one line where the message says it all, else with its traceback."""
    try:
        yield
    except Exception as error:
        cause = reason(error)
        if isinstance(cause, EXPECTED):
            log.error("%s", cause)
            log.debug("Where it was raised", exc_info=error)
        else:
            log.exception("%s", type(cause).__name__)
        raise SystemExit(1) from None
