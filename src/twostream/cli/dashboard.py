"""`twostream-dashboard`: a workspace and a report of runs on Weights & Biases, or a view of it without a server."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from twostream.cli import find_spec
from twostream.cli.table import read_tables
from twostream.extras import require
from twostream.loggers.wandb_dashboard import (
    ADDRESSES,
    WandbProject,
    build_report,
    build_workspace,
    check_online,
    log_tables,
    logged_names,
    save_dashboard,
    upload_offline_runs,
)
from twostream.report.figures import load_figure
from twostream.report.page import write_report
from twostream.report.workspace_view import write_workspace_view
from twostream.tables.results import Results
from twostream.tables.spec import check


def main(cfg: DictConfig) -> None:
    """Update W&B with the runs in the folder `cfg.runs` and print the addresses of workspace and report.

    With `cfg.view`, write the workspace to that file instead, without W&B's server, and print its path.
    """
    require("figures need", "figures", "matplotlib")
    if cfg.view:
        require("W&B needs", "wandb", "wandb", "wandb_workspaces")
        tables = read_tables(cfg)
        check(any(table.runs for table in tables), "runs", "an evaluated run", f"none in {cfg.runs}")
        workspace = make_workspace(cfg, WandbProject("nobody", cfg.project), tables)
        print(write_workspace_view(workspace, tables, Path(cfg.runs), Path(cfg.view)))
        return
    check_online()
    for address in make_dashboard(cfg).values():
        print(address)


def make_workspace(cfg: DictConfig, project: WandbProject, tables: Sequence[Results]) -> Any:
    """Build the workspace of tables; nothing is saved."""
    return build_workspace(project, tables, cfg.curves, list(cfg.images), logged_names(Path(cfg.runs)))


def make_dashboard(cfg: DictConfig) -> dict[str, str]:
    """Upload the runs, log the tables, save workspace and report; return the addresses of the last two.

    The report has the paper's tables, or all if none of them is the paper's. Raises ValueError for an invalid config,
    for tables of other data, and for an error of the server.
    """
    import wandb

    folder = Path(cfg.runs)
    tables = read_tables(cfg)
    check(len(tables) > 0, "specs", "a table for these data", "none")
    try:
        entity = cfg.entity or wandb.Api().default_entity
        if not entity:
            raise ValueError("entity: W&B knows no default user or team: pass entity=NAME")
        project = WandbProject(entity, cfg.project)
        upload_offline_runs(folder, project)
        report_page = None
        if any(table.runs for table in tables):
            figures = [load_figure(find_spec(spec)) for spec in cfg.figures]
            report_page = write_report(tables, figures, folder / "report.html", cfg.max_pairs)
        log_tables(tables, folder, project, report_page)
        workspace = make_workspace(cfg, project, tables)
        numbered = [table for table in tables if table.spec.number is not None]
        report = build_report(project, numbered or tables, list(cfg.report_curves))
        return save_dashboard(workspace, report, folder / ADDRESSES)
    except wandb.Error as error:
        raise ValueError(f"W&B: {error}") from error
