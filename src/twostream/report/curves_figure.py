"""A figure of a validation metric of several variants, over iterations or over the time of training."""

from dataclasses import dataclass
from pathlib import Path

from twostream.files import csv_text, write_text
from twostream.report.metric_names import CURVES
from twostream.report.plots import Curve, plot_curves, read_curve, save_figure
from twostream.tables.spec import check


@dataclass
class CurvesSpec:
    """Curves of a metric of `logs/metrics.csv`, one for each seed of some variants."""

    title: str
    curves: dict[str, str]  # variant by label
    metric: str = "val/ssim"
    over_time: bool = False  # over minutes of training instead of iterations
    name: str = ""  # stem of its files

    def __post_init__(self) -> None:
        check(len(self.curves) > 0, "curves", "at least one", "none")

    @property
    def heading(self) -> str:
        """The metric in words."""
        return CURVES.get(self.metric, self.metric)

    @property
    def caption(self) -> str:
        """What the figure shows, in words."""
        unit = "minutes of training, without validations" if self.over_time else "iterations"
        return f"{self.heading} over {unit}; one curve per seed"

    def make(self, runs: Path, seed: int, out: Path) -> list[Path]:
        """Draw the curves of all seeds, `<runs>/<variant>/seed*`, and write their values as `out/<name>.csv`.

        Returns the paths of the files. Raises ValueError if a variant has no curve of the metric.
        """
        found = {label: read_variant(runs / variant, self.metric) for label, variant in self.curves.items()}
        curves = {label: list(of_seeds.values()) for label, of_seeds in found.items()}
        paths = save_figure(plot_curves(curves, self.heading, self.over_time), out, self.name)
        rows = [
            (label, seed, iteration, f"{minutes:.2f}", f"{value:.6f}")
            for label, curves in found.items()
            for seed, curve in curves.items()
            for iteration, minutes, value in zip(*curve, strict=True)
        ]
        table = out / f"{self.name}.csv"
        write_text(table, csv_text([["label", "seed", "iteration", "minutes", self.metric], *rows]))
        return [*paths, table]


def read_variant(folder: Path, metric: str) -> dict[int, Curve]:
    """Return the curve of each seed of a variant. Raises ValueError if there is none."""
    seeds = sorted(int(path.name.removeprefix("seed")) for path in folder.glob("seed*") if path.name[4:].isdecimal())
    curves = {seed: read_curve(folder / f"seed{seed}" / "logs" / "metrics.csv", metric) for seed in seeds}
    curves = {seed: curve for seed, curve in curves.items() if curve.values}
    check(len(curves) > 0, str(folder), f"a run with a curve of {metric}", "none")
    return curves
