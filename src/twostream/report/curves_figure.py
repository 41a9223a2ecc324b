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


def make_curves_figure(spec: CurvesSpec, runs: Path, out: Path) -> list[Path]:
    """Draw the curves of `<runs>/<variant>/seed*` as `out/<name>.png` and `.pdf`, and write their values as `.csv`.

    Returns the paths. Raises ValueError if a variant has no curve of the metric.
    """
    found = {label: read_variant(runs / variant, spec.metric) for label, variant in spec.curves.items()}
    curves = {label: list(of_seeds.values()) for label, of_seeds in found.items()}
    figure = plot_curves(curves, spec.heading, spec.over_time)
    paths = [out / f"{spec.name}.{suffix}" for suffix in ("png", "pdf")]
    save_figure(figure, paths)
    rows = [
        (label, seed, iteration, f"{minutes:.2f}", f"{value:.6f}")
        for label, curves in found.items()
        for seed, curve in curves.items()
        for iteration, minutes, value in zip(*curve, strict=True)
    ]
    table = out / f"{spec.name}.csv"
    write_text(table, csv_text([["label", "seed", "iteration", "minutes", spec.metric], *rows]))
    return [*paths, table]


def read_variant(folder: Path, metric: str) -> dict[int, Curve]:
    """Return the curve of each seed of a variant. Raises ValueError if there is none."""
    seeds = sorted(int(path.name.removeprefix("seed")) for path in folder.glob("seed*") if path.name[4:].isdecimal())
    curves = {seed: read_curve(folder / f"seed{seed}" / "logs" / "metrics.csv", metric) for seed in seeds}
    curves = {seed: curve for seed, curve in curves.items() if curve.values}
    check(len(curves) > 0, str(folder), f"a run with a curve of {metric}", "none")
    return curves
