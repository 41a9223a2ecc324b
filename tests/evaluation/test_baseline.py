"""The baseline goes the whole way of a run, without what only AT-modules have."""

import csv
import json
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir

from tiny_run import overrides_of_tiny_run
from twostream.cli import CONF
from twostream.cli.train import train_and_evaluate
from twostream.evaluation.generate import load_checkpoint, load_generator
from twostream.nets.patn import PATNGenerator
from twostream.tables.render import write_tables


@pytest.fixture(scope="module")
def run_dir(people_parent, tmp_path_factory) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "synthetic" / "smoke" / "patn" / "seed0"
    overrides = [*overrides_of_tiny_run(people_parent, run_dir), "ablation=patn", "variant=patn"]
    with initialize_config_dir(version_base="1.3", config_dir=CONF):
        cfg = compose("train", overrides)
    train_and_evaluate(cfg, run_dir)
    return run_dir


@pytest.fixture
def metrics(run_dir):
    return json.loads((run_dir / "metrics.json").read_text())


def test_it_is_trained_to_its_end(run_dir):
    assert json.loads((run_dir / "run.json").read_text())["state"] == "done"
    generator, config = load_generator(load_checkpoint(run_dir / "checkpoints" / "last.ckpt"), torch.device("cpu"))
    assert isinstance(generator, PATNGenerator)
    assert (len(generator.blocks), config.generator.width) == (2, 4)
    with (run_dir / "logs" / "metrics.csv").open(newline="") as file:
        losses = [row for row in csv.DictReader(file) if row["train/l1"]]
    assert len(losses) == 4
    assert {"train/appearance_discriminator", "train/shape_discriminator"} <= losses[0].keys()


def test_it_is_scored_as_the_two_stream_network_is(metrics):
    values = {(entry["metric"], entry["protocol"]) for entry in metrics["values"]}
    assert values == {
        *((m, p) for m in ("ssim", "mask_ssim") for p in ("patn", "standard")),
        *((m, "evaluator") for m in ("frechet_train", "frechet_test", "pckh")),
    }
    assert metrics["run"]["variant"] == "patn"


def test_what_only_at_modules_have_is_left_out(run_dir, metrics):
    reasons = {entry["metric"]: entry["reason"] for entry in metrics["missing"]}
    assert reasons["correspondence"] == "the generator has no AT-modules"
    assert "sigma" not in (run_dir / "logs" / "metrics.csv").read_text()
    names = sorted(path.name for path in (run_dir / "samples").iterdir())
    assert names == ["000002.png", "000004.png", "test.png"]


def test_every_table_takes_it(run_dir, metrics, tmp_path):
    specs = sorted((Path(CONF).parent / "experiments").glob("[!_]*.yaml"))
    text = write_tables(specs, run_dir.parents[3], "synthetic", "smoke", [0], tmp_path)
    value = next(e["value"] for e in metrics["values"] if (e["metric"], e["protocol"]) == ("ssim", "patn"))
    (line,) = (line for line in text.splitlines() if line.startswith("| PATN (our code)") and line.endswith("1/1 |"))
    assert f"{value:.3f}" in line
    assert "synthetic/smoke/full/seed0: not run" in text
    assert "can't be compared with synthetic people" in (tmp_path / "table1_market.md").read_text()
