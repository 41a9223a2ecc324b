"""The workspace of a W&B dashboard as one HTML file, drawn from the files of the runs: what it shows, without W&B."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from jinja2 import Environment, PackageLoader
from markdown_it import MarkdownIt
from markupsafe import Markup

from twostream.files import data_uri, write_text
from twostream.loggers.curve_csv import read_curves
from twostream.report.plots import Curve, plot_bars, plot_curves, read_curve, svg
from twostream.tables.results import Results

# The files of a run that are logged under a name; of several the last is shown.
IMAGES = {
    "samples": "samples/[0-9]*.png",
    "correspondence": "samples/correspondence_*.png",
    "final/test": "samples/test.png",
}
SVG, PNG = "image/svg+xml", "image/png"


def write_workspace_view(workspace: Any, tables: Sequence[Results], folder: Path, out: Path) -> Path:
    """Draw a workspace of wandb-workspaces with the runs of its tables, which are in `folder`; return the path `out`.

    The seeds of a variant have one colour in curves; bars show their mean. Panels that W&B's server computes, such as
    the differences between configs, are named only.
    """
    found = {key for table in tables for key in table.runs}
    variants = dict.fromkeys(row.variant for table in tables for row in table.spec.rows)
    runs = {name: [folder / v / f"seed{seed}" for v, seed in sorted(found) if v == name] for name in variants}
    runs = {name: folders for name, folders in runs.items() if folders}
    sections = [
        {
            "name": section.name,
            "columns": section.layout_settings.columns,
            "panels": [_panel(panel, runs, tables) for panel in section.panels],
        }
        for section in workspace.sections
    ]
    environment = Environment(loader=PackageLoader("twostream.report"), autoescape=True, trim_blocks=True)
    write_text(out, environment.get_template("workspace.html").render(name=workspace.name, sections=sections))
    return out


def _panel(panel: Any, runs: Mapping[str, Sequence[Path]], tables: Sequence[Results]) -> dict[str, Any]:
    """Return a panel's title, and its plot, images or text."""
    kind = type(panel).__name__
    title = getattr(panel, "title", None) or ""
    if kind == "LinePlot":
        figure = plot_curves(_curves(panel, runs), title, over_time=False)
        return {"title": title, "images": [("", data_uri(svg(figure).encode(), SVG))]}
    if kind == "BarPlot":
        values = {name: _mean(tables, name, panel.metrics[0]) for name in runs}
        figure = plot_bars({name: value for name, value in values.items() if value is not None})
        return {"title": title, "images": [("", data_uri(svg(figure).encode(), SVG))]}
    if kind == "MediaBrowser":
        pattern = IMAGES.get(title, f"samples/{title}*.png")
        files = {name: sorted(folders[0].glob(pattern)) for name, folders in runs.items()}
        images = [(name, data_uri(paths[-1].read_bytes(), PNG)) for name, paths in files.items() if paths]
        return {"title": title, "images": images}
    if kind == "MarkdownPanel":
        # Without HTML of its own, so that all that names and messages contain is escaped.
        parser = MarkdownIt("commonmark", {"html": False}).enable("table")
        return {"title": title, "text": Markup(parser.render(panel.markdown))}
    return {"title": title, "text": f"{kind}: on W&B alone"}


def _curves(panel: Any, runs: Mapping[str, Sequence[Path]]) -> dict[str, list[Curve]]:
    """Return the curves that a panel shows, by variant."""
    pattern = re.compile(panel.metric_regex or "|".join(map(re.escape, panel.y)))
    found = {}
    for label, folders in runs.items():
        paths = [path for folder in folders if (path := folder / "logs" / "metrics.csv").is_file()]
        found[label] = [
            read_curve(path, name) for path in paths for name in read_curves(path)[0] if pattern.fullmatch(name)
        ]
    return {label: curves for label, curves in found.items() if curves}


def _mean(tables: Sequence[Results], variant: str, name: str) -> float | None:
    """Return the mean of the value that W&B has under a name such as `final/patn/ssim`, over the seeds of a variant."""
    _, protocol, metric = name.split("/", 2)
    for table in tables:
        of_runs = [
            value.value
            for (other, _), run in table.runs.items()
            if other == variant
            for value in run.values
            if (value.protocol, value.metric) == (protocol, metric)
        ]
        if of_runs:
            return fmean(of_runs)
    return None
