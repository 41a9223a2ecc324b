"""The commands."""

from pathlib import Path

CONF = str(Path(__file__).resolve().parents[3] / "conf")  # next to `src/` in an editable install
