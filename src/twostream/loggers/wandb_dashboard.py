"""The dashboard on W&B: uploads of offline runs, tables, workspace and report."""

import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from twostream.extras import require
from twostream.files import read_object, write_json
from twostream.loggers.curve_csv import read_curves
from twostream.loggers.wandb_logger import ITERATION, start_wandb_run
from twostream.runs import run_lock
from twostream.tables.render import markdown
from twostream.tables.results import Results
from twostream.tables.spec import Column

log = logging.getLogger(__name__)

ADDRESSES = "dashboard.json"  # in the folder of the runs: the addresses of its workspace and report
CONTENT = {
    "workspace": ("name", "sections", "settings", "runset_settings"),
    "report": ("title", "description", "blocks", "width"),
}
MAX_RUNS = 100  # shown in one panel


class WandbProject(NamedTuple):
    """The W&B project of the runs."""

    entity: str
    project: str


def check_online() -> None:
    """Raise ImportError if a package is missing, ValueError if W&B is switched off or nobody is logged in."""
    require("W&B needs", "wandb", "wandb", "wandb_workspaces")
    import wandb

    if (mode := os.environ.get("WANDB_MODE")) in ("offline", "disabled", "dryrun"):
        raise ValueError(f"WANDB_MODE is {mode}, but the dashboard needs W&B's server: unset it for this command")
    if not wandb.login(prompt=False, verify=False):
        raise ValueError("not logged in to Weights & Biases: run `wandb login` first")


def upload_offline_runs(folder: Path, project: WandbProject) -> None:
    """Upload what is not on the server yet, except for runs that a process is writing to.

    Raises ValueError if something could not be uploaded.
    """
    todo = sorted(path for path in folder.glob("**/wandb/offline-run-*/run-*.wandb") if not _is_uploaded(path))
    with ExitStack() as stack:
        paths: list[Path] = []
        for run_dir, files in groupby(todo, key=lambda path: path.parents[2]):
            try:
                stack.enter_context(run_lock(run_dir))
            except ValueError as error:
                log.warning("%s; skipped, the next call uploads it", error)
                continue
            paths += files
        if not paths:
            return
        command = [sys.executable, "-m", "wandb", "sync", "--entity", project.entity, "--project", project.project]
        subprocess.run([*command, *map(str, paths)], check=False)
        # The exit status is 0 even if an upload fails.
        failed = [str(path) for path in paths if not _is_uploaded(path)]
        if failed:
            raise ValueError(f"`wandb sync` has not uploaded {', '.join(failed)}; see its messages above")


def _is_uploaded(path: Path) -> bool:
    return path.with_suffix(".wandb.synced").exists()


def log_tables(tables: Sequence[Results], folder: Path, project: WandbProject, report: Path | None = None) -> None:
    """Log the tables as `wandb.Table` to one W&B run of job type `table`, which every call resumes.

    An HTML report is logged too, and the figures in the folder next to it.
    """
    import wandb

    data, scale = tables[0].data, tables[0].scale
    identity = {
        "id": f"tables-{data}-{scale}",
        "name": f"tables-{data}-{scale}",
        **project._asdict(),
        "group": f"{data}-{scale}",
        "job_type": "table",
        "tags": [data, scale],
    }
    run = start_wandb_run(folder, identity, {"data": data, "scale": scale, "seeds": list(tables[0].seeds)})
    try:
        content = {_table_key(table): numeric_table(table) for table in tables}
        media: dict[str, Any] = {key: wandb.Table(columns=[*n], data=rows) for key, (n, rows) in content.items()}
        if report:
            media["report"] = wandb.Html(report.read_text(encoding="utf-8"))
            figures = sorted((report.parent / "figures").glob("*.png"))
            media |= {f"figures/{path.stem}": wandb.Image(str(path)) for path in figures}
        run.log(media)
    finally:
        run.finish()


def numeric_table(table: Results) -> tuple[list[str], list[list[Any]]]:
    """Return the column names and rows of a table: means over the seeds, next to the paper's values if it has some.

    Missing values are None. Rows cited by the paper come last, without a variant and without runs.
    """
    spec, in_paper = table.spec, table.spec.in_paper()
    names = [spec.row_heading, "variant"]
    for column in table.shown_columns():
        names += [column.label, f"{column.label}, paper"] if column.label in in_paper else [column.label]
    rows = []
    for row in spec.all_rows():
        line: list[Any] = [row.label, row.variant or None]
        for column in table.shown_columns():
            values = [value.value for value in table.values(row, column).values()]
            line.append(fmean(values) if values else None)
            if column.label in in_paper:
                line.append(row.paper.get(column.label))
        rows.append([*line, sum((row.variant, seed) in table.runs for seed in table.seeds)])
    return [*names, "runs"], rows


def logged_names(runs: Path) -> frozenset[str]:
    """Return the names of all curves in the `logs/metrics.csv` below a folder."""
    names: set[str] = set()
    for path in runs.glob("**/logs/metrics.csv"):
        names |= set(read_curves(path)[0])
    return frozenset(names)


def build_workspace(
    project: WandbProject,
    tables: Sequence[Results],
    curves: Mapping[str, Sequence[str]],
    images: Sequence[str],
    logged: frozenset[str],
) -> Any:
    """Build the workspace of wandb-workspaces for the runs of one dataset at one scale; nothing is saved.

    Args:
        project: of the runs.
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
    shown = {
        heading: [name for name in names if not logged or any(re.fullmatch(name, other) for other in logged)]
        for heading, names in curves.items()
    }
    browsers = [
        wr.MediaBrowser(title=key, media_keys=[key], num_columns=1, layout=wr.Layout(w=12, h=12)) for key in images
    ]
    sections = [
        _section("Final metrics", _bar_plots(of_paper), 4),
        _section("Tables", [wr.MarkdownPanel(markdown=markdown(table)) for table in tables], 1),
        *(_section(heading, _line_plots(names), 4) for heading, names in shown.items()),
        _section("Images", browsers, 1),
        *(_section(table.spec.title, _bar_plots([table]), 4) for table in tables if table.spec.number is None),
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
            pinned_columns=[f"summary:{name}" for name in _available_columns(of_paper)],
        ),
    )


def build_report(project: WandbProject, tables: Sequence[Results], curves: Sequence[str]) -> Any:
    """Build the report of wandb-workspaces: each table as text, followed by curves and bars of its runs."""
    import wandb_workspaces.reports.v2 as wr

    first = tables[0]
    blocks: list[Any] = []
    for table in tables:
        runs = wr.Runset(
            **project._asdict(),
            name=table.spec.title,
            filters=_filter(table, number=table.spec.number),
            groupby=["config.variant"] if len(table.seeds) > 1 else [],
            order=[wr.OrderBy("Name", ascending=True)],
        )
        panels = _line_plots(curves) + _bar_plots([table])
        blocks += [wr.MarkdownBlock(text=markdown(table)), wr.PanelGrid(runsets=[runs], panels=panels)]
    runs = wr.Runset(**project._asdict(), name="Tables", filters=_filter(first, job_type="table"))
    logged: list[Any] = [
        wr.WeavePanelSummaryTable(table_name=_table_key(table), layout=wr.Layout(w=24)) for table in tables
    ]
    return wr.Report(
        **project._asdict(),
        title=f"{_names(tables)}: {first.data}, {first.scale}",
        description="Written by twostream-dashboard, which replaces it when it runs again.",
        blocks=[*blocks, wr.PanelGrid(runsets=[runs], panels=logged)],
        width="fluid",
    )


def _names(tables: Sequence[Results]) -> str:
    """Return the numbers of tables, then the titles of those without one."""
    numbers = dict.fromkeys(str(table.spec.number) for table in tables if table.spec.number is not None)
    titles = [table.spec.title for table in tables if table.spec.number is None]
    numbered = [f"{'Tables' if len(numbers) > 1 else 'Table'} {', '.join(numbers)}"] if numbers else []
    return ", ".join(numbered + titles)


def _table_key(table: Results) -> str:
    return f"tables/{table.spec.name}"


def _section(name: str, panels: list[Any], columns: int) -> Any:
    import wandb_workspaces.workspaces as ws

    layout = ws.SectionLayoutSettings(columns=columns, rows=min(2, columns))
    return ws.Section(name=name, panels=panels, is_open=True, layout_settings=layout)


def _line_plots(curves: Sequence[str]) -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    plots = []
    for curve in curves:
        is_name = re.escape(curve) == curve
        shown: dict[str, Any] = {"y": [curve]} if is_name else {"metric_regex": f"^{curve}$"}
        plots.append(wr.LinePlot(title=curve, x=ITERATION, max_runs_to_show=MAX_RUNS, **shown))
    return plots


def _bar_plots(tables: Iterable[Results]) -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    return [
        wr.BarPlot(title=column.label, metrics=[name], max_runs_to_show=MAX_RUNS, max_bars_to_show=MAX_RUNS)
        for name, column in _available_columns(tables).items()
    ]


def _available_columns(tables: Iterable[Results]) -> dict[str, Column]:
    """Return the columns that at least one run has a value for, by the metric's name in the runs' summaries."""
    found: dict[str, Column] = {}
    for table in tables:
        for column in table.shown_columns():
            if any(table.values(row, column) for row in table.spec.rows):
                found.setdefault(f"final/{column.protocol}/{column.metric}", column)
    return found


def _filter(table: Results, job_type: str = "train", number: int | None = None) -> str:
    """Return the filter for runs of a table's dataset and scale; with `number`, for runs of that table's rows only."""
    tags = [table.data, table.scale, *([] if number is None else [f"table{number}"])]
    return " and ".join([f"Metric('JobType') = '{job_type}'", *(f"Tags() in ['{tag}']" for tag in tags)])


def save_dashboard(workspace: Any, report: Any, path: Path) -> dict[str, str]:
    """Save workspace and report of wandb-workspaces on W&B, and return their addresses, which `path` stores.

    Those of the last call are replaced. Raises ValueError if they can't be opened.
    """
    addresses = read_object(path) or {}
    for name, new in {"workspace": workspace, "report": report}.items():
        saved = _update_saved(new, addresses[name], name, path) if name in addresses else new
        saved.save()
        addresses[name] = str(saved.url)
        write_json(path, addresses)
    return addresses


def _update_saved(new: Any, address: str, name: str, path: Path) -> Any:
    """Open what is saved at an address and give it the new content; that of another project is not touched."""
    try:
        old = type(new).from_url(address)
    # wandb-workspaces raises errors of many types for an address that does not exist.
    except Exception as error:
        raise ValueError(f"{address} can't be opened ({error}); remove {path} to create new ones") from error
    if (old.entity, old.project) != (new.entity, new.project):
        return new
    for key in CONTENT[name]:
        setattr(old, key, getattr(new, key))
    return old
