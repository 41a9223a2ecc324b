"""Packages that only some features need: the extras of `pip install 'twostream[EXTRA]'`."""

from importlib.util import find_spec


def require(what: str, extra: str, *packages: str) -> None:
    """Raise ImportError, in one line with the extra that has them, unless all packages are installed.

    `what` begins the message, such as "the demo needs".
    """
    if missing := [name for name in packages if find_spec(name) is None]:
        raise ImportError(f"{what} {' and '.join(missing)}: pip install 'twostream[{extra}]'")
