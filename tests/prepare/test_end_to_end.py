"""From a download in the data set's own layout to `metrics.json`, by the commands' own configs and steps."""

import csv
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from PIL import Image
from skimage.metrics import structural_similarity

from tiny_run import overrides_of_tiny_run
from twostream.cli import CONF
from twostream.cli.jobs import register_resolvers
from twostream.cli.one_run import do_run
from twostream.cli.prepare import do_step
from twostream.data.pairs import identity_of, matching_pairs, read_pairs, write_pairs
from twostream.evaluation.generation import image_name

NUM_TEST_PAIRS = 3


def prepare(preset: str, source: Path, annotations: Path, root: Path) -> dict:
    overrides = [f"data={preset}", f"source={source}", f"annotations={annotations}", f"data.root={root}"]
    with initialize_config_dir(version_base="1.3", config_dir=CONF):
        cfg = compose("prepare", [*overrides, "num_workers=0"])
    do_step(cfg)
    return json.loads((root / "manifest.json").read_text())


def train(preset: str, root: Path, run_dir: Path, *overrides: str) -> dict:
    """Train and score a run of two iterations on pictures of the preset's own size; return its metrics."""
    of_people = ("data.source.", "data.root=", "data.image_size=")
    tiny = [override for override in overrides_of_tiny_run(root, run_dir) if not override.startswith(of_people)]
    tiny += [f"data={preset}", f"data.root={root}", "loss/perceptual=random", "scoring.metrics=[ssim,mask_ssim]"]
    tiny += ["schedule.constant_iterations=1", "schedule.decay_iterations=1"]
    with initialize_config_dir(version_base="1.3", config_dir=CONF):
        cfg = compose("train", [*tiny, *overrides])
    do_run(cfg, run_dir)
    return json.loads((run_dir / "metrics.json").read_text())


def publish(download, folder: Path, shift: int = 0) -> Path:
    """Write the annotations of both splits, x shifted, and some of the test pairs."""
    download.annotate(folder, shift)
    pairs = matching_pairs(download.joints["test"])
    table = download.tables.replace("annotation", "pairs").format("test")
    write_pairs(folder / table, pairs[:: len(pairs) // NUM_TEST_PAIRS][:NUM_TEST_PAIRS])
    return folder


def zipped(download, folder: Path) -> tuple[Path, Path]:
    """Pictures, and DeepFashion's official partition, in a zip."""
    return download.zip(folder / "download.zip"), publish(download, folder / "tables")


def unpacked(download, folder: Path) -> tuple[Path, Path]:
    """DeepFashion with annotations of the narrow frame, and PATN's lists beside them."""
    tables = publish(download, folder / "tables", shift=-40)
    for split, names in download.lists.items():
        (tables / f"{split}.lst").write_text("\n".join(names) + "\n")
    return download.folder(folder / "download"), tables


@dataclass(frozen=True)
class Case:
    preset: str
    download: str
    lay: Callable
    made_for: int | None
    label: str
    size: tuple[int, int]
    patn_frame: str
    band: int


CASES = [
    Case("market1501", "market", zipped, None, "Market-1501", (128, 64), "128x64", 0),
    Case("deepfashion", "fashion", zipped, 256, "DeepFashion 256x256", (256, 256), "256x256", 0),
    Case("deepfashion_176", "fashion", unpacked, 176, "DeepFashion 256x176", (256, 176), "256x256 with bands", 40),
]


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as file:
        return file.size


def patn_ssim(generated: Path, true: Path, band: int) -> float:
    """Between white bands, by the generated picture's own range."""
    pictures = []
    for path in (generated, true):
        with Image.open(path) as file:
            picture = np.asarray(file.convert("RGB"))
        pictures.append(np.pad(picture, ((0, 0), (band, band), (0, 0)), constant_values=255))
    data_range = int(pictures[0].max()) - int(pictures[0].min())
    window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return structural_similarity(*pictures, channel_axis=-1, data_range=data_range, **window)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.preset)
def test_from_the_download_to_the_numbers(request, tmp_path, capsys, case):
    root, run_dir = tmp_path / "data", tmp_path / "run"
    download = request.getfixturevalue(case.download)
    inputs = case.lay(download, tmp_path)
    manifest = prepare(case.preset, *inputs, root)
    said = capsys.readouterr().out.splitlines()
    assert (said[0], said[-1]) == (case.label, f"{root}: {28 + (case.made_for is None)} pictures written now")
    assert manifest["annotation_frame"] == {"train": case.made_for, "test": case.made_for}

    metrics = train(case.preset, root, run_dir, "generator.num_blocks=1", "data.num_val_pairs=1")
    pairs = read_pairs(root / "pairs-test.csv")
    check_metrics(metrics, case, run_dir, root, pairs)
    check_record(metrics["run"], case, run_dir, manifest, download.joints["train"])
    check_pictures(run_dir, case, pairs)

    prepare(case.preset, *inputs, root)
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"{root} was whole already")


def check_metrics(metrics, case, run_dir, root, pairs):
    assert len(pairs) == NUM_TEST_PAIRS
    assert metrics["missing"] == []
    values = {(entry["metric"], entry["protocol"]): entry for entry in metrics["values"]}
    assert values.keys() == {(m, p) for m in ("ssim", "mask_ssim") for p in ("patn", "standard")}
    height, width = case.size
    for (_, protocol), entry in values.items():
        assert entry["n"] == NUM_TEST_PAIRS
        assert entry["frame"] == (case.patn_frame if protocol == "patn" else f"{height}x{width}")
    by_hand = [patn_ssim(run_dir / "images" / image_name(pair), root / "test" / pair[1], case.band) for pair in pairs]
    assert values["ssim", "patn"]["value"] == pytest.approx(np.mean(by_hand), abs=1e-9)


def check_record(record, case, run_dir, manifest, train_joints):
    assert record == json.loads((run_dir / "record.json").read_text())
    assert record["data_hash"] == manifest["data_hash"]
    assert (record["data"], record["label"], record["image_size"]) == (case.preset, case.label, list(case.size))
    assert (record["iterations"], record["batch_size"]) == (2, 2)
    pairs_of_identity = Counter(identity_of(source) for source, _ in matching_pairs(train_joints))
    assert manifest["num_train_pairs"] == pairs_of_identity.total()
    # One of the five people is kept out for validation.
    assert len(pairs_of_identity) == 5
    assert manifest["num_train_pairs"] - record["num_train_pairs"] in pairs_of_identity.values()


def check_pictures(run_dir, case, pairs):
    height, width = case.size
    sizes = {path.name: size_of(path) for path in (run_dir / "images").glob("*.png")}
    assert sizes == {image_name(pair): (width, height) for pair in pairs}
    # Two pairs of five panels stand side by side, with a gap of 4; three pairs fill two rows.
    assert size_of(run_dir / "samples" / "test.png") == (2 * 5 * width + 4, 2 * height)


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


@pytest.mark.parametrize(("batch_size", "constant", "decay"), [(2, 4, 2), (3, 2, 1)])
def test_epochs_of_drawn_pairs_under_patns_schedule(prepared_market, tmp_path, batch_size, constant, decay):
    """Two epochs at a constant rate and one of linear decay, of four pairs each; what fills no batch does not count."""
    register_resolvers()
    overrides = ["schedule=patn", "data.pairs_per_epoch=4", f"data.batch_size={batch_size}"]
    overrides += [f"schedule.constant_iterations=${{iterations:2,4,{batch_size}}}"]
    overrides += [f"schedule.decay_iterations=${{iterations:1,4,{batch_size}}}"]
    metrics = train("market1501", prepared_market, tmp_path, *overrides)
    assert metrics["run"]["iterations"] == constant + decay
    assert logged(tmp_path, "lr/generator") == pytest.approx(
        [1e-4] * constant + [1e-4 * (1 - i / decay) for i in range(decay)]
    )
    assert {entry["n"] for entry in metrics["values"]} == {NUM_TEST_PAIRS}
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["data"]["pairs_per_epoch"] == 4
    assert (config["schedule"]["constant_iterations"], config["schedule"]["decay_iterations"]) == (constant, decay)
