"""Log curves to a CSV file that a resumed run appends to."""

from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter
from pytorch_lightning.loggers.logger import rank_zero_experiment
from typing_extensions import override

from twostream.loggers.curve_csv import read_curves


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
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise ValueError(f"{path}: expected a regular file or none, got something else")
        if path.is_file():
            self.metrics_keys, _ = read_curves(path)

    @override
    def log_hparams(self, params: dict[str, Any]) -> None:
        """Write nothing: `config.json` and `run.json` hold them."""

    @override
    def _check_log_dir_exists(self) -> None:
        """Keep the file, which Lightning's method removes."""
