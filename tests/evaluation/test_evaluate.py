"""The whole way of a run: config -> checkpoint -> pictures -> numbers -> tables."""

import csv
import json
import shutil
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from PIL import Image

from tiny_run import overrides_of_tiny_run
from twostream.build import build_generator, build_scoring
from twostream.cli import CONF
from twostream.cli.train import train_and_evaluate
from twostream.data.dataset import PairDataset
from twostream.data.pose import person_mask
from twostream.evaluation.evaluate import evaluate_run, generate_run, score_run
from twostream.evaluation.generate import image_name, load_checkpoint, load_generator
from twostream.metrics.protocols import STANDARD
from twostream.metrics.similarity import ssim
from twostream.runs import read_provenance, read_run, update_run
from twostream.tables.render import write_tables

CPU = torch.device("cpu")
NO_AT_MODULE = "twostream.nets.appearance_transfer.NoAppearanceTransfer"


@pytest.fixture(scope="module")
def finished(people_parent, tmp_path_factory):
    """A run that has been trained and evaluated, with its config; the first that wants a evaluator trains it."""
    run_dir = tmp_path_factory.mktemp("runs") / "synthetic" / "smoke" / "full" / "seed0"
    with initialize_config_dir(version_base="1.3", config_dir=CONF):
        cfg = compose("train", overrides_of_tiny_run(people_parent, run_dir))
    train_and_evaluate(cfg, run_dir)
    return cfg, run_dir


@pytest.fixture
def scoring(finished):
    return build_scoring(finished[0])


@pytest.fixture
def run_dir(finished, tmp_path) -> Path:
    return shutil.copytree(finished[1], tmp_path / "synthetic" / "smoke" / "full" / "seed0")


def test_leaves_everything_that_the_readme_names(finished):
    names = {path.relative_to(finished[1]).as_posix() for path in finished[1].rglob("*") if path.is_file()}
    assert {
        "checkpoints/last.ckpt",
        "config.json",
        "logs/metrics.csv",
        "bootstrap.json",
        "metrics.json",
        "run.json",
        "samples/000002.png",
        "samples/000004.png",
        "samples/test.png",
        "scores.csv",
    } <= names
    assert read_run(finished[1]).state == "done"


def test_metrics_are_those_of_the_pictures_on_disk(finished, people_folder):
    metrics = json.loads((finished[1] / "metrics.json").read_text())
    values = {(entry["metric"], entry["protocol"]): entry for entry in metrics["values"]}
    assert set(values) == {
        *((m, p) for m in ("ssim", "mask_ssim") for p in ("patn", "standard")),
        *((m, "evaluator") for m in ("frechet_train", "frechet_test", "pckh")),
        *((f"correspondence_{m}", "pck@0.1") for m in ("block_1", "block_2", "same_place", "chance")),
    }
    assert {entry["n"] for entry in metrics["values"]} == {6}
    dataset = PairDataset.of_split(people_folder, "test", (32, 16))
    whole, masked_only = [], []
    for source, target in dataset.pairs:
        generated = np.asarray(Image.open(finished[1] / "images" / image_name((source, target))))
        true = np.asarray(Image.open(people_folder / "test" / target))
        mask = person_mask(dataset.joints[target], (32, 16))[..., None]
        whole.append(ssim(generated, true, STANDARD))
        masked_only.append(ssim(generated * mask, true * mask, STANDARD))
    assert values["ssim", "standard"]["value"] == pytest.approx(np.mean(whole), abs=1e-9)
    assert values["mask_ssim", "standard"]["value"] == pytest.approx(np.mean(masked_only), abs=1e-9)


def test_one_row_an_image(finished):
    rows = list(csv.DictReader((finished[1] / "scores.csv").read_text().splitlines()))
    metrics = json.loads((finished[1] / "metrics.json").read_text())
    assert len(rows) == 6
    for entry in metrics["values"]:
        if "ssim" in entry["metric"]:
            column = [float(row[f"{entry['metric']}/{entry['protocol']}"]) for row in rows]
            assert np.mean(column) == pytest.approx(entry["value"])
    right, total = (sum(float(row[f"pckh_{count}/evaluator"]) for row in rows) for count in ("right", "total"))
    pckh = next(entry for entry in metrics["values"] if entry["metric"] == "pckh")
    assert pckh["value"] == pytest.approx(right / total)


def test_what_is_missing_says_why(finished):
    metrics = json.loads((finished[1] / "metrics.json").read_text())
    missing = {(entry["metric"], entry["protocol"]): entry["reason"] for entry in metrics["missing"]}
    wants_inception = [(f"{m}inception_score", p) for m in ("", "mask_") for p in ("patn", "standard")]
    for name in (*wants_inception, ("fid_train", "standard"), ("fid_test", "standard")):
        assert "weights-inception-2015-12-05-6726825d.pth is missing: put it into" in missing.pop(name)
    assert "alexnet-owt-7be5be79.pth is missing" in missing.pop(("lpips", "standard"))
    assert "pose_weights: expected an .onnx file" in missing.pop(("pckh", "patn"))
    for name in ("inception_score", "mask_inception_score"):
        assert missing.pop((name, "evaluator")) == "expected 1 to 6 splits for 6 images, got 10"
    assert not missing


def test_every_value_says_how_it_was_computed(finished):
    metrics = json.loads((finished[1] / "metrics.json").read_text())
    for entry in metrics["values"]:
        low, high = entry["interval"]
        assert low <= entry["value"] <= high
        assert entry["version"] == 1
        if "correspondence" in entry["metric"]:
            assert entry["map"] == "8x4"
        else:
            assert (entry["frame"], entry["codec"]) == ("32x16", "png")
        if entry["protocol"] == "evaluator":
            assert (entry["feature_net"], len(entry["feature_net_hash"])) == ("evaluator", 64)
        if "frechet" in entry["metric"]:
            assert entry["reference_n"] >= 2
    assert any(note.startswith("evaluator ") and "PCKh" in note for note in metrics["run"]["notes"])
    assert metrics["scored_by"].keys() == {"commit", "dirty"}
    bootstrap = json.loads((finished[1] / "bootstrap.json").read_text())
    assert {key: bootstrap[key] for key in ("identities", "pairs_hash")} == metrics["test"]
    assert {len(entry["values"]) for entry in bootstrap["replicates"]} == {100, 1000}


def test_without_at_module_there_is_no_correspondence(finished, run_dir, scoring):
    record = read_provenance(run_dir)
    run = generate_run(run_dir, CPU, batch_size=2)
    other = build_generator(OmegaConf.merge(finished[0], {"generator": {"at_module": {"_target_": NO_AT_MODULE}}}))
    metrics = score_run(run._replace(generator=other), scoring, CPU)
    reasons = {entry["metric"]: entry["reason"] for entry in metrics["missing"]}
    assert reasons["correspondence"] == "the generator has no AT-modules"
    assert not [entry for entry in metrics["values"] if "correspondence" in entry["metric"]]
    assert record == read_provenance(run_dir)


def test_record_says_what_the_run_is(finished):
    record = read_provenance(finished[1])
    expected = {"data": "synthetic", "label": "synthetic people", "scale": "smoke", "variant": "full", "seed": 0}
    expected |= {"iterations": 4, "batch_size": 2, "image_size": [32, 16]}
    assert record | expected == record
    assert record["notes"] == ["perceptual loss: random weights in place of VGG-19"]
    assert record["versions"]["torch"] == version("torch")


def test_the_checkpoint_is_loaded_safely_and_without_frozen_nets(finished):
    checkpoint = load_checkpoint(finished[1] / "checkpoints" / "last.ckpt")
    assert not [key for key in checkpoint["state_dict"] if "perceptual" in key]
    generator, config = load_generator(checkpoint, CPU)
    assert not generator.training
    assert config.generator.width == 4


def test_pictures_do_not_depend_on_the_batch(finished, run_dir, scoring):
    before = {path.name: path.read_bytes() for path in (run_dir / "images").glob("*.png")}
    shutil.rmtree(run_dir / "images")
    evaluate_run(run_dir, replace(scoring, batch_size=1), CPU)
    after = {path.name: path.read_bytes() for path in (run_dir / "images").glob("*.png")}
    differing = [
        np.abs(
            np.asarray(Image.open(finished[1] / "images" / name)).astype(int) - Image.open(run_dir / "images" / name)
        )
        for name in before
        if before[name] != after[name]
    ]
    assert set(before) == set(after)
    assert max([difference.max() for difference in differing], default=0) <= 1  # rounding of sums


def test_an_evaluation_that_was_cut_off_goes_on(run_dir, scoring):
    pictures = sorted((run_dir / "images").glob("*.png"))
    kept, lost = pictures[0], pictures[1]
    changed = kept.stat().st_mtime_ns
    lost.unlink()
    (run_dir / "metrics.json").unlink()
    evaluate_run(run_dir, scoring, CPU)
    assert lost.exists()
    assert kept.stat().st_mtime_ns == changed


def test_pictures_of_other_weights_are_made_again(run_dir, scoring):
    kept = sorted((run_dir / "images").glob("*.png"))[0]
    changed = kept.stat().st_mtime_ns
    checkpoint = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)
    checkpoint["state_dict"]["generator.decoder.3.bias"] += 0.5
    torch.save(checkpoint, run_dir / "checkpoints" / "last.ckpt")
    evaluate_run(run_dir, scoring, CPU)
    assert kept.stat().st_mtime_ns != changed


def test_a_finished_run_is_not_done_again(finished):
    cfg, run_dir = finished
    before = {path: path.stat().st_mtime_ns for path in run_dir.rglob("*.png")}
    train_and_evaluate(cfg, run_dir)
    assert before == {path: path.stat().st_mtime_ns for path in run_dir.rglob("*.png")}


def test_a_trained_run_is_only_evaluated(finished, run_dir):
    changed = (run_dir / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    (run_dir / "metrics.json").unlink()
    train_and_evaluate(finished[0], run_dir)
    assert (run_dir / "metrics.json").exists()
    assert (run_dir / "checkpoints" / "last.ckpt").stat().st_mtime_ns == changed


def test_another_config_in_the_same_folder_is_refused(finished):
    cfg = finished[0].copy()
    cfg.schedule.learning_rate = 1.0
    with pytest.raises(ValueError, match=r"schedule\.learning_rate: 0\.0001 on disk, 1\.0 requested"):
        train_and_evaluate(cfg, finished[1])
    assert read_run(finished[1]).state == "done"


def test_an_unfinished_run_is_refused(run_dir, scoring):
    update_run(run_dir, provenance=read_provenance(run_dir) | {"iterations": 9})
    with pytest.raises(ValueError, match="expected the end of the run, iteration 9, got iteration 4"):
        evaluate_run(run_dir, scoring, CPU)


def test_changed_data_are_refused(run_dir, scoring):
    update_run(run_dir, provenance=read_provenance(run_dir) | {"data_hash": "other"})
    with pytest.raises(ValueError, match="trained on data of hash other"):
        evaluate_run(run_dir, scoring, CPU)


@pytest.mark.parametrize("content", [b"no checkpoint", b""])
def test_a_broken_checkpoint_is_refused(tmp_path, content):
    (tmp_path / "x.ckpt").write_bytes(content)
    with pytest.raises(ValueError, match="expected a whole checkpoint that torch can load safely"):
        load_checkpoint(tmp_path / "x.ckpt")
    torch.save({"other": 1}, tmp_path / "y.ckpt")
    with pytest.raises(ValueError, match="expected a checkpoint of twostream-train"):
        load_checkpoint(tmp_path / "y.ckpt")
    with pytest.raises(ValueError, match="there is none at"):
        load_checkpoint(tmp_path / "z.ckpt")


def test_the_tables_take_the_metrics(finished, tmp_path):
    runs = finished[1].parents[3]
    specs = sorted(Path(__file__).parents[2].glob("experiments/table*.yaml"))
    printed = write_tables(specs, runs, "synthetic", "smoke", [0], tmp_path)
    text = "".join(path.read_text() for path in tmp_path.glob("*.md"))
    metrics = json.loads((finished[1] / "metrics.json").read_text())
    value = next(e["value"] for e in metrics["values"] if (e["metric"], e["protocol"]) == ("ssim", "patn"))
    assert f"{value:.3f}" in text
    assert "synthetic people, NOT Market-1501" in text
    assert "random weights in place of VGG-19" in text
    assert "PCKh (evaluator)" in text
    assert "FD test (evaluator)" in text
    assert "Not computed: IS, Mask-IS, FID (train), FID (test): weights-inception" in text
    assert printed.count("not run") >= 8


def test_a_prepared_folder_is_scored_without_the_evaluator(people_parent, people_folder, tmp_path):
    """As Market-1501 is: a folder with a manifest, made by no renderer."""
    run_dir = tmp_path / "runs" / "full"
    overrides = overrides_of_tiny_run(people_parent, run_dir)
    overrides = [override for override in overrides if not override.startswith(("data.source.", "data.root"))]
    overrides += ["data=market1501", f"data.root={people_folder}"]
    with initialize_config_dir(version_base="1.3", config_dir=CONF):
        cfg = compose("train", overrides)
    train_and_evaluate(cfg, run_dir)
    metrics = json.loads((run_dir / "metrics.json").read_text())
    assert {(entry["metric"], entry["protocol"]) for entry in metrics["values"]} == {
        (m, p) for m in ("ssim", "mask_ssim") for p in ("patn", "standard")
    }
    assert metrics["run"]["label"] == "Market-1501"
    reasons = {entry["metric"] for entry in metrics["missing"]}
    assert reasons == {"inception_score", "mask_inception_score", "fid_train", "fid_test", "lpips", "pckh"}
