"""Features that need an extra name it."""

import sys

import pytest

from twostream.extras import require


def test_missing_packages_are_named_with_their_extra(monkeypatch):
    require("the demo needs", "demo", "torch", "numpy")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(ImportError, match=r"^the demo needs uvicorn: pip install 'twostream\[demo\]'$"):
        require("the demo needs", "demo", "torch", "uvicorn")
    with pytest.raises(ImportError, match=r"^the demo needs uvicorn and nothere: pip install 'twostream\[demo\]'$"):
        require("the demo needs", "demo", "uvicorn", "nothere")
