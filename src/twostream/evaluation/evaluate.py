"""A finished run -> its pictures and its numbers."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import torch

from twostream.build import build_datamodule
from twostream.data.dataset import PairDataset
from twostream.data.drawing import sample_grid
from twostream.evaluation.generate import generate, image_name, load_checkpoint, load_generator, read_generated
from twostream.evaluation.score import score_images, write_scores
from twostream.files import whole_file, write_text

CHECKPOINT = Path("checkpoints", "last.ckpt")
NUM_GRID_PAIRS = 16


def evaluate_run(run_dir: Path, device: torch.device, batch_size: int = 32) -> dict[str, Any]:
    """Generate and score every test pair of a run; return what `metrics.json` then holds.

    An evaluation that was cut off goes on with the pictures that it still lacks. Raises ValueError where the run is
    not finished or its data have changed since.
    """
    checkpoint_path = run_dir / CHECKPOINT
    checkpoint = load_checkpoint(checkpoint_path)
    record = read_record(run_dir)
    if checkpoint["global_step"] != record["iterations"]:
        raise ValueError(
            f"{checkpoint_path}: expected the end of the run, iteration {record['iterations']}, "
            f"got iteration {checkpoint['global_step']}; start its training again"
        )
    generator, config = load_generator(checkpoint, device)
    data = build_datamodule(config)
    data.prepare_data()
    if data.data_hash != record["data_hash"]:
        raise ValueError(
            f"{data.folder}: the run was trained on data of hash {record['data_hash']}, these are of {data.data_hash}"
        )
    dataset = data.test_dataset()
    images = run_dir / "images"
    _keep_only_images_of(checkpoint_path, images)
    generate(generator, dataset, data.heatmap_sigma, images, device, batch_size)
    _draw_grid(dataset, images, run_dir / "samples" / "test.png")
    return write_scores(run_dir, record, score_images(dataset, images), data.image_size)


def is_trained(run_dir: Path) -> bool:
    """Say whether a run's last checkpoint is that of its last iteration."""
    if not (run_dir / CHECKPOINT).is_file():
        return False
    return load_checkpoint(run_dir / CHECKPOINT)["global_step"] == read_record(run_dir)["iterations"]


def read_record(run_dir: Path) -> dict[str, Any]:
    """Read what a run wrote about itself when it started. Raises ValueError where there is no such file."""
    path = run_dir / "record.json"
    if not path.is_file():
        raise ValueError(f"{run_dir}: expected the folder of a run, there is no record.json in it")
    return json.loads(path.read_text(encoding="utf-8"))


def choose_device(name: str) -> torch.device:
    """Return the named device; `auto` is the GPU where there is one, `gpu` Lightning's name for it."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device("cuda" if name == "gpu" else name)


def _keep_only_images_of(checkpoint: Path, images: Path) -> None:
    """Remove pictures that other weights made."""
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    marker = images / "checkpoint.sha256"
    if not marker.is_file() or marker.read_text(encoding="utf-8").strip() != digest:
        shutil.rmtree(images, ignore_errors=True)
        write_text(marker, digest + "\n")


def _draw_grid(dataset: PairDataset, images: Path, path: Path) -> None:
    count = min(NUM_GRID_PAIRS, len(dataset))
    indices = [i * len(dataset) // count for i in range(count)]
    pictures = [read_generated(images / image_name(dataset.pairs[i])) for i in indices]
    generated = torch.stack([torch.from_numpy(picture.copy()).permute(2, 0, 1) for picture in pictures])
    with whole_file(path) as temporary:
        sample_grid(dataset.batch(indices), generated).save(temporary)
