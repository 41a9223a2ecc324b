"""Workspace and report of the dashboard as objects of wandb-workspaces; nothing is saved here."""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from twostream.loggers.wandb_logger import ITERATION
from twostream.tables.render import markdown
from twostream.tables.results import Results
from twostream.tables.spec import Column

if TYPE_CHECKING:
    from wandb_workspaces.reports.v2 import BarPlot, LinePlot, MediaBrowser, Report
    from wandb_workspaces.workspaces import Section, Workspace

MAX_RUNS = 100  # shown in one panel


class WandbProject(NamedTuple):
    """The W&B project of the runs."""

    entity: str
    project: str


def logged_names(runs: Path) -> frozenset[str]:
    """Return the names of all curves in the `logs/metrics.csv` below a folder."""
    names: set[str] = set()
    for path in runs.glob("**/logs/metrics.csv"):
        with path.open(newline="", encoding="utf-8") as file:
            names |= set(next(csv.reader(file), []))
    return frozenset(names)


def build_workspace(
    project: WandbProject,
    tables: Sequence[Results],
    curves: Mapping[str, Sequence[str]],
    images: Sequence[str],
    logged: frozenset[str],
) -> "Workspace":
    """Build the workspace for the runs of one dataset at one scale.

    Args:
        project: W&B project of the runs.
        tables: at least one, all of the same folder of runs and the same seeds.
        curves: sections of curves by their headings. An entry is the name of a curve or a regular expression that
            matches names from start to end; each is one panel.
        images: names under which images are logged; each is one panel.
        logged: names of the curves that any run has; panels without a curve are left out. If empty, all are kept.

    """
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    first = tables[0]
    of_paper = [table for table in tables if table.spec.number is not None]
    others = [table for table in tables if table.spec.number is None]
    shown = {
        heading: [name for name in names if not logged or any(re.fullmatch(name, other) for other in logged)]
        for heading, names in curves.items()
    }
    sections = [
        _section("Final metrics", map(_bar_plot, _available_columns(of_paper)), 4),
        _section("Tables", (wr.MarkdownPanel(markdown=markdown(table)) for table in tables), 1),
        *(_section(heading, map(_line_plot, names), 4) for heading, names in shown.items()),
        _section("Images", map(_media_browser, images), 1),
        *(_section(table.spec.title, map(_bar_plot, _available_columns([table])), 4) for table in others),
        _section("Settings that differ", [wr.RunComparer(diff_only="split")], 1),
    ]
    return ws.Workspace(
        **project._asdict(),
        name=f"Ablations: {first.data}, {first.scale}",
        sections=[section for section in sections if section.panels],
        settings=ws.WorkspaceSettings(x_axis=ITERATION, max_runs=MAX_RUNS),
        runset_settings=ws.RunsetSettings(
            filters=_filter(first),
            # The seeds of a variant become one curve with its spread.
            groupby=[ws.Config("variant")] if len(first.seeds) > 1 else [],
            order=[ws.Ordering(ws.Metric("Name"), ascending=True)],
            pinned_columns=[f"summary:{_summary_name(column)}" for column in _available_columns(of_paper)],
        ),
    )


def build_report(project: WandbProject, tables: Sequence[Results], curves: Sequence[str]) -> "Report":
    """Build the report of the tables: each as text, followed by curves and bars of its runs."""
    import wandb_workspaces.reports.v2 as wr

    first = tables[0]
    blocks: list[wr.MarkdownBlock | wr.PanelGrid] = []
    for table in tables:
        runs = wr.Runset(
            **project._asdict(),
            name=table.spec.title,
            filters=_filter(table, number=table.spec.number),
            groupby=["config.variant"] if len(table.seeds) > 1 else [],
            order=[wr.OrderBy("Name", ascending=True)],
        )
        panels: list[Any] = [*map(_line_plot, curves), *map(_bar_plot, _available_columns([table]))]
        blocks += [wr.MarkdownBlock(text=markdown(table)), wr.PanelGrid(runsets=[runs], panels=panels)]
    runs = wr.Runset(**project._asdict(), name="Tables", filters=_filter(first, job_type="table"))
    logged: list[Any] = [
        wr.WeavePanelSummaryTable(table_name=table_key(table), layout=wr.Layout(w=24)) for table in tables
    ]
    numbers = list(dict.fromkeys(str(table.spec.number) for table in tables))
    return wr.Report(
        **project._asdict(),
        title=f"{'Tables' if len(numbers) > 1 else 'Table'} {', '.join(numbers)}: {first.data}, {first.scale}",
        description="Written by twostream-dashboard, which replaces it when it runs again.",
        blocks=[*blocks, wr.PanelGrid(runsets=[runs], panels=logged)],
        width="fluid",
    )


def table_key(table: Results) -> str:
    """Return the name under which a table is logged."""
    return f"tables/{table.spec.name}"


def _section(name: str, panels: Iterable[Any], columns: int) -> "Section":
    import wandb_workspaces.workspaces as ws

    layout = ws.SectionLayoutSettings(columns=columns, rows=min(2, columns))
    return ws.Section(name=name, panels=list(panels), is_open=True, layout_settings=layout)


def _line_plot(curve: str) -> "LinePlot":
    import wandb_workspaces.reports.v2 as wr

    is_name = re.escape(curve) == curve
    shown: dict[str, Any] = {"y": [curve]} if is_name else {"metric_regex": f"^{curve}$"}
    return wr.LinePlot(title=curve, x=ITERATION, max_runs_to_show=MAX_RUNS, **shown)


def _bar_plot(column: Column) -> "BarPlot":
    import wandb_workspaces.reports.v2 as wr

    metrics: list[Any] = [_summary_name(column)]
    return wr.BarPlot(title=column.label, metrics=metrics, max_runs_to_show=MAX_RUNS, max_bars_to_show=MAX_RUNS)


def _media_browser(key: str) -> "MediaBrowser":
    import wandb_workspaces.reports.v2 as wr

    return wr.MediaBrowser(title=key, media_keys=[key], num_columns=1, layout=wr.Layout(w=12, h=12))


def _summary_name(column: Column) -> str:
    return f"final/{column.protocol}/{column.metric}"


def _available_columns(tables: Iterable[Results]) -> list[Column]:
    """Return the columns that at least one run has a value for, each metric once."""
    found: dict[str, Column] = {}
    for table in tables:
        for column in table.shown_columns():
            if any(table.values(row, column) for row in table.spec.rows):
                found.setdefault(_summary_name(column), column)
    return list(found.values())


def _filter(table: Results, job_type: str = "train", number: int | None = None) -> str:
    """Return the filter for runs of a table's dataset and scale; with `number`, for runs of that table's rows only."""
    tags = [table.data, table.scale, *([] if number is None else [f"table{number}"])]
    return " and ".join([f"Metric('JobType') = '{job_type}'", *(f"Tags() in ['{tag}']" for tag in tags)])
