"""Log curves to a CSV file that a resumed run appends to."""

import csv
import io
from pathlib import Path

from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter
from pytorch_lightning.loggers.logger import rank_zero_experiment

from twostream.files import write_text

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
            with path.open(newline="") as file:
                self.metrics_keys = next(csv.reader(file), [])

    def _check_log_dir_exists(self) -> None:
        """Keep the file, which Lightning's method removes."""


def keep_rows_until(path: Path, iteration: int) -> None:
    """Remove the rows of later iterations and a truncated last row from a file of curves, atomically."""
    if not path.is_file():
        return
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        rows = [row for row in reader if _is_complete(row) and float(row[STEP]) <= iteration]
        names = reader.fieldnames or []
    text = io.StringIO()
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def _is_complete(row: dict[str, str]) -> bool:
    try:
        return None not in row and None not in row.values() and float(row[STEP]) >= 0
    except (KeyError, ValueError):
        return False
