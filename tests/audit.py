"""The page of `make audit`: what the project computes, compared with independent references."""

from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

PARTS = ("Networks", "Losses and training", "Data", "Metrics", "Statistics")
INTRODUCTION = """# Audit

What this project computes, compared with independent references: the definition written out, plain and slow, or
another library. `make audit` runs the comparisons, fails if a difference is above its limit, and writes this page.
Each one is a test in `tests/`; the last column names its file. A difference is the largest one over all compared
numbers, *relative* to the largest expected number where it says so; 0 means that both take the same steps on a CPU.

Measured with {versions}.
"""
LIBRARIES = ("torch", "torchvision", "torchmetrics", "torch-fidelity", "scikit-image", "scipy", "numpy")


class Comparison(NamedTuple):
    """A row of the page."""

    part: str
    what: str
    against: str
    difference: float
    limit: float
    relative: bool
    count: int
    test: str

    @property
    def measured(self) -> str:
        """The difference as the page shows it."""
        if self.limit == 0:
            return f"{self.difference:.0f} of {self.count:,} differ"
        number = f"{self.difference:.1e}" if self.difference else "0"
        return f"{number} relative" if self.relative else number


def largest_difference(values: Any, expected: Any, relative: bool) -> tuple[float, int]:
    """Return the largest difference of two nested structures of numbers, and how many numbers there are.

    Anything but numbers counts 1 where it differs.
    """
    left, right = flat(values), flat(expected)
    assert len(left) == len(right) > 0
    if not all(isinstance(item, float) for item in (*left, *right)):
        return sum(one != other for one, other in zip(left, right, strict=True)), len(left)
    left, right = np.array(left), np.array(right)
    assert np.isfinite(right).all()
    return float(np.abs(left - right).max() / (np.abs(right).max() if relative else 1)), len(left)


def flat(values: Any) -> list[Any]:
    """Return the leaves of nested structures, numbers as floats, booleans as text."""
    if isinstance(values, torch.Tensor):
        values = values.detach().numpy()
    if isinstance(values, np.ndarray):
        return [str(item) if isinstance(item, bool) else float(item) for item in values.ravel().tolist()]
    if isinstance(values, dict):
        return flat([item for _, item in sorted(values.items())])
    if isinstance(values, list | tuple):
        return [leaf for item in values for leaf in flat(item)]
    return [float(values)] if isinstance(values, int | float | np.number) else [values]


def write_page(path: Path, rows: Iterable[Comparison]) -> None:
    """Write the comparisons as Markdown, a table for each part; of equal rows the one with the largest difference."""
    merged: dict[tuple[str, ...], Comparison] = {}
    for row in rows:
        known = merged.setdefault((row.part, row.what, row.against), row)
        larger = max(known, row, key=lambda comparison: comparison.difference)
        merged[row.part, row.what, row.against] = larger._replace(count=known.count + row.count * (known is not row))
    lines = [INTRODUCTION.format(versions=", ".join(f"{name} {version(name)}" for name in LIBRARIES))]
    for part in PARTS:
        lines += [
            f"## {part}",
            "",
            "| what | against | difference | limit | test |",
            "| --- | --- | ---: | ---: | --- |",
        ]
        for row in (row for row in merged.values() if row.part == part):
            limit = f"{row.limit:.0e}" if row.limit else "0"
            lines.append(f"| {row.what} | {row.against} | {row.measured} | {limit} | {row.test} |")
        lines.append("")
    path.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
