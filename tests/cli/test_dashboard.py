import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import ClassVar
from unittest.mock import MagicMock

import pytest
import wandb
from hydra import compose, initialize_config_dir

from twostream.build import build_datamodule, build_module, build_trainer
from twostream.cli import CONF, dashboard
from twostream.cli.dashboard import (
    check_online,
    log_tables,
    make_dashboard,
    not_uploaded,
    read_tables,
    save,
    section_plan,
    table_numbers,
    upload,
)
from twostream.cli.panels import Place, build_report, build_workspace, logged_names
from twostream.runs import run_lock
from wandb_files import written

# From the classes of wandb-workspaces, when they are imported.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")

EXPERIMENTS = Path(CONF).parent / "experiments"
SPECS = [EXPERIMENTS / f"{name}.yaml" for name in ("table3_at_module", "table4_fusion", "table5_blocks")]
PLACE = Place("me", "project")


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("WANDB_SILENT", "true")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "runs/synthetic/smoke"


@pytest.fixture
def add_run(folder):
    """Writes the metrics.json of a run: values by `metric/protocol`."""

    def add(variant, values, seed=0):
        run = {"data": "synthetic", "label": "synthetic people", "scale": "smoke", "variant": variant, "seed": seed}
        run |= {"iterations": 90, "batch_size": 4, "image_size": [64, 32], "commit": "abc", "dirty": False}
        run |= {"data_hash": "d", "notes": []}
        names = [name.split("/") for name in values]
        entries = [
            {"metric": metric, "protocol": protocol, "value": value, "n": 64, "interval": None}
            for (metric, protocol), value in zip(names, values.values(), strict=True)
        ]
        content = {"format": 2, "run": run, "test": {"identities": 12, "pairs_hash": "p"}, "values": entries}
        path = folder / variant / f"seed{seed}" / "metrics.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(content | {"missing": []}))

    return add


@pytest.fixture
def tables(folder, add_run):
    add_run("full", {"ssim/patn": 0.3, "mask_ssim/patn": 0.8, "pckh/evaluator": 0.4})
    add_run("no_at_module", {"ssim/patn": 0.2, "mask_ssim/patn": 0.7})
    return read_tables(SPECS, folder, [0])


def panels_of(section, kind):
    return [panel for panel in section.panels if type(panel).__name__ == kind]


def sections_of(cfg):
    return [section_plan(node, "sections") for node in cfg.sections]


def compose_dashboard(*overrides):
    with initialize_config_dir(version_base="1.3", config_dir=CONF):
        return compose("dashboard", [f"specs=[{','.join(map(str, SPECS))}]", *overrides])


@pytest.fixture
def config():
    return compose_dashboard()


def test_the_sections_show_every_curve_that_is_logged_and_no_other(tiny_config, tmp_path, config):
    cfg = tiny_config("generator.num_blocks=13")
    build_trainer(cfg).fit(build_module(cfg), datamodule=build_datamodule(cfg))
    shown = {name for node in config.sections for name in node.get("lines", [])}
    # A CPU has no memory of its own.
    shown -= {"memory/allocated_gib", "memory/peak_gib"}
    assert shown == logged_names(tmp_path) - {"step"}
    assert set(config.report_lines) <= shown


def test_the_workspace_has_a_section_for_each_thing(tables, config):
    blocks = {"sigma/block_1", "sigma/block_2", "logits/block_1_min", "logits/block_1_max"}
    logged = frozenset({"train/l1", "train/adversarial", "val/ssim"} | blocks)
    workspace = build_workspace(PLACE, tables, sections_of(config), logged)
    assert (workspace.entity, workspace.project) == ("me", "project")
    assert workspace.settings.x_axis == "iteration"
    sections = {section.name: section for section in workspace.sections}
    assert list(sections) == [
        "Final metrics",
        "Tables",
        "Losses of the generator",
        "Validation",
        "Pictures",
        "sigma of the AT-blocks",
        "logits of the AT-blocks",
        "Settings that differ",
    ]
    bars = {panel.title: panel.metrics for panel in panels_of(sections["Final metrics"], "BarPlot")}
    assert bars == {
        "SSIM": ["final/patn/ssim"],
        "Mask-SSIM": ["final/patn/mask_ssim"],
        "PCKh (evaluator)": ["final/evaluator/pckh"],
    }
    for name, curves in {
        "Losses of the generator": ["train/l1", "train/adversarial"],
        "Validation": ["val/ssim"],
        "logits of the AT-blocks": ["logits/block_1_min", "logits/block_1_max"],
    }.items():
        plots = panels_of(sections[name], "LinePlot")
        assert [plot.y for plot in plots] == [[curve] for curve in curves]
        assert {plot.x for plot in plots} == {"iteration"}
    pictures = panels_of(sections["Pictures"], "MediaBrowser")
    assert [panel.media_keys for panel in pictures] == [["samples"], ["correspondence"], ["final/test"]]
    texts = [panel.markdown for panel in panels_of(sections["Tables"], "MarkdownPanel")]
    assert [text.split(":")[0] for text in texts] == ["## Table 3", "## Table 4", "## Table 5"]
    assert all(section.is_open for section in workspace.sections)


def test_the_workspace_holds_the_runs_of_its_data_and_scale_alone(tables, config):
    workspace = build_workspace(PLACE, tables, sections_of(config), frozenset())
    runs = workspace.runset_settings
    assert runs.filters == "Metric('JobType') = 'train' and Tags() in ['synthetic'] and Tags() in ['smoke']"
    assert runs.groupby == []
    assert runs.pinned_columns[:2] == ["run:displayName", "summary:final/patn/ssim"]
    # What the server is given: both tags must be there.
    spec = workspace._spec["spec"]["section"]["runSets"][0]["filters"]["filters"]
    assert [(entry["key"]["name"], entry["value"]) for entry in spec] == [
        ("jobType", "train"),
        ("tags", ["synthetic"]),
        ("tags", ["smoke"]),
    ]


def test_seeds_of_a_variant_are_grouped(folder, add_run, config):
    add_run("full", {"ssim/patn": 0.3})
    tables = read_tables(SPECS, folder, [0, 1])
    workspace = build_workspace(PLACE, tables, sections_of(config), frozenset())
    assert [key.name for key in workspace.runset_settings.groupby] == ["variant"]
    grids = [block for block in build_report(PLACE, tables, []).blocks if hasattr(block, "runsets")]
    assert [grid.runsets[0].groupby for grid in grids] == [["config.variant"]] * 3 + [[]]


def test_the_correspondence_has_bars_of_its_own(folder, add_run):
    add_run("full", {"ssim/patn": 0.3, "correspondence_chance/pck@0.1": 0.06, "correspondence_block_1/pck@0.1": 0.5})
    tables = read_tables([*SPECS, EXPERIMENTS / "correspondence.yaml"], folder, [0])
    *_, section, _ = build_workspace(PLACE, tables, [], frozenset()).sections
    assert section.name == "Correspondence accuracy of the AT-blocks (PCK@0.1)"
    assert [panel.title for panel in section.panels] == ["Chance", "Block 1"]


def test_the_report_has_text_runs_and_panels_of_each_table(tables):
    report = build_report(PLACE, tables, ["val/ssim"])
    assert report.title == "Tables 3, 4, 5: synthetic, smoke"
    texts = [block.text for block in report.blocks if hasattr(block, "text")]
    assert len(texts) == 3
    assert "| 2s-ATN (Full) | 0.300 | 0.320 |" in " ".join(texts[0].split())
    *grids, logged = [block for block in report.blocks if hasattr(block, "panels")]
    for grid, number in zip(grids, (3, 4, 5), strict=True):
        (runs,) = grid.runsets
        assert (runs.entity, runs.project) == ("me", "project")
        assert runs.filters.endswith(f"Tags() in ['synthetic'] and Tags() in ['smoke'] and Tags() in ['table{number}']")
        line, *bars = grid.panels
        assert (line.x, line.y) == ("iteration", ["val/ssim"])
        assert [bar.title for bar in bars] == ["SSIM", "Mask-SSIM", "PCKh (evaluator)"]
    assert "'table'" in logged.runsets[0].filters
    assert [panel.table_name for panel in logged.panels] == [
        "tables/table3_at_module",
        "tables/table4_fusion",
        "tables/table5_blocks",
    ]


def test_a_table_is_told_in_numbers(folder, add_run):
    add_run("full", {"ssim/patn": 0.25, "pckh/evaluator": 0.5})
    add_run("full", {"ssim/patn": 0.75}, seed=1)
    (table,) = read_tables(SPECS[:1], folder, [0, 1])
    names, rows = table_numbers(table)
    assert names == [
        *("Method", "variant", "SSIM", "SSIM, paper", "IS", "IS, paper", "Mask-SSIM", "Mask-SSIM, paper"),
        *("Mask-IS", "Mask-IS, paper", "PCKh (evaluator)", "runs"),
    ]
    assert rows == [
        ["2s-ATN (Full)", "full", 0.5, 0.320, None, 3.504, None, 0.813, None, 3.845, 0.5, 2],
        ["w/o AT-module", "no_at_module", None, 0.313, None, 3.252, None, 0.812, None, 3.793, None, 0],
    ]


def test_what_the_paper_cites_is_told_below_our_rows(folder, add_run):
    add_run("patn", {"ssim/patn": 0.25})
    (table,) = read_tables([EXPERIMENTS / "table1_market.yaml"], folder, [0])
    names, rows = table_numbers(table)
    first, second, third, *_, last = [[line[names.index(name)] for name in names] for line in rows]
    assert first[:4] == ["2s-ATN (Full)", "full", None, 0.320]
    assert second[:4] == ["PATN (our code)", "patn", 0.25, None]
    assert third[:4] == ["DPIG (Ma et al. 2018)", None, None, 0.099]
    assert last[:4] == ["Real Data", None, None, 1.0]
    assert [line[-1] for line in rows] == [0, 1, *[0] * 8]
    report = build_report(PLACE, [table], [])
    assert report.title == "Table 1: synthetic, smoke"
    assert report.blocks[0].text.startswith("## Table 1: Comparison with the state of the art on Market-1501.")
    assert "DPIG" in report.blocks[0].text


def test_the_tables_are_logged_in_one_run_of_their_own(tables, folder):
    for _ in range(2):
        log_tables(tables, folder, PLACE)
    first, second = written(folder)
    assert first.run["run_id"] == second.run["run_id"] == "tables-synthetic-smoke"
    assert (first.run["job_type"], first.run["tags"]) == ("table", ["synthetic", "smoke"])
    assert first.config["seeds"] == [0]
    (row,) = first.history
    assert row["tables/table3_at_module._type"] == "table-file"
    assert (row["tables/table3_at_module.nrows"], row["tables/table3_at_module.ncols"]) == (2, 12)
    path = next(folder.glob(f"wandb/*/files/{row['tables/table5_blocks.path']}"))
    assert [line[1] for line in json.loads(path.read_text())["data"]] == [
        *("blocks_5", "blocks_7", "full", "blocks_11", "blocks_13"),
    ]


def test_tables_of_other_data_are_left_out(folder):
    specs = [EXPERIMENTS / "correspondence.yaml"]
    assert len(read_tables(specs, folder, [0])) == 1
    assert read_tables(specs, folder.parents[1] / "market1501/smoke", [0]) == []


def test_names_come_from_all_curves(folder):
    for name, header in {"full": ["a", "b"], "other": ["b", "c"], "empty": []}.items():
        path = folder / name / "seed0/logs/metrics.csv"
        path.parent.mkdir(parents=True)
        with path.open("w", newline="") as file:
            csv.writer(file).writerow(header)
    assert logged_names(folder) == {"a", "b", "c"}
    assert logged_names(folder / "nowhere") == frozenset()


@pytest.fixture
def offline_runs(folder):
    """Files as W&B leaves them: two attempts of one run, of which the first is uploaded, and another run."""
    names = [("full/seed0", "1-a"), ("full/seed0", "2-a"), ("no_at_module/seed0", "3-b")]
    paths = [folder / run / f"wandb/offline-run-{name}/run-{name[-1]}.wandb" for run, name in names]
    for path in paths:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
    paths[0].with_suffix(".wandb.synced").touch()
    (folder / "full/seed0/wandb/run-4-a").mkdir()
    (folder / "full/seed0/wandb/run-4-a/run-a.wandb").touch()
    return paths


@pytest.fixture
def synced(monkeypatch):
    """Stands for `wandb sync`; keeps the commands and marks what it was given, but for what is named in `fails`."""
    commands, fails = [], []

    def run(command, check):
        commands.append(command)
        for name in command:
            if name.endswith(".wandb") and name not in fails:
                Path(name).with_suffix(".wandb.synced").touch()

    monkeypatch.setattr(dashboard.subprocess, "run", run)
    return commands, fails


def test_what_is_not_uploaded_is_found_by_run(offline_runs, folder):
    _, second, third = offline_runs
    assert not_uploaded(folder) == {folder / "full/seed0": [second], folder / "no_at_module/seed0": [third]}


def test_uploading_is_left_to_wandb(offline_runs, folder, synced):
    upload(folder, PLACE)
    upload(folder, PLACE)
    (command,), _ = synced
    expected = [sys.executable, "-m", "wandb", "sync", "--entity", "me", "--project", "project"]
    assert command == [*expected, *map(str, offline_runs[1:])]


def test_a_run_at_work_is_uploaded_the_next_time(offline_runs, folder, synced, caplog):
    with run_lock(folder / "full/seed0"):
        upload(folder, PLACE)
    assert synced[0][0][8:] == [str(offline_runs[2])]
    assert "another process is running in this directory; it is uploaded the next time" in caplog.text


def test_what_could_not_be_uploaded_is_named(offline_runs, folder, synced):
    synced[1].append(str(offline_runs[2]))
    with pytest.raises(ValueError, match=rf"`wandb sync` has not uploaded {offline_runs[2]}; its lines above"):
        upload(folder, PLACE)


def test_wandb_has_the_command_and_its_options():
    command = [sys.executable, "-m", "wandb", "sync", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for option in ("--entity", "--project", "[PATHS]"):
        assert option in done.stdout


class Saved:
    """Stands for a workspace or a report with its server."""

    server: ClassVar[dict] = {}

    def __init__(self, project="project", **content):
        self.entity, self.project, self.url = "me", project, None
        self.__dict__ |= content

    def save(self):
        self.url = self.url or f"https://wandb/{self.kind}{len(self.server)}"
        self.server[self.url] = self

    @classmethod
    def from_url(cls, url):
        return cls.server[url]


class SavedWorkspace(Saved):
    kind = "workspace"

    def __init__(self, name, project="project"):
        super().__init__(project, name=name, sections=[name], settings={}, runset_settings={})


class SavedReport(Saved):
    kind = "report"

    def __init__(self, title, project="project"):
        super().__init__(project, title=title, description="", blocks=[title], width="fluid")


@pytest.fixture
def server(monkeypatch):
    server = {}
    monkeypatch.setattr(Saved, "server", server)
    return server


def test_another_call_replaces_what_the_last_one_saved(tmp_path, server):
    path = tmp_path / "dashboard.json"
    first = save(SavedWorkspace("one"), SavedReport("one"), path)
    assert first == {"workspace": "https://wandb/workspace0", "report": "https://wandb/report1"}
    assert save(SavedWorkspace("two"), SavedReport("two"), path) == first == json.loads(path.read_text())
    assert len(server) == 2
    assert server[first["workspace"]].sections == ["two"]
    assert (server[first["report"]].title, server[first["report"]].blocks) == ("two", ["two"])


def test_another_project_gets_its_own(tmp_path, server):
    path = tmp_path / "dashboard.json"
    first = save(SavedWorkspace("one"), SavedReport("one"), path)
    other = save(SavedWorkspace("two", "other"), SavedReport("two", "other"), path)
    assert not {*first.values()} & {*other.values()}
    assert server[first["workspace"]].sections == ["one"]


def test_what_is_gone_from_the_server_is_said(tmp_path, server):
    path = tmp_path / "dashboard.json"
    save(SavedWorkspace("one"), SavedReport("one"), path)
    server.clear()
    with pytest.raises(ValueError, match=rf"workspace0 can't be opened .*; remove {path} to make new ones"):
        save(SavedWorkspace("one"), SavedReport("one"), path)


def test_the_dashboard_wants_the_server(monkeypatch):
    with pytest.raises(ValueError, match="WANDB_MODE is offline, and the dashboard is on W&B's server: unset it"):
        check_online()
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


@pytest.mark.slow
def test_without_a_login_there_is_one_line_of_what_to_do(tmp_path):
    command = [sys.executable, "-c", "from twostream.cli.dashboard import main; main()"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "ValueError: WANDB_MODE is offline, and the dashboard is on W&B's server: unset it for this command"
    ]


def test_the_command_does_all_of_it(tables, folder, offline_runs, synced, server, monkeypatch):
    monkeypatch.setattr(dashboard, "build_workspace", lambda place, *_: SavedWorkspace(place.entity))
    monkeypatch.setattr(dashboard, "build_report", lambda *_: SavedReport("report"))
    addresses = make_dashboard(compose_dashboard(f"runs={folder}", "entity=me"))
    assert addresses == {"workspace": "https://wandb/workspace0", "report": "https://wandb/report1"}
    assert len(synced[0]) == 1
    assert list(folder.glob("wandb/offline-run-*-tables-synthetic-smoke"))
    assert json.loads((folder / "dashboard.json").read_text()) == addresses


def test_errors_of_the_server_are_one_line(tables, folder, monkeypatch):
    def fail(*_):
        raise wandb.errors.CommError("no such project")

    monkeypatch.setattr(dashboard, "log_tables", fail)
    with pytest.raises(ValueError, match="W&B: no such project"):
        make_dashboard(compose_dashboard(f"runs={folder}", "entity=me"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("runs=somewhere", "runs: expected a folder such as runs/synthetic/smoke, got somewhere"),
        ("sections=[{name: a, line: [b]}]", r"sections\[0\]: line: Key 'line' not in 'SectionPlan'"),
        ("sections=[{lines: [b]}]", r"sections\[0\]: name: .* has missing mandatory value"),
    ],
)
def test_a_wrong_config_is_refused(folder, override, message):
    with pytest.raises(ValueError, match=message):
        make_dashboard(compose_dashboard(f"runs={folder}", override))


def test_an_unknown_user_is_asked_for(folder, monkeypatch):
    monkeypatch.setattr(wandb, "Api", lambda: MagicMock(default_entity=None))
    with pytest.raises(ValueError, match="name it: entity=NAME"):
        make_dashboard(compose_dashboard(f"runs={folder}"))
