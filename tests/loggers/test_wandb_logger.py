"""W&B offline; what was written is read back from its files."""

import csv
import json
import sys
from unittest.mock import MagicMock

import pytest
import wandb
from hydra.utils import instantiate
from PIL import Image

from tiny_run import compose_config, fit, overrides_of_tiny_run
from twostream.loggers.wandb_logger import EXPERIMENTS, IterationLogger, log_summary, tables_of
from wandb_files import OFFLINE, written

CONTENT = {
    "values": [
        {"metric": "ssim", "protocol": "patn", "value": 0.25},
        {"metric": "pckh", "protocol": "evaluator", "value": 0.5},
    ],
    "run": {"iterations": 4},
}


@pytest.fixture(autouse=True, scope="module")
def offline():
    with pytest.MonkeyPatch.context() as environment:
        for name, value in OFFLINE.items():
            environment.setenv(name, value)
        yield


def compose_run(people_parent, run_dir, *overrides):
    tiny = overrides_of_tiny_run(people_parent, run_dir)
    run_dir.mkdir()
    return compose_config("train", *tiny, "logger=wandb", "callbacks.sample_images.num_pairs=2", *overrides)


@pytest.fixture(scope="module")
def two_runs(people_parent, tmp_path_factory):
    """Two runs, trained one after the other in this process; the first one is evaluated then."""
    full, without = (tmp_path_factory.mktemp("runs") / name for name in ("full", "without"))
    fit(compose_run(people_parent, full))
    fit(compose_run(people_parent, without, "ablation=no_at_module", "variant=no_at_module", "seed=3"))
    Image.new("RGB", (4, 4)).save(full / "samples" / "test.png")
    log_summary(full, CONTENT, grid=full / "samples" / "test.png")
    return full, without


@pytest.fixture(scope="module")
def records(two_runs):
    """What W&B wrote of each: of the training, and of the evaluation."""
    return [written(run_dir) for run_dir in two_runs]


def test_a_run_has_its_name_group_and_tags(records):
    (full, _), (without,) = records
    run = full.run
    assert (run["display_name"], run["project"], run["job_type"]) == ("full-seed0", "twostream", "train")
    assert run["run_group"] == "synthetic-smoke-table1+table3+table4+table5"
    assert run["tags"] == ["synthetic", "smoke", "full", "table1", "table3", "table4", "table5"]
    run = without.run
    assert (run["display_name"], run["run_group"]) == ("no_at_module-seed3", "synthetic-smoke-table3")
    assert run["tags"] == ["synthetic", "smoke", "no_at_module", "table3"]


def test_the_config_and_the_record_are_logged(two_runs, records):
    config = records[0][0].config
    assert config["data"]["batch_size"] == 2
    assert config["trainer"]["log_every_n_steps"] == 1
    assert config["scoring"]["evaluator"]["iterations"] == 2
    assert (config["scale"], config["ablation"], config["variant"], config["seed"]) == ("smoke", "full", "full", 0)
    record = json.loads((two_runs[0] / "run.json").read_text())["provenance"]
    assert {"commit", "dirty", "data_hash", "versions"} <= record.keys()
    assert config["provenance"] == record


def test_the_logged_config_is_complete_and_plain(people_parent, tmp_path):
    cfg = compose_run(people_parent, tmp_path / "run", "logger.wandb.log_checkpoint=true", "logger.wandb.entity=team")
    logger = instantiate(cfg.logger.wandb)
    # A logger can't show itself.
    assert set(logger.config) == set(cfg) - {"logger", "run_dir"}
    assert type(logger.config["generator"]) is dict
    assert logger.config["generator"]["_target_"] == "twostream.nets.generator.TwoStreamGenerator"
    assert (logger.log_checkpoint, logger.identity["entity"]) == (True, "team")


def test_the_iteration_is_the_only_x_axis(records):
    for part in records[0]:
        assert [metric.get("name") for metric in part.metrics] == ["iteration", None]
        assert (part.metrics[1]["glob_name"], part.metrics[1]["step_metric"]) == ("*", "iteration")
        assert part.history
        assert all("iteration" in row and "trainer/global_step" not in row for row in part.history)


def test_the_curves_are_those_of_the_csv(two_runs, records):
    history = records[0][0].history
    with (two_runs[0] / "logs/metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows if row["train/l1"]] == [1, 2, 3, 4]
    for name in ("train/l1", "train/appearance_discriminator", "train/appearance_accuracy", "lr/generator", "val/ssim"):
        curve = {row["iteration"]: row[name] for row in history if name in row}
        assert curve == pytest.approx({int(row["step"]): float(row[name]) for row in rows if row[name]})


def test_images_are_logged_at_the_validations(two_runs, records):
    history = records[0][0].history
    for name in ("samples", "correspondence"):
        images = {row["iteration"]: row[f"{name}.filenames"] for row in history if f"{name}.filenames" in row}
        assert list(images) == [2, 4]
        for (path,) in images.values():
            assert list(two_runs[0].glob(f"wandb/offline-run-*/files/{path}"))


def test_two_runs_of_one_process_are_not_mixed(records):
    full, without = records
    assert len(without) == 1
    assert full[0].run["run_id"] != without[0].run["run_id"]
    assert any("sigma/block_1" in row for row in full[0].history)
    assert not any("sigma/block_1" in row for row in without[0].history)
    assert [row["iteration"] for row in without[0].history if "train/l1" in row] == [1, 2, 3, 4]
    assert [part.exit_code for part in (*full, *without)] == [0, 0, 0]
    assert wandb.run is None


def test_an_evaluation_is_added_to_the_summary_of_the_same_run(records):
    trained, evaluated = records[0]
    assert evaluated.run["run_id"] == trained.run["run_id"]
    assert evaluated.run["tags"] == trained.run["tags"]
    assert evaluated.run["resume"]
    assert evaluated.summary["final/patn/ssim"] == 0.25
    assert evaluated.summary["final/evaluator/pckh"] == 0.5
    (row,) = evaluated.history
    assert row["iteration"] == 4
    assert row["final/test._type"] == "image-file"


def test_a_run_without_wandb_has_no_summary(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    log_summary(tmp_path, CONTENT)
    assert not list(tmp_path.iterdir())


def logger_of(run_dir, log_checkpoint=False, **changes):
    arguments = {"project": "p", "entity": None, "name": "n", "group": "g", "tags": ["a", "a"], "variant": "blocks_5"}
    return IterationLogger(run_dir, **(arguments | changes), config={"a": 1}, log_checkpoint=log_checkpoint)


def test_a_resumed_run_and_its_evaluation_keep_its_id(tmp_path):
    for iteration in (1, 2):
        logger = logger_of(tmp_path, name=f"name {iteration}")
        logger.finalize("success")  # before anything is logged
        for _ in range(2):
            logger.log_metrics({"loss": 1.0}, step=iteration)
            logger.finalize("success")
    log_summary(tmp_path, CONTENT, prefix="averaged")
    parts = written(tmp_path)
    assert len(parts) == 5
    assert {part.run["run_id"] for part in parts} == {json.loads((tmp_path / "wandb.json").read_text())["id"]}
    assert [part.run["display_name"] for part in parts] == ["name 1"] * 2 + ["name 2"] * 3
    assert [row["iteration"] for part in parts for row in part.history] == [1, 1, 2, 2]
    assert all(part.run["resume"] for part in parts[1:])
    assert parts[-1].summary["averaged/patn/ssim"] == 0.25


@pytest.mark.parametrize(
    ("log_checkpoint", "status", "is_logged"),
    [(False, "success", False), (True, "failed", False), (True, "success", True)],
)
def test_a_run_is_closed_by_its_status_with_the_checkpoint_on_request(tmp_path, log_checkpoint, status, is_logged):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/last.ckpt").write_bytes(b"weights")
    logger = logger_of(tmp_path, log_checkpoint=log_checkpoint)
    logger.log_metrics({"loss": 1.0}, step=1)
    logger.finalize(status)
    (part,) = written(tmp_path)
    assert part.exit_code == (0 if status == "success" else 1)
    models = [artifact["name"] for artifact in part.artifacts if artifact["type"] == "model"]
    assert models == ([f"checkpoint-{part.run['run_id']}"] if is_logged else [])


def test_the_tables_of_a_variant_are_tags_and_name_the_group(tmp_path):
    assert tables_of("full", EXPERIMENTS) == ["table1", "table3", "table4", "table5"]
    assert tables_of("patn", EXPERIMENTS) == ["table1"]
    assert tables_of("both_add", EXPERIMENTS) == ["table4"]
    assert tables_of("full", tmp_path) == []
    identity = logger_of(tmp_path, variant="blocks_5").identity
    assert (identity["tags"], identity["group"]) == (["a", "table5"], "g-table5")
    assert logger_of(tmp_path, variant="blocks_5+loss.l1_weight=1").identity["group"] == "g"


def test_a_table_may_take_its_number_and_rows_from_a_base(tmp_path):
    column = "{label: SSIM, metric: ssim, protocol: patn, digits: 3}"
    base = f"number: 3\nrow_heading: R\ncolumns: [{column}]\nrows: [{{label: A, variant: full}}]\n"
    (tmp_path / "_base.yaml").write_text(base)
    (tmp_path / "table.yaml").write_text("base: _base.yaml\ntitle: T\nquestion: Q?\n")
    (tmp_path / "own.yaml").write_text("base: _base.yaml\ntitle: T\nquestion: Q?\nnumber: null\n")
    (tmp_path / "empty.yaml").write_text("")
    (tmp_path / "broken.yaml").write_text("number: [")
    assert tables_of("full", tmp_path) == ["table3"]
    assert tables_of("patn", tmp_path) == []


@pytest.mark.parametrize(
    ("environment", "logged_in", "mode"),
    [("offline", True, "offline"), ("online", False, "online"), ("", False, "offline"), ("", True, None)],
)
def test_it_is_offline_unless_logged_in_or_the_environment_says_otherwise(
    tmp_path, monkeypatch, environment, logged_in, mode
):
    if environment:
        monkeypatch.setenv("WANDB_MODE", environment)
    else:
        monkeypatch.delenv("WANDB_MODE")
    asked = {}
    monkeypatch.setattr(wandb, "login", lambda **_: logged_in)
    monkeypatch.setattr(wandb, "init", lambda **given: asked.update(given) or MagicMock())
    logger_of(tmp_path).log_metrics({"loss": 1.0}, step=1)
    assert (asked["mode"], asked["resume"], asked["reinit"]) == (mode, "allow", "create_new")


def test_wandb_can_be_disabled(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    logger = logger_of(tmp_path)
    logger.log_metrics({"loss": 1.0}, step=1)
    logger.finalize("success")
    log_summary(tmp_path, CONTENT)
    assert not written(tmp_path)


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ImportError, match=r"pip install 'twostream\[wandb\]'"):
        logger_of(tmp_path)
