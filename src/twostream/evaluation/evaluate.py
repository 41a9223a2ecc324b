"""A finished run -> its pictures and its numbers."""

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from synthetic_people.people import SyntheticPeople
from twostream.build import build_datamodule
from twostream.callbacks.averaging import KEY as AVERAGED
from twostream.data.datamodule import PairDataModule
from twostream.data.dataset import PairDataset, read_split
from twostream.data.visualize import sample_grid
from twostream.evaluation.generate import generate, image_name, load_checkpoint, load_generator
from twostream.evaluation.matching import PROTOCOL as CORRESPONDENCE
from twostream.evaluation.matching import correspondence_metrics, measure_correspondence
from twostream.evaluation.measures import metrics_of
from twostream.evaluation.score import ScoreFiles, kept, measure_pairs, write_scores
from twostream.evaluation.scored_pairs import Panel, ScoredPair, read_panel
from twostream.evaluation.scoring import Scoring, Toolbox
from twostream.files import atomic_write, sha256_of, write_text
from twostream.loggers.wandb_logger import log_summary
from twostream.metrics.protocols import PROTOCOLS
from twostream.nets.generator import TwoStreamGenerator
from twostream.runs import read_provenance

CHECKPOINT = Path("checkpoints", "last.ckpt")
NUM_GRID_PAIRS = 16


class Generated(NamedTuple):
    """The test pictures of a finished run, all there."""

    folder: Path
    """With the pictures and what is computed of them."""
    record: dict[str, Any]
    generator: torch.nn.Module
    data: PairDataModule
    dataset: PairDataset


def evaluate_run(run_dir: Path, scoring: Scoring, device: torch.device) -> dict[str, Any]:
    """Generate and score every test pair of a run; return what `metrics.json` then holds.

    Where the run has averaged weights, these are evaluated first, in the folder `averaged`. An evaluation that was cut
    off goes on with the pictures and the numbers that it still lacks. A run that was logged to W&B gets the values into
    its summary. Raises ValueError where the run is not finished or its data have changed since.
    """
    has_average = AVERAGED in load_checkpoint(run_dir / CHECKPOINT)
    content: dict[str, Any] = {}
    for averaged in [True, False] if has_average else [False]:
        run = generate_run(run_dir, device, scoring.batch_size, averaged)
        content = score_run(run, scoring, device)
        log_summary(run_dir, content, "averaged" if averaged else "final", run.folder / "samples" / "test.png")
    return content


def generate_run(run_dir: Path, device: torch.device, batch_size: int, averaged: bool = False) -> Generated:
    """Generate what a finished run lacks of its test pictures, and draw a grid of some of them."""
    checkpoint_path = run_dir / CHECKPOINT
    checkpoint = load_checkpoint(checkpoint_path)
    record = read_provenance(run_dir)
    if checkpoint["iteration"] != record["iterations"]:
        raise ValueError(
            f"{checkpoint_path}: expected the end of the run, iteration {record['iterations']}, "
            f"got iteration {checkpoint['iteration']}; start its training again"
        )
    generator, config = load_generator(checkpoint, device, averaged)
    folder = run_dir
    if averaged:
        folder = run_dir / "averaged"
        record["notes"] = [*record["notes"], f"averaged weights, decay {config.averaging.decay}"]
    data = build_datamodule(config)
    data.prepare_data()
    if data.data_hash != record["data_hash"]:
        raise ValueError(
            f"{data.folder}: the run was trained on data of hash {record['data_hash']}, these are of {data.data_hash}"
        )
    dataset = data.test_dataset()
    images = folder / "images"
    _keep_only_images_of(checkpoint_path, images)
    generate(generator, dataset, data.heatmaps, images, device, batch_size)
    _draw_grid(dataset, images, folder / "samples" / "test.png")
    return Generated(folder, record, generator, data, dataset)


def score_run(run: Generated, scoring: Scoring, device: torch.device) -> dict[str, Any]:
    """Score a run's test pictures; write and return the values."""
    folder, record, generator, data, dataset = run
    pairs, order = _scored_pairs(dataset, folder / "images", data.folder / "test")
    tools = Toolbox(scoring, PROTOCOLS, data.image_size, _references(data, dataset), device)
    notes = _choose_measures(tools, data)
    measures = [tools.similarity(), *tools.measures]
    cache = folder / "scoring"
    columns = dict(measure_pairs(pairs, measures[0], measures[1:], cache, scoring.batch_size, scoring.num_workers))
    metrics = metrics_of(measures, pairs)
    if "correspondence" in tools.names:
        if isinstance(generator, TwoStreamGenerator) and generator.has_at_modules:
            surfaces = data.folder / "surface-test"
            heatmaps, batch_size = data.heatmaps, scoring.batch_size
            matched = kept(
                cache / "correspondence.npz",
                lambda: measure_correspondence(generator, dataset, surfaces, heatmaps, device, batch_size),
            )
            columns |= {name: column[order] for name, column in matched.items()}
            metrics += correspondence_metrics(matched, data.image_size)
        else:
            tools.leave_out(["correspondence"], [CORRESPONDENCE], "the generator has no AT-modules")
    record = record | {"notes": [*record["notes"], *notes]}
    content = write_scores(ScoreFiles.of_run(folder), record, pairs, columns, metrics, tools.missing)
    shutil.rmtree(cache)
    return content


def _scored_pairs(dataset: PairDataset, images: Path, truth: Path) -> tuple[list[ScoredPair], np.ndarray]:
    """Return the pairs in the order of their pictures' names, as an Inception Score splits them, and that order."""
    order = sorted(range(len(dataset)), key=lambda i: image_name(dataset.pairs[i]))
    pairs = [
        ScoredPair(
            name=image_name(dataset.pairs[i]),
            source=dataset.pairs[i][0],
            target=dataset.pairs[i][1],
            generated=Panel(images / image_name(dataset.pairs[i])),
            true=Panel(truth / dataset.pairs[i][1]),
            joints=dataset.joints[dataset.pairs[i][1]],
        )
        for i in order
    ]
    return pairs, np.array(order)


def _references(data: PairDataModule, dataset: PairDataset) -> dict[str, list[Panel]]:
    """Return the pictures that the training pairs name, and the targets of the test pairs, each once."""
    _, train_pairs = read_split(data.folder, "train")
    names = {
        "train": sorted({name for pair in train_pairs for name in pair}),
        "test": sorted({target for _, target in dataset.pairs}),
    }
    return {split: [Panel(data.folder / split / name) for name in those] for split, those in names.items()}


def _choose_measures(tools: Toolbox, data: PairDataModule) -> list[str]:
    """Add what is wanted and can be had; return notes on it."""
    tools.add_inception()
    tools.add_lpips()
    tools.add_pckh()
    if not isinstance(data.source, SyntheticPeople):
        tools.names = [name for name in tools.names if name not in ("evaluator", "correspondence")]
        return []
    evaluator = tools.add_evaluator(data.root)
    return [] if evaluator is None else [evaluator.describe()]


def is_trained(run_dir: Path) -> bool:
    """Say whether a run's last checkpoint is whole and that of its last iteration."""
    try:
        return load_checkpoint(run_dir / CHECKPOINT)["iteration"] == read_provenance(run_dir)["iterations"]
    except ValueError:
        return False


def choose_device(name: str) -> torch.device:
    """Return the named device; `auto` is the GPU where there is one, `gpu` Lightning's name for it."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device("cuda" if name == "gpu" else name)


def _keep_only_images_of(checkpoint: Path, images: Path) -> None:
    """Remove pictures that other weights made."""
    digest = sha256_of(checkpoint)
    marker = images / "checkpoint.sha256"
    if not marker.is_file() or marker.read_text(encoding="utf-8").strip() != digest:
        shutil.rmtree(images, ignore_errors=True)
        write_text(marker, digest + "\n")


def _draw_grid(dataset: PairDataset, images: Path, path: Path) -> None:
    count = min(NUM_GRID_PAIRS, len(dataset))
    indices = [i * len(dataset) // count for i in range(count)]
    pictures = [read_panel(Panel(images / image_name(dataset.pairs[i]))) for i in indices]
    generated = torch.stack([torch.from_numpy(picture.copy()).permute(2, 0, 1) for picture in pictures])
    with atomic_write(path) as temporary:
        sample_grid(dataset.batch(indices), generated).save(temporary)
