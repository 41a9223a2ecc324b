"""The file of a run's curves, `logs/metrics.csv`: read it, and shorten it for a resumed run."""

import csv
import io
from pathlib import Path

from twostream.files import read_rows, write_text

STEP = "step"  # column with the iterations done


def read_curves(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Read a file of curves: the names of its columns, and its rows without a truncated last one.

    Raises ValueError with the path, and the line if it is one, for a file that holds no curves.
    """
    names, rows = read_rows(path)
    if names and STEP not in names:
        raise ValueError(f"{path}: expected curves with a column {STEP!r}, got {', '.join(names)[:80]!r}")
    if rows and not _is_complete(rows[-1], names):
        rows.pop()
    for number, row in enumerate(rows, start=2):
        if not _is_complete(row, names):
            raise ValueError(f"{path}:{number}: expected a number or nothing in each of {len(names)} columns")
    return names, rows


def keep_rows_until(path: Path, iteration: int) -> None:
    """Remove the rows of later iterations and a truncated last row from a file of curves, atomically."""
    if not path.is_file():
        return
    names, rows = read_curves(path)
    text = io.StringIO()
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows(row for row in rows if float(row[STEP]) <= iteration)
    write_text(path, text.getvalue())


def _is_complete(row: dict[str, str], names: list[str]) -> bool:
    """Whether a row has all columns, numbers or nothing in them, and its iteration."""
    try:
        numbers = {name: float(cell) for name, cell in row.items() if cell}
    except (TypeError, ValueError):
        return False
    return list(row) == names and STEP in numbers and row[STEP].isdecimal()
