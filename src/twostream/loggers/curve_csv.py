"""Log curves to a CSV file that a resumed run appends to."""

import csv
import io
from pathlib import Path

from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter
from pytorch_lightning.loggers.logger import rank_zero_experiment

from twostream.files import read_rows, write_text

STEP = "step"  # column with the iterations done


class CurveLogger(CSVLogger):
    """Appends rows to `logs/metrics.csv` in a run's directory; Lightning's own logger would first remove the file."""

    def __init__(self, run_dir: str | Path) -> None:
        super().__init__(str(run_dir), name="logs", version="")

    @property
    @rank_zero_experiment
    def experiment(self) -> "_Appender":
        """The writer of the file."""
        if self._experiment is None:
            self._experiment: _Appender = _Appender(self.log_dir)
        return self._experiment


class _Appender(ExperimentWriter):
    def __init__(self, log_dir: str) -> None:
        super().__init__(log_dir)
        path = Path(self.metrics_file_path)
        if path.is_file():
            self.metrics_keys, _ = read_curves(path)

    def _check_log_dir_exists(self) -> None:
        """Keep the file, which Lightning's method removes."""


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
