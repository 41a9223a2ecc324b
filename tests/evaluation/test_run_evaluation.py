"""A run from its config to checkpoint, images, scores and tables."""

import csv
import json
import os
import re
import shutil
from dataclasses import replace
from importlib.metadata import version
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tiny_run import by_metric, compose_config, overrides_of_tiny_run, train_tiny
from twostream.build import build_datamodule, build_scoring
from twostream.cli.evaluate import main as evaluate_by_hand
from twostream.cli.train import train_and_evaluate
from twostream.data.dataset import PairDataset
from twostream.data.pairs import check_image_names, image_name
from twostream.data.pose import person_mask
from twostream.evaluation.run_evaluation import evaluate_run, generate_run, load_generator, read_correspondence
from twostream.inference import PoseTransfer
from twostream.metrics.correspondence import count_correct, read_surface, true_matches
from twostream.metrics.protocols import STANDARD
from twostream.metrics.ssim import ssim
from twostream.nets.inspection import best_matches
from twostream.nets.patn import PATNGenerator
from twostream.resume import load_checkpoint
from twostream.runs import read_provenance, read_run, update_run
from twostream.tables.render import write_tables
from twostream.tables.results import collect_all

CPU = torch.device("cpu")
SSIM_VALUES = {(metric, p) for metric in ("ssim", "mask_ssim") for p in ("patn", "standard")}
ACCURACIES = [f"{kind}_accuracy" for kind in ("appearance", "colour", "pattern", "legwear")]
EVALUATOR_VALUES = {(metric, "evaluator") for metric in ("frechet_train", "frechet_test", "pckh", *ACCURACIES)}


@pytest.fixture(scope="module")
def metrics(finished_run):
    return read(finished_run[1] / "metrics.json")


@pytest.fixture
def scoring(finished_run):
    return build_scoring(finished_run[0])


@pytest.fixture
def run_dir(finished_run, tmp_path) -> Path:
    return shutil.copytree(finished_run[1], tmp_path / "synthetic" / "smoke" / "full" / "seed0")


def read(path):
    return json.loads(path.read_text())


def test_a_run_leaves_all_its_files(finished_run):
    names = {path.relative_to(finished_run[1]).as_posix() for path in finished_run[1].rglob("*") if path.is_file()}
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
    assert read_run(finished_run[1]).state == "done"


def test_values_are_those_of_the_image_files(finished_run, metrics, people_folder):
    values = by_metric(metrics["values"], "value")
    correspondence = {(f"correspondence_{m}", "pck@0.1") for m in ("block_1", "block_2", "same_place", "chance")}
    assert set(values) == SSIM_VALUES | EVALUATOR_VALUES | correspondence
    assert {entry["n"] for entry in metrics["values"]} == {6}
    dataset = PairDataset.of_split(people_folder, "test", (32, 16))
    full, masked = [], []
    for source, target in dataset.pairs:
        generated = np.asarray(Image.open(finished_run[1] / "images" / image_name((source, target))))
        true = np.asarray(Image.open(people_folder / "test" / target))
        mask = person_mask(dataset.joints[target], (32, 16))[..., None]
        full.append(ssim(generated, true, STANDARD))
        masked.append(ssim(generated * mask, true * mask, STANDARD))
    assert values["ssim", "standard"] == pytest.approx(np.mean(full), abs=1e-9)
    assert values["mask_ssim", "standard"] == pytest.approx(np.mean(masked), abs=1e-9)


def test_validation_pairs_are_evaluated_apart(run_dir, finished_run, people_folder, scoring):
    before = (run_dir / "metrics.json").read_bytes()
    content = evaluate_run(run_dir, scoring, CPU, "val")
    folder = run_dir / "validation"
    assert read(folder / "metrics.json") == content
    assert content["run"]["label"] == "synthetic people, validation"
    values = by_metric(content["values"], "value")
    assert set(values) == SSIM_VALUES | EVALUATOR_VALUES - {("frechet_test", "evaluator")}
    assert {entry["n"] for entry in content["values"]} == {3}
    assert (run_dir / "metrics.json").read_bytes() == before
    assert (folder / "samples" / "val.png").is_file()
    data = build_datamodule(finished_run[0])
    data.setup("validate")
    images = [np.asarray(Image.open(folder / "images" / image_name(pair))) for pair in data.val.pairs]
    true = [np.asarray(Image.open(people_folder / "train" / target)) for _, target in data.val.pairs]
    expected = np.mean([ssim(*both, STANDARD) for both in zip(images, true, strict=True)])
    assert values["ssim", "standard"] == pytest.approx(expected, abs=1e-9)
    reasons = {entry["metric"]: entry["reason"] for entry in content["missing"]}
    assert reasons["correspondence"] == "true matches are known in test images only"
    with pytest.raises(ValueError, match="split: expected test or val, got 'train'"):
        evaluate_run(run_dir, scoring, CPU, "train")


def test_missing_values_have_a_reason(metrics):
    missing = by_metric(metrics["missing"], "reason")
    of_inception = [(f"{m}inception_score", p) for m in ("", "mask_") for p in ("patn", "standard")]
    for name in (*of_inception, ("fid_train", "standard"), ("fid_test", "standard")):
        assert "weights-inception-2015-12-05-6726825d.pth is missing: put it into" in missing.pop(name)
    assert "alexnet-owt-7be5be79.pth is missing" in missing.pop(("lpips", "standard"))
    assert "-e48f03d0_20230504.onnx is missing" in missing.pop(("pckh", "patn"))
    for name in ("inception_score", "mask_inception_score"):
        assert missing.pop((name, "evaluator")) == "expected 1 to 6 splits for 6 images, got 10"
    assert not missing


@pytest.mark.parametrize(
    "pairs",
    [
        [("1_a.jpg", "1_c.jpg"), ("1_a.png", "1_c.jpg")],
        [("1_a_2_1_b.jpg", "1_c.jpg"), ("1_a.jpg", "1_b_2_1_c.jpg")],
    ],
)
def test_two_pairs_with_one_image_name_are_refused(pairs):
    check_image_names([pairs[0], ("1_c.jpg", "1_a.jpg")], "data")
    both = " and of ".join(",".join(pair) for pair in pairs)
    expected = f"data: expected a name for the image of each pair, got {image_name(pairs[0])} of {both}"
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        check_image_names(pairs, "data")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weight: weight * np.nan, r"decoder\.\S+: expected finite values, got \d+ that are not"),
        (lambda weight: weight.int(), r"1 differ: decoder\.\S+: expected float32 of shape \(.*\), got int32 of"),
        (lambda weight: weight[None], r"1 differ: decoder\.\S+: expected float32 of shape"),
        (lambda weight: None, r"1 differ: decoder\.\S+: expected float32 of shape \(.*\), got nothing"),
    ],
)
def test_weights_that_can_not_be_right_are_not_evaluated(run_dir, scoring, change, message):
    path = run_dir / "checkpoints" / "last.ckpt"
    checkpoint = load_checkpoint(path)
    name = [name for name in checkpoint["state_dict"] if name.startswith("generator.decoder")][-1]
    checkpoint["state_dict"][name] = change(checkpoint["state_dict"][name])
    path.unlink()  # it may be a hard link to best.ckpt
    torch.save(checkpoint, path)
    for load in (lambda: evaluate_run(run_dir, scoring, CPU), lambda: PoseTransfer.load(run_dir)):
        with pytest.raises(ValueError, match=rf"last\.ckpt: generator: weights: {message}"):
            load()


def test_every_value_has_its_details(finished_run, metrics):
    for entry in metrics["values"]:
        low, high = entry["interval"]
        assert low <= entry["value"] <= high
        assert entry["version"] == (2 if entry["protocol"] == "patn" else 1)
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
    bootstrap = read(finished_run[1] / "bootstrap.json")
    assert {key: bootstrap[key] for key in ("identities", "pairs_hash")} == metrics["test"]
    assert {len(entry["values"]) for entry in bootstrap["replicates"]} == {100, 1000}


def test_the_record_describes_the_run(finished_run):
    record = read_provenance(finished_run[1])
    expected = {"data": "synthetic", "label": "synthetic people", "scale": "smoke", "variant": "full", "seed": 0}
    expected |= {"iterations": 4, "batch_size": 2, "image_size": [32, 16]}
    assert record | expected == record
    perceptual, settings = record["notes"]
    assert perceptual == "perceptual loss: random weights in place of VGG-19"
    assert settings == (
        "scale smoke: data.joint_size 3 (6), generator.width 4 (64), schedule.constant_iterations 2 (60000), "
        "schedule.decay_iterations 2 (30000); in brackets: the paper's settings"
    )
    assert record["versions"]["torch"] == version("torch")


def test_the_checkpoint_is_loaded_safely_and_without_frozen_nets(finished_run):
    checkpoint = load_checkpoint(finished_run[1] / "checkpoints" / "last.ckpt")
    assert not [key for key in checkpoint["state_dict"] if "perceptual" in key]
    generator = load_generator(checkpoint, CPU)
    assert not generator.training
    assert generator.decoder[-2].in_channels == 4


def read_images(run_dir):
    return {path.name: np.asarray(Image.open(path)).astype(int) for path in (run_dir / "images").glob("*.png")}


def test_images_do_not_depend_on_the_batch(run_dir, scoring):
    before = read_images(run_dir)
    shutil.rmtree(run_dir / "images")
    evaluate_run(run_dir, replace(scoring, batch_size=1), CPU)
    after = read_images(run_dir)
    assert before.keys() == after.keys()
    assert max(np.abs(before[name] - after[name]).max() for name in before) <= 1  # rounding of sums


def test_correspondence_counts_the_matches_of_the_at_modules(finished_run, people_folder):
    run = generate_run(finished_run[1], CPU, batch_size=2)
    rows = list(csv.DictReader((finished_run[1] / "scores.csv").read_text().splitlines()))
    for index, (source, target) in enumerate(run.dataset.pairs):
        surfaces = (read_surface(people_folder / "surface-test" / f"{Path(n).stem}.npz") for n in (source, target))
        truth = true_matches(*surfaces)
        by_block = best_matches(run.model.generator, run.inputs([index]))
        (row,) = (row for row in rows if (row["source"], row["target"]) == (source, target))
        for name, matches in by_block.items():
            expected = count_correct(matches[0].numpy(), truth, (32, 16), (8, 4))
            assert float(row[f"correspondence/{name}"]) == expected
        assert float(row["correspondence/total"]) == len(truth.target) > 0


def test_an_interrupted_evaluation_resumes(run_dir, scoring, metrics):
    existing, lost = sorted((run_dir / "images").glob("*.png"))[:2]
    changed = existing.stat().st_mtime_ns
    lost.unlink()
    (run_dir / "metrics.json").unlink()
    assert evaluate_run(run_dir, scoring, CPU)["values"] == metrics["values"]
    assert lost.exists()
    assert existing.stat().st_mtime_ns == changed


def test_images_that_are_not_as_they_were_written_are_generated_again(run_dir, scoring, metrics, caplog):
    black, broken, pipe, small = paths = sorted((run_dir / "images").glob("*.png"))[:4]
    right = [path.read_bytes() for path in paths]
    Image.new("RGB", (16, 32)).save(black)
    broken.write_bytes(right[1][:-200])
    pipe.unlink()
    os.mkfifo(pipe)
    Image.open(BytesIO(right[3])).crop((0, 0, 8, 8)).save(small)
    assert evaluate_run(run_dir, scoring, CPU)["values"] == metrics["values"]
    assert [path.read_bytes() for path in paths] == right
    assert sum("and 3 others: damaged or changed, generated again" in text for text in caplog.messages) == 1


def test_images_of_other_weights_are_generated_again(run_dir, scoring):
    existing = sorted((run_dir / "images").glob("*.png"))[0]
    changed = existing.stat().st_mtime_ns
    checkpoint = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)
    checkpoint["state_dict"]["generator.decoder.3.bias"] += 0.5
    torch.save(checkpoint, run_dir / "checkpoints" / "last.ckpt")
    evaluate_run(run_dir, scoring, CPU)
    assert existing.stat().st_mtime_ns != changed


def test_a_finished_run_is_not_repeated(finished_run):
    cfg, run_dir = finished_run
    before = {path: path.stat().st_mtime_ns for path in run_dir.rglob("*.png")}
    train_and_evaluate(cfg, run_dir)
    assert before == {path: path.stat().st_mtime_ns for path in run_dir.rglob("*.png")}


def test_a_trained_run_is_only_evaluated(finished_run, run_dir):
    changed = (run_dir / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    (run_dir / "metrics.json").unlink()
    train_and_evaluate(finished_run[0], run_dir)
    assert (run_dir / "metrics.json").exists()
    assert (run_dir / "checkpoints" / "last.ckpt").stat().st_mtime_ns == changed


def test_an_evaluation_by_hand_ends_a_run_whose_own_failed(run_dir, capsys):
    update_run(run_dir, state="failed", reason="out of memory")
    (run_dir / "metrics.json").unlink()
    metrics = ["scoring.metrics=[ssim]", "scoring.num_workers=0"]
    evaluate_by_hand(compose_config("evaluate", f"run={run_dir}", *metrics, "device=cpu"))
    state = read_run(run_dir)
    assert (state.state, state.reason) == ("done", None)
    assert capsys.readouterr().out.splitlines()[-1] == str(run_dir / "metrics.json")


def test_another_config_in_the_same_folder_is_refused(finished_run):
    cfg = finished_run[0].copy()
    cfg.schedule.learning_rate = 1.0
    with pytest.raises(ValueError, match=r"schedule\.learning_rate: 0\.0001 on disk, 1\.0 requested"):
        train_and_evaluate(cfg, finished_run[1])
    assert read_run(finished_run[1]).state == "done"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"iterations": 9}, "expected the end of the run, iteration 9, got iteration 4"),
        ({"data_hash": "other"}, "expected the data that the run was trained on, of hash other, got data of hash"),
    ],
)
def test_an_unfinished_run_and_changed_data_are_refused(run_dir, scoring, change, message):
    update_run(run_dir, provenance=read_provenance(run_dir) | change)
    with pytest.raises(ValueError, match=message):
        evaluate_run(run_dir, scoring, CPU)


def test_a_run_whose_provenance_lacks_a_key_is_refused(run_dir, scoring):
    provenance = read_provenance(run_dir)
    del provenance["label"]
    update_run(run_dir, provenance=provenance)
    with pytest.raises(ValueError, match=rf"^{run_dir / 'run.json'}: provenance: expected the key 'label'$"):
        evaluate_run(run_dir, scoring, CPU)


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    torch.save({"other": 1}, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match="expected a checkpoint of this version"):
        load_checkpoint(tmp_path / "x.ckpt")


def test_the_tables_contain_the_values(finished_run, metrics, tmp_path):
    specs = sorted(Path(__file__).parents[2].glob("experiments/table*.yaml"))
    text = write_tables(collect_all(specs, finished_run[1].parents[1], [0]), tmp_path)
    assert f"{by_metric(metrics['values'], 'value')['ssim', 'patn']:.3f}" in text
    assert "synthetic people, NOT Market-1501" in text
    assert "Not computed (reasons in the full table): IS, Mask-IS, " in text
    assert text.count("not run") >= 8
    full = (tmp_path / "table3_at_module.md").read_text()
    assert "random weights in place of VGG-19" in full
    assert "PCKh (evaluator)" in full
    assert "FD test (evaluator)" in full
    assert "Not computed: IS, Mask-IS, FID (train), FID (test): weights-inception" in full


def test_stored_matches_are_read_as_they_were_written(run_dir, people_folder):
    known = PairDataset.of_split(people_folder, "test", (32, 16)).joints
    path = run_dir / "correspondence.json"
    stored = read(path)
    assert read_correspondence(run_dir, known) == stored
    sources = stored["views"]["block_1"]["sources"]
    changed = [
        {**stored, "pairs": [["../a.jpg", "b.jpg"], *stored["pairs"][1:]]},
        {**stored, "pairs": stored["pairs"][1:]},
        {**stored, "views": {"block_1": {**stored["views"]["block_1"], "sources": sources[0]}}},
        {**stored, "views": {"block_1": {**stored["views"]["block_1"], "map": [1, 1]}}},
        *({**stored, "views": views} for views in ([], {"block_1": None}, {"block_1": {}})),
        *({**stored, "pairs": pairs} for pairs in (None, 5, ["x"])),
    ]
    for content in changed:
        path.write_text(json.dumps(content))
        with pytest.raises(ValueError, match=r"correspondence\.json: expected positions for each pair and view, got"):
            read_correspondence(run_dir, known)
    for text in ("null", "[]", "{}"):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"correspondence\.json: expected (a JSON object|the key)"):
            read_correspondence(run_dir, known)
    path.unlink()
    assert read_correspondence(run_dir, known) is None


def test_data_that_changed_are_neither_trained_on_nor_scored(people_parent, people_folder, run_dir, scoring, tmp_path):
    parent = shutil.copytree(people_parent, tmp_path / "people")
    image = min((parent / people_folder.name / "test").iterdir())
    path = run_dir / "checkpoints" / "last.ckpt"
    checkpoint = load_checkpoint(path)
    checkpoint["hyper_parameters"]["data"]["root"] = str(parent)
    path.unlink()
    torch.save(checkpoint, path)
    Image.new("RGB", (16, 32)).save(image)
    with pytest.raises(ValueError, match=rf"has changed since it was prepared, 1 files differ.*\ntest/{image.name}"):
        evaluate_run(run_dir, scoring, CPU)
    with pytest.raises(ValueError, match=rf"test/{image.name}: changed"):
        train_tiny(people_parent, tmp_path / "new", f"data.root={parent}")


def test_a_prepared_folder_is_scored_without_the_evaluator(people_parent, people_folder, tmp_path):
    """A folder with a manifest and without a renderer, as of Market-1501."""
    run_dir = tmp_path / "runs" / "full"
    overrides = overrides_of_tiny_run(people_parent, run_dir)
    overrides = [override for override in overrides if not override.startswith(("data.source.", "data.root"))]
    overrides += ["data=market1501", f"data.root={people_folder}"]
    train_and_evaluate(compose_config("train", *overrides), run_dir)
    metrics = read(run_dir / "metrics.json")
    assert set(by_metric(metrics["values"], "value")) == SSIM_VALUES
    assert metrics["run"]["label"] == "synthetic people"  # as the folder's manifest says
    reasons = {entry["metric"] for entry in metrics["missing"]}
    assert reasons == {"inception_score", "mask_inception_score", "fid_train", "fid_test", "lpips", "pckh"}


def test_patn_is_evaluated_without_what_requires_at_modules(people_parent, tmp_path):
    run_dir = tmp_path / "runs" / "synthetic" / "smoke" / "patn" / "seed0"
    cfg = train_tiny(people_parent, run_dir, "ablation=patn", "variant=patn")
    generator = load_generator(load_checkpoint(run_dir / "checkpoints" / "last.ckpt"), CPU)
    assert isinstance(generator, PATNGenerator)
    assert len(generator.blocks) == cfg.generator.num_blocks == 2
    curves = (run_dir / "logs" / "metrics.csv").read_text()
    rows = [row for row in csv.DictReader(curves.splitlines()) if row["train/l1"]]
    assert len(rows) == 4
    assert {"train/appearance_discriminator", "train/shape_discriminator"} <= rows[0].keys()
    assert "sigma" not in curves
    assert {path.name for path in (run_dir / "samples").iterdir()} == {"000002.png", "000004.png", "test.png"}
    metrics = read(run_dir / "metrics.json")
    assert set(by_metric(metrics["values"], "value")) == SSIM_VALUES | EVALUATOR_VALUES
    assert metrics["run"]["variant"] == "patn"
    reasons = {entry["metric"]: entry["reason"] for entry in metrics["missing"]}
    assert reasons["correspondence"] == "the generator has no correspondence"
