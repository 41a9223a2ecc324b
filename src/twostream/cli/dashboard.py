"""`twostream-dashboard`: upload the offline runs to Weights & Biases, and make a workspace and a report of them."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import fmean
from typing import Any

import hydra
from omegaconf import DictConfig

from twostream.cli import CONF
from twostream.cli.errors import exit_on_error
from twostream.cli.panels import Place, SectionPlan, build_report, build_workspace, logged_names, table_key
from twostream.files import write_json
from twostream.loggers import check_installed, start
from twostream.runs import run_lock
from twostream.tables.results import Results, collect
from twostream.tables.spec import Cited, Row, from_config, load_spec

log = logging.getLogger(__name__)

ADDRESSES = "dashboard.json"
"""Of the runs' folder: the addresses of its workspace and its report."""
CONTENT = {
    "workspace": ("name", "sections", "settings", "runset_settings"),
    "report": ("title", "description", "blocks", "width"),
}
NOT_ONLINE = ("offline", "disabled", "dryrun")


@hydra.main(version_base="1.3", config_path=CONF, config_name="dashboard")
def main(cfg: DictConfig) -> None:
    """Bring W&B up to date with the runs in the folder `cfg.runs` and print where to look."""
    with exit_on_error(log):
        check_online()
        for address in make_dashboard(cfg).values():
            print(address)


def make_dashboard(cfg: DictConfig) -> dict[str, str]:
    """Upload the runs, log the tables, save workspace and report; return the addresses of these two.

    Raises ValueError for a wrong config and where the server refuses.
    """
    import wandb

    folder = Path(cfg.runs)
    if len(folder.parts) < 3:
        raise ValueError(f"runs: expected a folder such as runs/synthetic/smoke, got {folder}")
    tables = read_tables([Path(spec) for spec in cfg.specs], folder, list(cfg.seeds))
    plans = [section_plan(node, f"sections[{i}]") for i, node in enumerate(cfg.sections)]
    try:
        entity = cfg.entity or wandb.Api().default_entity
        if not entity:
            raise ValueError("entity: expected the user or team on W&B, which is not known; name it: entity=NAME")
        place = Place(entity, cfg.project)
        upload(folder, place)
        log_tables(tables, folder, place)
        workspace = build_workspace(place, tables, plans, logged_names(folder))
        report = build_report(place, [table for table in tables if table.spec.number], list(cfg.report_lines))
        return save(workspace, report, folder / ADDRESSES)
    except wandb.Error as error:
        raise ValueError(f"W&B: {error}") from error


def section_plan(node: DictConfig, where: str) -> SectionPlan:
    """Read a section of the workspace from the config. Raises ValueError for a key that is unknown or missing."""
    return from_config(SectionPlan, node, where)


def check_online() -> None:
    """Raise ImportError where a package is missing, ValueError where W&B can't be reached by the user's wish."""
    check_installed()
    try:
        import wandb_workspaces  # noqa: F401
    except ImportError:
        raise ImportError("the dashboard needs the package wandb-workspaces: pip install 'twostream[wandb]'") from None
    import wandb

    if (mode := os.environ.get("WANDB_MODE")) in NOT_ONLINE:
        raise ValueError(f"WANDB_MODE is {mode}, and the dashboard is on W&B's server: unset it for this command")
    if not wandb.login(prompt=False, verify=False):
        raise ValueError("not logged in to Weights & Biases: run `wandb login`, then this again")


def read_tables(specs: Sequence[Path], folder: Path, seeds: Sequence[int]) -> list[Results]:
    """Gather the tables of a folder `runs/<data>/<scale>`, those that are for its data."""
    *_, data, scale = folder.parts
    found = [load_spec(path) for path in specs]
    return [collect(spec, folder.parents[1], data, scale, seeds) for spec in found if spec.is_for(data)]


def not_uploaded(folder: Path) -> dict[Path, list[Path]]:
    """Return what was logged offline below a folder and is not on the server yet, by the folders of the runs."""
    found: dict[Path, list[Path]] = {}
    for path in sorted(folder.glob("**/wandb/offline-run-*/run-*.wandb")):
        if not path.with_suffix(".wandb.synced").exists():
            found.setdefault(path.parents[2], []).append(path)
    return found


def upload(folder: Path, place: Place) -> None:
    """Upload what is not on the server yet; a run that a process is at work on is left for the next time.

    Raises ValueError where something could not be uploaded.
    """
    with ExitStack() as stack:
        paths = []
        for run_dir, files in not_uploaded(folder).items():
            try:
                stack.enter_context(run_lock(run_dir))
            except ValueError as error:
                log.warning("%s; it is uploaded the next time", error)
                continue
            paths += files
        if not paths:
            return
        command = [sys.executable, "-m", "wandb", "sync", "--entity", place.entity, "--project", place.project]
        subprocess.run([*command, *map(str, paths)], check=False)
        # The command's exit status is 0 also where it gave up.
        left = [str(path) for path in paths if not path.with_suffix(".wandb.synced").exists()]
        if left:
            raise ValueError(f"`wandb sync` has not uploaded {', '.join(left)}; its lines above say why")


def log_tables(tables: Sequence[Results], folder: Path, place: Place) -> None:
    """Log the tables as `wandb.Table` in one run of job type `table`, the same for each call."""
    import wandb

    *_, data, scale = folder.parts
    identity = {
        "id": f"tables-{data}-{scale}",
        "name": f"tables-{data}-{scale}",
        "entity": place.entity,
        "project": place.project,
        "group": f"{data}-{scale}",
        "job_type": "table",
        "tags": [data, scale],
    }
    run = start(folder, identity, {"data": data, "scale": scale, "seeds": list(tables[0].seeds)})
    try:
        content = {table_key(table): table_numbers(table) for table in tables}
        run.log({key: wandb.Table(columns=[*names], data=rows) for key, (names, rows) in content.items()})
    finally:
        run.finish()


def table_numbers(table: Results) -> tuple[list[str], list[list[Any]]]:
    """Return a table's column names and its rows: the mean over the seeds, the paper's value where it has one.

    None is for a value that is not there. The rows that the paper cites come last, without a variant or a run.
    """
    spec, in_paper = table.spec, table.spec.in_paper()
    names, rows = [spec.row_heading, "variant"], []
    for column in table.shown_columns():
        names += [column.label, f"{column.label}, paper"] if column.label in in_paper else [column.label]
    shown: tuple[Row | Cited, ...] = (*spec.rows, *spec.cited)
    for row in shown:
        variant = row.variant if isinstance(row, Row) else None
        line: list[Any] = [row.label, variant]
        for column in table.shown_columns():
            values = [value.value for value in table.values(row, column).values()] if isinstance(row, Row) else []
            line.append(fmean(values) if values else None)
            if column.label in in_paper:
                line.append(row.paper.get(column.label))
        rows.append([*line, sum((variant, seed) in table.runs for seed in table.seeds)])
    return [*names, "runs"], rows


def save(workspace: Any, report: Any, path: Path) -> dict[str, str]:
    """Save workspace and report on W&B, in place of those of the last call, and return their addresses.

    Args:
        workspace: of wandb-workspaces.
        report: of wandb-workspaces.
        path: of the file that keeps the addresses.

    Raises ValueError where those of the last call can't be opened.

    """
    addresses = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for name, new in {"workspace": workspace, "report": report}.items():
        saved = _opened(new, addresses[name], name, path) if name in addresses else new
        saved.save()
        addresses[name] = str(saved.url)
        write_json(path, addresses)
    return addresses


def _opened(new: Any, address: str, name: str, path: Path) -> Any:
    """Open what is at an address and give it the new content; what is elsewhere stays as it is."""
    try:
        old = type(new).from_url(address)
    # wandb-workspaces raises errors of many kinds for an address that is not there.
    except Exception as error:
        raise ValueError(f"{address} can't be opened ({error}); remove {path} to make new ones") from error
    if (old.entity, old.project) != (new.entity, new.project):
        return new
    for key in CONTENT[name]:
        setattr(old, key, getattr(new, key))
    return old
