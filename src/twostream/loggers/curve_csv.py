"""The curves of a run as a CSV file that a run goes on with."""

import csv
import io
from pathlib import Path

from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter
from pytorch_lightning.loggers.logger import rank_zero_experiment

from twostream.files import write_text

AXIS = "step"
"""Of a row: iterations that were done."""


class CurveLogger(CSVLogger):
    """Writes `logs/metrics.csv` in a run's folder, row after row, behind those that are there.

    Lightning's own logger begins by removing the file.
    """

    def __init__(self, run_dir: str | Path) -> None:
        super().__init__(str(run_dir), name="logs", version="")

    @property
    @rank_zero_experiment
    def experiment(self) -> "_Appender":
        """What writes the file."""
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
        """Leave what is there."""


def keep_rows_until(path: Path, iteration: int) -> None:
    """Take the rows of later iterations out of a curve's file, and a last row that was cut off; whole or not at all."""
    if not path.is_file():
        return
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        rows = [row for row in reader if _is_whole(row) and float(row[AXIS]) <= iteration]
        names = reader.fieldnames or []
    text = io.StringIO()
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def _is_whole(row: dict[str, str]) -> bool:
    try:
        return None not in row and None not in row.values() and float(row[AXIS]) >= 0
    except (KeyError, ValueError):
        return False
