"""From a download in the data set's own layout to `metrics.json`, by the commands' own configs and steps."""

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stand_ins import patn_ssim
from tiny_run import by_metric, compose_config, overrides_of_tiny_run
from twostream.cli.jobs import register_resolvers
from twostream.cli.prepare import main
from twostream.cli.train import train_and_evaluate
from twostream.data.pairs import identity_of, image_name, matching_pairs, read_pairs, write_pairs

NUM_TEST_PAIRS = 3


def prepare(preset: str, source: Path, annotations: Path, root: Path) -> dict:
    overrides = [f"data={preset}", f"source={source}", f"annotations={annotations}", f"data.root={root}"]
    main(compose_config("prepare", *overrides, "num_workers=0"))
    return json.loads((root / "manifest.json").read_text())


def train(preset: str, root: Path, run_dir: Path, *overrides: str) -> dict:
    """Train and score a run of two iterations on images of the preset's own size; return its metrics."""
    of_people = ("data.source.", "data.root=", "data.image_size=")
    tiny = [override for override in overrides_of_tiny_run(root, run_dir) if not override.startswith(of_people)]
    tiny += [f"data={preset}", f"data.root={root}", "loss/perceptual=random", "scoring.metrics=[ssim,mask_ssim]"]
    tiny += ["schedule.constant_iterations=1", "schedule.decay_iterations=1"]
    train_and_evaluate(compose_config("train", *tiny, *overrides), run_dir)
    return json.loads((run_dir / "metrics.json").read_text())


def publish(download, folder: Path, shift: int = 0) -> Path:
    """Write the annotations of both splits, x shifted, and some of the test pairs."""
    download.annotate(folder, shift)
    pairs = matching_pairs(download.joints["test"])
    table = download.tables.replace("annotation", "pairs").format("test")
    write_pairs(folder / table, pairs[:: len(pairs) // NUM_TEST_PAIRS][:NUM_TEST_PAIRS])
    return folder


def zipped(download, folder: Path) -> tuple[Path, Path]:
    """Images, and DeepFashion's official partition, in a zip."""
    return download.zip(folder / "download.zip"), publish(download, folder / "tables")


def unpacked(download, folder: Path) -> tuple[Path, Path]:
    """DeepFashion with annotations of the narrow frame, and PATN's lists next to them."""
    tables = publish(download, folder / "tables", shift=-40)
    for split, names in download.lists.items():
        (tables / f"{split}.lst").write_text("\n".join(names) + "\n")
    return download.folder(folder / "download"), tables


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as file:
        return file.size


def banded(path: Path, band: int) -> np.ndarray:
    """An image between white bands."""
    with Image.open(path) as file:
        return np.pad(np.asarray(file.convert("RGB")), ((0, 0), (band, band), (0, 0)), constant_values=255)


@pytest.mark.parametrize(
    ("preset", "write", "made_for", "label", "size", "patn_frame", "band"),
    [
        ("market1501", zipped, None, "Market-1501 subset", (128, 64), "128x64", 0),
        ("deepfashion", zipped, 256, "DeepFashion 256x256 subset", (256, 256), "256x256", 0),
        ("deepfashion_176", unpacked, 176, "DeepFashion 256x176 subset", (256, 176), "256x256 with bands", 40),
    ],
)
def test_from_download_to_metrics(request, tmp_path, capsys, preset, write, made_for, label, size, patn_frame, band):
    root, run_dir = tmp_path / "data", tmp_path / "run"
    download = request.getfixturevalue("market" if preset == "market1501" else "fashion")
    inputs = write(download, tmp_path)
    manifest = prepare(preset, *inputs, root)
    printed = capsys.readouterr().out.splitlines()
    assert (printed[0], printed[-1]) == (label, f"{root}: {28 + (made_for is None)} images written")
    assert manifest["annotation_frame"] == {"train": made_for, "test": made_for}

    metrics = train(preset, root, run_dir, "generator.num_blocks=1", "data.num_val_pairs=1")
    pairs = read_pairs(root / "pairs-test.csv")
    height, width = size
    check_metrics(metrics, f"{height}x{width}", patn_frame)
    by_hand = [
        patn_ssim(banded(run_dir / "images" / image_name(pair), band), banded(root / "test" / pair[1], band))
        for pair in pairs
    ]
    assert by_metric(metrics["values"], "value")["ssim", "patn"] == pytest.approx(np.mean(by_hand), abs=1e-9)
    record = metrics["run"]
    assert record["data_hash"] == manifest["data_hash"]
    assert (record["data"], record["label"], record["image_size"]) == (preset, label, list(size))
    assert any("test pairs: 3 here, " in note for note in record["notes"])
    check_training_pairs(record, manifest, download.joints["train"])
    sizes = {path.name: size_of(path) for path in (run_dir / "images").glob("*.png")}
    assert sizes == {image_name(pair): (width, height) for pair in pairs}
    # Two pairs of five panels side by side, with a gap of 4; three pairs fill two rows.
    assert size_of(run_dir / "samples" / "test.png") == (2 * 5 * width + 4, 2 * height)

    prepare(preset, *inputs, root)
    assert capsys.readouterr().out.splitlines()[-1] == f"{root}: complete, all files verified"


def check_metrics(metrics, frame, patn_frame):
    assert metrics["missing"] == []
    protocols = {(entry["metric"], entry["protocol"]): (entry["n"], entry["frame"]) for entry in metrics["values"]}
    frames = {"patn": (NUM_TEST_PAIRS, patn_frame), "standard": (NUM_TEST_PAIRS, frame)}
    assert protocols == {(m, p): expected for m in ("ssim", "mask_ssim") for p, expected in frames.items()}


def check_training_pairs(record, manifest, train_joints):
    pairs_of_identity = Counter(identity_of(source) for source, _ in matching_pairs(train_joints))
    assert manifest["num_train_pairs"] == pairs_of_identity.total()
    # One of the five identities is held out for validation.
    assert len(pairs_of_identity) == 5
    assert manifest["num_train_pairs"] - record["num_train_pairs"] in pairs_of_identity.values()


@pytest.fixture(scope="module")
def prepared_market(market, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("market")
    prepare("market1501", *zipped(market, folder), folder / "data")
    return folder / "data"


def logged(run_dir: Path, column: str) -> list[float]:
    rows = csv.DictReader((run_dir / "logs" / "metrics.csv").read_text().splitlines())
    return [float(row[column]) for row in rows if row[column]]


def test_batches_that_the_pairs_do_not_fill(prepared_market, tmp_path):
    """Four validation pairs in batches of three, three test pairs in batches of two."""
    overrides = ["data.batch_size=3", "data.num_val_pairs=4", "scoring.batch_size=2"]
    metrics = train("market1501", prepared_market, tmp_path, *overrides)
    assert metrics["run"]["batch_size"] == 3
    assert {entry["n"] for entry in metrics["values"]} == {NUM_TEST_PAIRS}
    assert len(list((tmp_path / "images").glob("*.png"))) == NUM_TEST_PAIRS
    assert np.isfinite(logged(tmp_path, "train/l1")).tolist() == [True] * 2
    assert np.isfinite(logged(tmp_path, "val/ssim")).tolist() == [True]


def test_epochs_of_drawn_pairs_under_patns_schedule(prepared_market, tmp_path):
    """Two epochs at a constant rate and one of linear decay, of five pairs each; what fills no batch does not count."""
    register_resolvers()
    overrides = ["schedule=patn", "data.pairs_per_epoch=5", "data.batch_size=2"]
    overrides += ["schedule.constant_iterations=${iterations:2,5,2}", "schedule.decay_iterations=${iterations:1,5,2}"]
    metrics = train("market1501", prepared_market, tmp_path, *overrides)
    assert metrics["run"]["iterations"] == 6
    assert logged(tmp_path, "lr/generator") == pytest.approx([*[1e-4] * 5, 0.5e-4])
    assert {entry["n"] for entry in metrics["values"]} == {NUM_TEST_PAIRS}
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["data"]["pairs_per_epoch"] == 5
    assert (config["schedule"]["constant_iterations"], config["schedule"]["decay_iterations"]) == (4, 2)
