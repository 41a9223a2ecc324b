"""What the dashboard shows: workspace and report as objects of wandb-workspaces, nothing of it saved yet."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twostream.loggers import ITERATION
from twostream.tables.render import markdown
from twostream.tables.results import Results
from twostream.tables.spec import Column

if TYPE_CHECKING:
    from wandb_workspaces.reports.v2 import BarPlot, LinePlot, MediaBrowser, PanelGrid, Report
    from wandb_workspaces.workspaces import Section, Workspace

MAX_RUNS = 100
"""Shown in one panel, at most."""


@dataclass(frozen=True)
class SectionPlan:
    """A section of the workspace: names of curves, one panel each, and of pictures."""

    name: str
    lines: list[str] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Place:
    """Where the runs are on W&B."""

    entity: str
    project: str


def build_workspace(
    place: Place, tables: Sequence[Results], plans: Sequence[SectionPlan], logged: frozenset[str]
) -> "Workspace":
    """Build the workspace of the runs of one data set at one scale, all with the iteration as x-axis.

    Args:
        place: of the runs.
        tables: at least one, all of the same runs' folder and seeds.
        plans: its sections below the final metrics and the tables.
        logged: names of the curves that some run has; empty where it isn't known.

    """
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    first = tables[0]
    numbered = [table for table in tables if table.spec.number is not None]
    others = [table for table in tables if table not in numbered]
    sections = [
        _section("Final metrics", map(_bar, _with_values(numbered)), columns=4),
        _section("Tables", (wr.MarkdownPanel(markdown=markdown(table)) for table in tables), columns=1),
        *(_curves(plan, logged) for plan in plans),
        *(_section(table.spec.title, map(_bar, _with_values([table])), columns=4) for table in others),
        _section("Settings that differ", [wr.RunComparer(diff_only="split")], columns=1),
    ]
    return ws.Workspace(
        entity=place.entity,
        project=place.project,
        name=f"Ablations: {first.data}, {first.scale}",
        sections=[section for section in sections if section.panels],
        settings=ws.WorkspaceSettings(x_axis=ITERATION, max_runs=MAX_RUNS),
        runset_settings=ws.RunsetSettings(
            filters=_runs_of(first),
            # Seeds of one variant become one curve with its spread.
            groupby=[ws.Config("variant")] if len(first.seeds) > 1 else [],
            order=[ws.Ordering(ws.Metric("Name"), ascending=True)],
            pinned_columns=[f"summary:{final_name(column)}" for column in _with_values(numbered)],
        ),
    )


def build_report(place: Place, tables: Sequence[Results], lines: Sequence[str]) -> "Report":
    """Build the report of the tables: each as text, with its own runs, their curves and its columns as bars."""
    import wandb_workspaces.reports.v2 as wr

    first = tables[0]
    numbers = list(dict.fromkeys(str(table.spec.number) for table in tables if table.spec.number is not None))
    blocks: list[wr.MarkdownBlock | wr.PanelGrid] = []
    for table in tables:
        blocks += [wr.MarkdownBlock(text=markdown(table)), _table_grid(place, table, lines)]
    logged: list[Any] = [
        wr.WeavePanelSummaryTable(table_name=table_key(table), layout=wr.Layout(w=24)) for table in tables
    ]
    runs = wr.Runset(place.entity, place.project, "Tables", filters=_runs_of(first, job_type="table"))
    return wr.Report(
        entity=place.entity,
        project=place.project,
        title=f"{'Tables' if len(numbers) > 1 else 'Table'} {', '.join(numbers)}: {first.data}, {first.scale}",
        description="Written by twostream-dashboard; another call replaces it.",
        blocks=[*blocks, wr.PanelGrid(runsets=[runs], panels=logged)],
        width="fluid",
    )


def table_key(table: Results) -> str:
    """Name a table among what is logged."""
    return f"tables/{table.spec.name}"


def final_name(column: Column) -> str:
    """Name a column's value in a run's summary."""
    return f"final/{column.protocol}/{column.metric}"


def logged_names(runs: Path) -> frozenset[str]:
    """Return the names of all curves in the `logs/metrics.csv` below a folder."""
    names: set[str] = set()
    for path in runs.glob("**/logs/metrics.csv"):
        with path.open(newline="", encoding="utf-8") as file:
            names |= set(next(csv.reader(file), []))
    return frozenset(names)


def _table_grid(place: Place, table: Results, lines: Sequence[str]) -> "PanelGrid":
    import wandb_workspaces.reports.v2 as wr

    runs = wr.Runset(
        place.entity,
        place.project,
        name=table.spec.title,
        filters=_runs_of(table, number=table.spec.number),
        groupby=["config.variant"] if len(table.seeds) > 1 else [],
        order=[wr.OrderBy("Name", ascending=True)],
    )
    return wr.PanelGrid(runsets=[runs], panels=[*map(_line, lines), *map(_bar, _with_values([table]))])


def _section(name: str, panels: Iterable[Any], columns: int) -> "Section":
    import wandb_workspaces.workspaces as ws

    layout = ws.SectionLayoutSettings(columns=columns, rows=min(2, columns))
    return ws.Section(name=name, panels=list(panels), is_open=True, layout_settings=layout)


def _curves(plan: SectionPlan, logged: frozenset[str]) -> "Section":
    lines = [_line(name) for name in plan.lines if name in logged or not logged]
    return _section(plan.name, [*lines, *map(_pictures, plan.pictures)], columns=1 if plan.pictures else 4)


def _line(name: str) -> "LinePlot":
    import wandb_workspaces.reports.v2 as wr

    return wr.LinePlot(title=name, x=ITERATION, y=[name], max_runs_to_show=MAX_RUNS)


def _bar(column: Column) -> "BarPlot":
    import wandb_workspaces.reports.v2 as wr

    name = final_name(column)
    return wr.BarPlot(title=column.label, metrics=[name], max_runs_to_show=MAX_RUNS, max_bars_to_show=MAX_RUNS)


def _pictures(key: str) -> "MediaBrowser":
    import wandb_workspaces.reports.v2 as wr

    return wr.MediaBrowser(title=key, media_keys=[key], num_columns=1, layout=wr.Layout(w=12, h=12))


def _with_values(tables: Iterable[Results]) -> list[Column]:
    """Return the columns that some run has a value for, each metric once."""
    found: dict[str, Column] = {}
    for table in tables:
        for column in table.shown_columns():
            if any(table.values(row, column) for row in table.spec.rows):
                found.setdefault(final_name(column), column)
    return list(found.values())


def _runs_of(table: Results, job_type: str = "train", number: int | None = None) -> str:
    """Return the filter for the runs of a table's data set and scale; with its number, for those of its rows alone."""
    tags = [table.data, table.scale, *([] if number is None else [f"table{number}"])]
    return " and ".join([f"Metric('JobType') = '{job_type}'", *(f"Tags() in ['{tag}']" for tag in tags)])
