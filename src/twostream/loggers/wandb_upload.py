"""What the dashboard sends to W&B: offline runs, tables, workspace and report."""

import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import fmean
from typing import Any

from twostream.files import read_json, write_json
from twostream.loggers.wandb_logger import check_installed, start_wandb_run
from twostream.loggers.wandb_workspace import WandbProject, table_key
from twostream.runs import run_lock
from twostream.tables.results import Results

log = logging.getLogger(__name__)

ADDRESSES = "dashboard.json"  # in the folder of the runs: the addresses of its workspace and report
CONTENT = {
    "workspace": ("name", "sections", "settings", "runset_settings"),
    "report": ("title", "description", "blocks", "width"),
}
OFFLINE_MODES = ("offline", "disabled", "dryrun")


def check_online() -> None:
    """Raise ImportError if a package is missing, ValueError if W&B is switched off or nobody is logged in."""
    check_installed("wandb", "wandb_workspaces")
    import wandb

    if (mode := os.environ.get("WANDB_MODE")) in OFFLINE_MODES:
        raise ValueError(f"WANDB_MODE is {mode}, but the dashboard needs W&B's server: unset it for this command")
    if not wandb.login(prompt=False, verify=False):
        raise ValueError("not logged in to Weights & Biases: run `wandb login` first")


def offline_files(folder: Path) -> dict[Path, list[Path]]:
    """Return the files that were logged offline below a folder and are not uploaded yet, by run folder."""
    found: dict[Path, list[Path]] = {}
    for path in sorted(folder.glob("**/wandb/offline-run-*/run-*.wandb")):
        if not _is_uploaded(path):
            found.setdefault(path.parents[2], []).append(path)
    return found


def upload_offline_runs(folder: Path, project: WandbProject) -> None:
    """Upload what is not on the server yet, except for runs that a process is writing to.

    Raises ValueError if something could not be uploaded.
    """
    with ExitStack() as stack:
        paths = []
        for run_dir, files in offline_files(folder).items():
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


def log_tables(tables: Sequence[Results], folder: Path, project: WandbProject) -> None:
    """Log the tables as `wandb.Table` to one W&B run of job type `table`, which every call resumes."""
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
        content = {table_key(table): numeric_table(table) for table in tables}
        run.log({key: wandb.Table(columns=[*names], data=rows) for key, (names, rows) in content.items()})
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


def save_dashboard(workspace: Any, report: Any, path: Path) -> dict[str, str]:
    """Save workspace and report on W&B, replacing those of the last call, and return their addresses.

    Args:
        workspace: a workspace of wandb-workspaces.
        report: a report of wandb-workspaces.
        path: file that stores the addresses between calls.

    Raises ValueError if those of the last call can't be opened.

    """
    addresses = read_json(path) or {}
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
