import json
import re
import subprocess
import sys
from base64 import b64decode
from pathlib import Path

import pytest
import wandb
from PIL import Image

from tiny_run import EXPERIMENTS, compose_config, fit
from twostream.cli import dashboard
from twostream.cli.dashboard import make_dashboard
from twostream.loggers import wandb_dashboard
from twostream.loggers.wandb_dashboard import (
    WandbProject,
    build_report,
    build_workspace,
    check_online,
    log_tables,
    logged_names,
    numeric_table,
    save_dashboard,
    upload_offline_runs,
)
from twostream.runs import run_lock
from twostream.tables.results import collect_all
from wandb_files import OFFLINE, written

# From the classes of wandb-workspaces, when they are imported.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")

SPECS = [EXPERIMENTS / f"{name}.yaml" for name in ("table3_at_module", "table4_fusion", "table5_blocks")]
PROJECT = WandbProject("me", "project")


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    for name, value in OFFLINE.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "runs/synthetic/smoke"


def read_tables(folder, specs=SPECS, seeds=(0,)):
    return collect_all(specs, folder, list(seeds))


@pytest.fixture
def tables(folder, add_run):
    add_run("full", {"ssim/patn": 0.3, "mask_ssim/patn": 0.8, "pckh/evaluator": 0.4})
    add_run("no_at_module", {"ssim/patn": 0.2, "mask_ssim/patn": 0.7})
    return read_tables(folder)


def compose_dashboard(*overrides):
    return compose_config("dashboard", f"specs=[{','.join(map(str, SPECS))}]", *overrides)


def test_the_config_shows_every_logged_curve_in_one_panel(tiny_config, tmp_path):
    fit(tiny_config())
    config = compose_dashboard()
    patterns = [pattern for names in config.curves.values() for pattern in names]
    for name in logged_names(tmp_path) - {"step"}:
        assert sum(bool(re.fullmatch(pattern, name)) for pattern in patterns) == 1, name


def test_the_workspace_has_sections_for_metrics_tables_curves_and_images(folder, add_run):
    add_run("full", {"ssim/patn": 0.3, "pckh/evaluator": 0.4, "correspondence_block_1/pck@0.1": 0.5})
    tables = read_tables(folder, [*SPECS, EXPERIMENTS / "correspondence.yaml"])
    curves = {"Losses": ["train/l1", "train/perceptual"], "sigma": ["sigma/block_.*"], "Memory": ["memory/.*"]}
    logged = frozenset({"train/l1", "sigma/block_1", "sigma/block_2"})
    workspace = build_workspace(PROJECT, tables, curves, ["samples"], logged)
    sections = {section.name: section.panels for section in workspace.sections}
    own = "Correspondence accuracy of the AT-blocks (PCK@0.1)"
    names = ["Final metrics", "Tables", "Losses", "sigma", "Images", own, "Settings that differ"]
    assert list(sections) == names, "sections without panels are left out"
    assert [panel.title for panel in sections["Final metrics"]] == ["SSIM", "PCKh (evaluator)"]
    assert [panel.title for panel in sections[own]] == ["Block 1"]
    assert [(panel.y, panel.metric_regex) for panel in sections["Losses"]] == [(["train/l1"], None)]
    assert [(panel.y, panel.metric_regex) for panel in sections["sigma"]] == [([], "^sigma/block_.*$")]
    runs = workspace.runset_settings
    assert runs.filters == "Metric('JobType') = 'train' and Tags() in ['synthetic'] and Tags() in ['smoke']"


def test_the_workspace_can_be_viewed_without_the_server(folder, add_run, capsys):
    add_run("full", {"ssim/patn": 0.3125, "pckh/evaluator": 0.4})
    add_run("no_at_module", {"ssim/patn": 0.25})
    for variant, loss in {"full": 1, "no_at_module": 2}.items():
        run_dir = folder / variant / "seed0"
        (run_dir / "logs").mkdir()
        (run_dir / "logs/metrics.csv").write_text(f"step,train/l1,sigma/block_1\n10,{loss},0\n20,0.5,1\n")
        (run_dir / "samples").mkdir()
        for name in ("000010.png", "000020.png", "correspondence_000010.png"):
            Image.new("RGB", (2, 2)).save(run_dir / "samples" / name)
    out = folder.parent / "view.html"
    dashboard.main(compose_dashboard(f"runs={folder}", f"view={out}"))
    assert capsys.readouterr().out == f"{out}\n"
    page = out.read_text()
    headings = re.findall(r"<summary>(.+)</summary>", page)
    names = ["Final metrics (2)", "Tables (3)", "Generator losses (1)", "sigma of the AT-blocks (1)", "Images (3)"]
    assert headings == [*names, "Settings that differ (1)"]
    captions = re.findall(r"<figcaption>(.+)</figcaption>", page)
    images = [f"{name}, {variant}" for name in ("samples", "correspondence") for variant in ("full", "no_at_module")]
    assert captions == ["SSIM", "PCKh (evaluator)", "train/l1", "sigma/block_.*", *images]
    first = re.search(r'src="data:image/svg[^,]+,([^"]+)"', page)
    bars = b64decode(first[1]).decode()
    assert "0.312" in bars
    assert "0.25" in bars
    cells = re.findall(r"<td[^>]*>(.*?)</td>", page)
    assert "2s-ATN (Full) 0.312 0.320" in " ".join(cells)


def test_the_report_shows_each_table_with_its_runs(tables):
    report = build_report(PROJECT, tables, ["val/ssim"])
    assert report.title == "Tables 3, 4, 5: synthetic, smoke"
    texts = [block.text for block in report.blocks if hasattr(block, "text")]
    assert "| 2s-ATN (Full) | 0.300 | 0.320 |" in " ".join(texts[0].split())
    *grids, logged = [block for block in report.blocks if hasattr(block, "panels")]
    for grid, number in zip(grids, (3, 4, 5), strict=True):
        assert f"Tags() in ['table{number}']" in grid.runsets[0].filters
    assert [panel.table_name for panel in logged.panels] == [f"tables/{spec.stem}" for spec in SPECS]


def test_the_report_of_tables_without_a_number_has_their_titles(folder, add_run):
    add_run("full", {"ssim/patn": 0.3})
    specs = [EXPERIMENTS / "correspondence.yaml", *SPECS[:1]]
    report = build_report(PROJECT, read_tables(folder, specs[:1]), ["val/ssim"])
    title = "Correspondence accuracy of the AT-blocks (PCK@0.1)"
    assert report.title == f"{title}: synthetic, smoke"
    assert build_report(PROJECT, read_tables(folder, specs), []).title == f"Table 3, {title}: synthetic, smoke"


def test_a_logged_table_has_means_over_the_seeds_the_papers_values_and_cited_rows(folder, add_run):
    add_run("full", {"ssim/patn": 0.25, "pckh/evaluator": 0.5})
    add_run("full", {"ssim/patn": 0.75}, seed=1)
    (table,) = read_tables(folder, SPECS[:1], seeds=(0, 1))
    names, rows = numeric_table(table)
    assert names == [
        *("Method", "variant", "SSIM", "SSIM, paper", "IS", "IS, paper", "Mask-SSIM", "Mask-SSIM, paper"),
        *("Mask-IS", "Mask-IS, paper", "PCKh (evaluator)", "runs"),
    ]
    assert rows == [
        ["2s-ATN (Full)", "full", 0.5, 0.320, None, 3.504, None, 0.813, None, 3.845, 0.5, 2],
        ["w/o AT-module", "no_at_module", None, 0.313, None, 3.252, None, 0.812, None, 3.793, None, 0],
    ]
    (with_cited,) = read_tables(folder, [EXPERIMENTS / "table1_market.yaml"])
    _, rows = numeric_table(with_cited)
    assert rows[0][:2] == ["2s-ATN (Full)", "full"]
    assert (rows[-1][1], rows[-1][2], rows[-1][-1]) == (None, None, 0)


def test_the_tables_are_logged_to_one_run_with_the_report_and_its_figures(tables, folder):
    report = folder / "report.html"
    report.write_text("<html><p>page</p></html>")
    (folder / "figures").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "figures" / "figure5.png")
    for _ in range(2):
        log_tables(tables, folder, PROJECT, report)
    first, second = written(folder)
    assert first.run["run_id"] == second.run["run_id"] == "tables-synthetic-smoke"
    assert (first.run["job_type"], first.run["tags"]) == ("table", ["synthetic", "smoke"])
    (row,) = first.history
    for key, suffix in (("report", ".html"), ("figures/figure5", ".png")):
        assert next(folder.glob(f"wandb/*/files/{row[f'{key}.path']}")).suffix == suffix
    path = next(folder.glob(f"wandb/*/files/{row['tables/table5_blocks.path']}"))
    variants = ["blocks_5", "blocks_7", "full", "blocks_11", "blocks_13"]
    assert [line[1] for line in json.loads(path.read_text())["data"]] == variants


@pytest.fixture
def offline_runs(folder):
    """Files as W&B leaves them: two attempts of one run, of which the first is uploaded, and another run."""
    names = [("full/seed0", "1-a"), ("full/seed0", "2-a"), ("no_at_module/seed0", "3-b")]
    paths = [folder / run / f"wandb/offline-run-{name}/run-{name[-1]}.wandb" for run, name in names]
    for path in paths:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
    paths[0].with_suffix(".wandb.synced").touch()
    online = folder / "full/seed0/wandb/run-4-a/run-a.wandb"
    online.parent.mkdir()
    online.touch()
    return paths


@pytest.fixture
def synced(monkeypatch):
    """Replaces `wandb sync`: records the commands and marks their files as uploaded, except for those in `fails`."""
    commands, fails = [], []

    def run(command, check):
        commands.append(command)
        for name in command:
            if name.endswith(".wandb") and name not in fails:
                Path(name).with_suffix(".wandb.synced").touch()

    monkeypatch.setattr(wandb_dashboard.subprocess, "run", run)
    return commands, fails


def test_offline_runs_are_uploaded_once(offline_runs, folder, synced):
    upload_offline_runs(folder, PROJECT)
    upload_offline_runs(folder, PROJECT)
    (command,), _ = synced
    expected = [sys.executable, "-m", "wandb", "sync", "--entity", "me", "--project", "project"]
    assert command == [*expected, *map(str, offline_runs[1:])]


def test_a_run_in_progress_is_uploaded_by_the_next_call(offline_runs, folder, synced, caplog):
    with run_lock(folder / "full/seed0"):
        upload_offline_runs(folder, PROJECT)
    assert synced[0][0][8:] == [str(offline_runs[2])]
    assert "skipped, the next call uploads it" in caplog.text


def test_a_failed_upload_is_an_error(offline_runs, folder, synced):
    synced[1].append(str(offline_runs[2]))
    with pytest.raises(ValueError, match=rf"`wandb sync` has not uploaded {offline_runs[2]}; see"):
        upload_offline_runs(folder, PROJECT)


def test_wandb_has_the_command_and_its_options():
    command = [sys.executable, "-m", "wandb", "sync", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for option in ("--entity", "--project", "[PATHS]"):
        assert option in done.stdout


@pytest.fixture
def make_saved(monkeypatch):
    """Makes a workspace or a report that is saved on `server`, a dict by address."""
    server = {}

    class Saved:
        entity = "me"

        def __init__(self, content, project="project"):
            self.content, self.project, self.url = content, project, None

        def save(self):
            self.url = self.url or f"https://wandb/{len(server)}"
            server[self.url] = self

        from_url = staticmethod(server.__getitem__)

    monkeypatch.setattr(wandb_dashboard, "CONTENT", {"workspace": ["content"], "report": ["content"]})
    return server, Saved


def test_another_call_replaces_what_the_last_one_saved_and_still_exists(tmp_path, make_saved):
    server, make = make_saved
    path = tmp_path / "dashboard.json"
    first = save_dashboard(make("workspace 1"), make("report 1"), path)
    assert first == {"workspace": "https://wandb/0", "report": "https://wandb/1"}
    assert save_dashboard(make("workspace 2"), make("report 2"), path) == first == json.loads(path.read_text())
    assert [saved.content for saved in server.values()] == ["workspace 2", "report 2"]
    other = save_dashboard(make("workspace 3", "other"), make("report 3", "other"), path)
    assert not {*first.values()} & {*other.values()}, "another project has its own"
    assert server[first["report"]].content == "report 2"
    del server[other["workspace"]]
    with pytest.raises(ValueError, match=rf"https://wandb/2 can't be opened .*; remove {path} to create new ones"):
        save_dashboard(make("workspace"), make("report"), path)


def test_the_dashboard_needs_a_login(monkeypatch):
    with pytest.raises(ValueError, match="WANDB_MODE is offline, but the dashboard needs W&B's server: unset it"):
        dashboard.main(compose_dashboard())
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setattr(wandb, "login", lambda **_: False)
    with pytest.raises(ValueError, match="not logged in to Weights & Biases: run `wandb login`"):
        check_online()
    monkeypatch.setattr(wandb, "login", lambda **_: True)
    check_online()


@pytest.mark.parametrize("package", ["wandb", "wandb_workspaces"])
def test_a_missing_package_is_named(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r"pip install 'twostream\[wandb\]'"):
        check_online()


def test_the_command_uploads_logs_and_saves(tables, folder, offline_runs, synced, make_saved, monkeypatch):
    _, make = make_saved
    monkeypatch.setattr(dashboard, "build_workspace", lambda *_: make("workspace"))
    monkeypatch.setattr(dashboard, "build_report", lambda *_: make("report"))
    page = folder / "report.html"
    monkeypatch.setattr(dashboard, "write_report", lambda *_: page.write_text("<html>") and page)
    addresses = make_dashboard(compose_dashboard(f"runs={folder}", "entity=me"))
    assert addresses == {"workspace": "https://wandb/0", "report": "https://wandb/1"}
    assert len(synced[0]) == 1
    assert list(folder.glob("wandb/offline-run-*-tables-synthetic-smoke"))
    assert json.loads((folder / "dashboard.json").read_text()) == addresses


@pytest.mark.usefixtures("tables")
def test_the_report_has_all_tables_if_none_has_a_number(folder, make_saved, monkeypatch):
    _, make = make_saved
    shown = []
    for name in ("upload_offline_runs", "log_tables", "write_report"):
        monkeypatch.setattr(dashboard, name, lambda *_: None)
    monkeypatch.setattr(dashboard, "build_workspace", lambda *_: make("workspace"))
    monkeypatch.setattr(dashboard, "build_report", lambda _, tables, __: shown.append(tables) or make("report"))
    warp, numbered = EXPERIMENTS / "table_warp.yaml", SPECS[0]
    for specs in ([warp], [warp, numbered]):
        make_dashboard(compose_dashboard(f"runs={folder}", "entity=me", f"specs=[{','.join(map(str, specs))}]"))
    assert [[table.spec.name for table in tables] for tables in shown] == [["table_warp"], ["table3_at_module"]]


def test_tables_for_other_data_are_refused_before_anything_is_uploaded(folder, offline_runs, synced):
    specs = EXPERIMENTS / "table_real.yaml"
    with pytest.raises(ValueError, match=r"^specs: expected a table for these data, got none$"):
        make_dashboard(compose_dashboard(f"runs={folder}", "entity=me", f"specs=[{specs}]"))
    assert synced[0] == []


def test_an_error_of_the_server_is_one_line(tables, folder, monkeypatch):
    def fail(*_):
        raise wandb.errors.CommError("no such project")

    monkeypatch.setattr(dashboard, "write_report", lambda *_: None)
    monkeypatch.setattr(dashboard, "log_tables", fail)
    with pytest.raises(ValueError, match="W&B: no such project"):
        make_dashboard(compose_dashboard(f"runs={folder}", "entity=me"))


def test_a_wrong_folder_and_an_unknown_user_are_refused(folder, monkeypatch):
    with pytest.raises(ValueError, match="runs: expected a folder such as runs/synthetic/smoke, got somewhere"):
        make_dashboard(compose_dashboard("runs=somewhere"))
    monkeypatch.setattr(wandb, "Api", lambda: type("Api", (), {"default_entity": None}))
    with pytest.raises(ValueError, match="pass entity=NAME"):
        make_dashboard(compose_dashboard(f"runs={folder}"))
