"""`twostream-dashboard`: upload offline runs to Weights & Biases and build a workspace and a report of them."""

from pathlib import Path

from omegaconf import DictConfig

from twostream.cli import find_spec, split_runs_folder
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
from twostream.tables.results import collect
from twostream.tables.spec import load_spec


def main(cfg: DictConfig) -> None:
    """Update W&B with the runs in the folder `cfg.runs` and print the addresses of workspace and report."""
    check_online()
    require("figures need", "figures", "matplotlib")
    for address in make_dashboard(cfg).values():
        print(address)


def make_dashboard(cfg: DictConfig) -> dict[str, str]:
    """Upload the runs, log the tables, save workspace and report; return the addresses of the last two.

    Raises ValueError for an invalid config, and for an error of the server.
    """
    import wandb

    folder = Path(cfg.runs)
    parent, data, scale = place = split_runs_folder(folder)
    specs = [spec for spec in (load_spec(find_spec(path)) for path in cfg.specs) if spec.is_for(data)]
    tables = [collect(spec, parent, data, scale, list(cfg.seeds)) for spec in specs]
    try:
        entity = cfg.entity or wandb.Api().default_entity
        if not entity:
            raise ValueError("entity: W&B knows no default user or team: pass entity=NAME")
        project = WandbProject(entity, cfg.project)
        upload_offline_runs(folder, project)
        report_page = None
        if any(table.runs for table in tables):
            figures = [load_figure(find_spec(spec)) for spec in cfg.figures]
            report_page = write_report(specs, figures, *place, list(cfg.seeds), folder / "report.html", cfg.max_pairs)
        log_tables(tables, folder, project, report_page)
        workspace = build_workspace(project, tables, cfg.curves, list(cfg.images), logged_names(folder))
        numbered = [table for table in tables if table.spec.number is not None]
        report = build_report(project, numbered, list(cfg.report_curves))
        return save_dashboard(workspace, report, folder / ADDRESSES)
    except wandb.Error as error:
        raise ValueError(f"W&B: {error}") from error
