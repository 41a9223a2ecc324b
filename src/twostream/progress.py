"""How far a run has come: a small file in its folder, for whoever watches from outside."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from twostream.files import read_json, write_json

FILE = "progress.json"
OPTIONAL = ("seconds_per_iteration", "val_ssim")


@dataclass(frozen=True)
class Progress:
    """What a run wrote last.

    Attributes:
        iteration: iterations that are done.
        iterations: of the whole run.
        seconds_per_iteration: lately, with what happens between iterations; None before there are two to tell it from.
        val_ssim: SSIM of the last validation; None before the first, or where it was no finite number.
        written: seconds since 1970.

    """

    iteration: int
    iterations: int
    seconds_per_iteration: float | None
    val_ssim: float | None
    written: float

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the last iteration, at the present pace."""
        if self.seconds_per_iteration is None:
            return None
        return (self.iterations - self.iteration) * self.seconds_per_iteration


def write_progress(run_dir: Path, progress: Progress) -> None:
    """Write `progress.json` into a run's folder, whole or not at all."""
    write_json(run_dir / FILE, asdict(progress))


def read_progress(run_dir: Path) -> Progress | None:
    """Read `progress.json` of a run; None where there is none. Raises ValueError where it is something else."""
    path = run_dir / FILE
    content = read_json(path)
    if content is None:
        return None
    there = content if isinstance(content, dict) else {}
    numbers: dict[str, Any] = {field.name: there.get(field.name) for field in fields(Progress)}
    for name, value in numbers.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (is_number or (value is None and name in OPTIONAL)):
            raise ValueError(f"{path}: {name}: expected a number, got {value!r}")
    return Progress(**numbers)
