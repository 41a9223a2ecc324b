"""A finished run -> its generated images and their scores."""

import hashlib
import json
import logging
import math
from collections.abc import Container, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from tqdm import tqdm

from twostream.callbacks.averaging import KEY as AVERAGED
from twostream.data.datamodule import PairDataModule
from twostream.data.dataset import image_names, read_split
from twostream.data.images import read_image
from twostream.data.pairs import Pair, check_image_names, image_name
from twostream.data.visualize import sample_grid
from twostream.evaluation.generated_run import GeneratedRun
from twostream.evaluation.measurement import Missing, ScoreFiles, discard_if_stale
from twostream.evaluation.scoring import ScoredImages, Scoring, score
from twostream.files import MAX_IMAGE_BYTES, atomic_write, open_regular, read_object, sha256_of, write_text
from twostream.inference import CHECKPOINT, PoseTransfer, load_generator
from twostream.loggers.wandb_logger import log_summary
from twostream.metrics.correspondence import PROTOCOL as CORRESPONDENCE
from twostream.metrics.correspondence import Correspondence, CorrespondenceColumns
from twostream.metrics.metric import Metric, Panel, ScoredPair
from twostream.metrics.surrogate import clothes_of, is_synthetic
from twostream.nets.inspection import attention_matrices, best_matches, correspondences, map_size, strongest_matches
from twostream.nets.warp import WarpGenerator
from twostream.registry import build_as
from twostream.resume import load_checkpoint
from twostream.runs import RUN, read_provenance, results_folder

log = logging.getLogger(__name__)
DIGEST = "pixels_sha256"  # the text in a generated image that tells whether it is as it was written
CORRESPONDENCE_FILE = "correspondence.json"
MAX_BYTES = 64 * 2**20  # of it: 13 AT-blocks and a warp at 256x256 may take 55 MB
NUM_GRID_PAIRS = 16
NUM_MATCHED_PAIRS = 8  # in `correspondence.json`


def evaluate_run(
    run_dir: Path, scoring: Scoring, device: torch.device, split: str = "test", num_sources: int = 1
) -> dict[str, Any]:
    """Generate and score every pair of a split; return the content of its `metrics.json`.

    The results on the validation pairs (`val`) are in the folder `validation`, those with several source images of each
    person, which a warp takes, in `sources_2` and so on. Averaged weights, if the run has them,
    are evaluated first, in the folder `averaged`. An interrupted evaluation resumes with the images that are missing,
    damaged or changed, and with the missing measurements. The values of the test pairs are added to the summary of a
    run that was logged to W&B. Raises ValueError if the run is not finished or its data have changed, and for another
    split.
    """
    has_average = AVERAGED in load_checkpoint(run_dir / CHECKPOINT)
    content: dict[str, Any] = {}
    for averaged in [True, False] if has_average else [False]:
        run = generate_run(run_dir, device, scoring.batch_size, averaged, split, num_sources)
        content = score_run(run, scoring, device)
        if split == "test" and num_sources == 1:
            log_summary(run_dir, content, "averaged" if averaged else "final", run.grid)
    return content


def generate_run(
    run_dir: Path,
    device: torch.device,
    batch_size: int,
    averaged: bool = False,
    split: str = "test",
    num_sources: int = 1,
) -> GeneratedRun:
    """Generate the missing and damaged images of a finished run and draw a grid of some of them."""
    checkpoint_path = run_dir / CHECKPOINT
    checkpoint = load_checkpoint(checkpoint_path)
    record = read_provenance(run_dir)
    if lacking := sorted({"iterations", "data_hash", "label", "variant", "notes"} - record.keys()):
        raise ValueError(f"{run_dir / RUN}: provenance: expected the key {lacking[0]!r}")
    if checkpoint["iteration"] != record["iterations"]:
        raise ValueError(
            f"{checkpoint_path}: expected the end of the run, iteration {record['iterations']}, "
            f"got iteration {checkpoint['iteration']}; start its training again"
        )
    config = checkpoint["hyper_parameters"]
    generator = load_generator(checkpoint, device, averaged, str(checkpoint_path))
    folder = results_folder(run_dir / "averaged" if averaged else run_dir, split, num_sources)
    if num_sources > 1:
        if not isinstance(generator, WarpGenerator):
            raise ValueError(f"num_sources: expected 1 for {type(generator).__name__}, got {num_sources}")
        record["variant"] += f"@{num_sources}"
        record["notes"] = [*record["notes"], f"{num_sources} source images of each person"]
    if averaged:
        record["notes"] = [*record["notes"], f"averaged weights, decay {config['averaging']['decay']}"]
    data: PairDataModule = build_as(PairDataModule, config["data"], f"{checkpoint_path}: data")
    data.look_beside(run_dir)
    data.prepare_data()
    if data.manifest["data_hash"] != record["data_hash"]:
        raise ValueError(
            f"{data.folder}: expected the data that the run was trained on, of hash {record['data_hash']}, "
            f"got data of hash {data.manifest['data_hash']}"
        )
    if split == "val":
        record["label"] += ", validation"
        data.setup("validate")
    dataset = data.val if split == "val" else data.test_dataset()
    check_image_names(dataset.pairs, f"{data.folder}: {split} pairs")
    model = PoseTransfer(generator, data.size, data.heatmaps, device)
    run = GeneratedRun(folder, record, model, data, split, dataset, num_sources)
    discard_if_stale(folder / "images", "checkpoint.sha256", sha256_of(checkpoint_path))
    _generate_missing_images(run, batch_size)
    _draw_grid(run)
    _store_correspondence(run)
    return run


def score_run(run: GeneratedRun, scoring: Scoring, device: torch.device) -> dict[str, Any]:
    """Score a run's images; write and return the values."""
    data, pairs = run.data, run.dataset.pairs
    more_metrics, missing = _correspondence(run) if "correspondence" in scoring.metrics else ([], [])
    images = ScoredImages(
        pairs=[
            ScoredPair(
                name=image_name(pair),
                source=pair[0],
                target=pair[1],
                generated=Panel(run.image_path(pair)),
                true=Panel(run.true_images / pair[1]),
                joints=run.dataset.joints[pair[1]],
            )
            for pair in sorted(pairs, key=image_name)
        ],
        image_size=data.size,
        protocols=scoring.protocols_of_runs,
        references=_references(run),
        record=run.record,
        people_root=Path(data.root) if is_synthetic(data.source) else None,
        clothes=clothes_of(data.source),
        more_metrics=more_metrics,
        missing=missing,
    )
    names = ("metrics.json", "scores.csv", "bootstrap.json", "scoring")
    return score(images, scoring, ScoreFiles(*(run.folder / name for name in names)), device)


def _references(run: GeneratedRun) -> dict[str, list[Panel]]:
    """Return the sets of true images that Frechet distances compare with; validation has its training pairs' alone."""
    folder = run.data.folder
    if run.split == "val":
        return {"train": [Panel(folder / "train" / name) for name in image_names(run.data.train.pairs)]}
    _, train_pairs = read_split(folder, "train", run.data.size)
    return {
        "train": [Panel(folder / "train" / name) for name in image_names(train_pairs)],
        "all_train": [Panel(path) for path in sorted((folder / "train").iterdir())],
        "test": [Panel(folder / "test" / name) for name in sorted({target for _, target in run.dataset.pairs})],
    }


def _correspondence(run: GeneratedRun) -> tuple[list[Metric], list[Missing]]:
    """Return the correspondence metrics of a run on synthetic people, or why there are none."""
    if not is_synthetic(run.data.source):
        return [], []
    if run.split != "test" or run.num_sources > 1 or not correspondences(run.model.generator):
        reason = "it is computed with one source image"
        if run.split != "test":
            reason = "true matches are known in test images only"
        elif run.num_sources == 1:
            reason = "the generator has no correspondence"
        return [], [{"metric": "correspondence", "protocol": CORRESPONDENCE, "reason": reason}]
    index_of = {pair: index for index, pair in enumerate(run.dataset.pairs)}

    @torch.inference_mode()
    def match(pairs: Sequence[Pair]) -> dict[str, Any]:
        inputs = run.inputs([index_of[pair] for pair in pairs])
        return {name: matches.cpu().numpy() for name, matches in best_matches(run.model.generator, inputs).items()}

    surfaces = run.data.folder / "surface-test"
    # From the first pair, as the networks decide the size of their feature maps.
    found = match(run.dataset.pairs[:1])
    maps = {name: map_size(matches.shape[1], run.data.size) for name, matches in found.items()}
    shared = CorrespondenceColumns(match, maps, surfaces, run.data.size)
    return [Correspondence(matching, shared) for matching in shared.maps], []


def is_trained(run_dir: Path) -> bool:
    """Return whether a run's last checkpoint is complete and of its last iteration."""
    try:
        return load_checkpoint(run_dir / CHECKPOINT)["iteration"] == read_provenance(run_dir)["iterations"]
    except ValueError:
        return False


def _generate_missing_images(run: GeneratedRun, batch_size: int) -> None:
    """Generate the images that are missing, and those that are not as they were written."""
    paths = [run.image_path(pair) for pair in run.dataset.pairs]
    with ThreadPoolExecutor() as pool:  # Pillow releases the GIL while it decodes
        is_intact = list(pool.map(partial(_is_intact, size=run.data.size), paths))
    todo = [index for index, intact in enumerate(is_intact) if not intact]
    if damaged := [paths[index] for index in todo if paths[index].exists()]:
        log.warning("%s and %d others: damaged or changed, generated again", damaged[0], len(damaged) - 1)
    with tqdm(total=len(paths), initial=len(paths) - len(todo), desc="Generate", unit="image", disable=None) as bar:
        for start in range(0, len(todo), batch_size):
            indices = todo[start : start + batch_size]
            generated = run.generate(indices).permute(0, 2, 3, 1).cpu().numpy()
            for index, image in zip(indices, generated, strict=True):
                info = PngInfo()
                info.add_text(DIGEST, hashlib.sha256(image.tobytes()).hexdigest())
                with atomic_write(paths[index]) as temporary:
                    Image.fromarray(image).save(temporary, pnginfo=info)
            bar.update(len(indices))


def _is_intact(path: Path, size: tuple[int, int]) -> bool:
    """Return whether a file is a generated image of this height and width with the pixels that it was written with."""
    try:
        with open_regular(path, MAX_IMAGE_BYTES) as file, Image.open(file, formats=("PNG",)) as image:
            is_of_size = (image.height, image.width) == size
            return is_of_size and image.info.get(DIGEST) == hashlib.sha256(image.tobytes()).hexdigest()
    # Pillow's decoder raises errors of many kinds on broken content.
    except Exception:
        return False


def read_correspondence(run_dir: Path, known: Container[str]) -> dict[str, Any] | None:
    """Return the content of a run's `correspondence.json`, None without one; `known` are the names of the images.

    Raises ValueError, in one line with the file, for another content than `_store_correspondence` writes.
    """
    path = run_dir / CORRESPONDENCE_FILE
    content = read_object(path, "pairs", "views", max_bytes=MAX_BYTES)
    if content is None:
        return None
    try:
        if unknown := [name for source, target in content["pairs"] for name in (source, target) if name not in known]:
            raise ValueError(f"an image {unknown[0]!r} that is not annotated")
        for name, view in content["views"].items():
            num_positions = math.prod(view["map"])
            sources, weights = np.array(view["sources"]), np.array(view["weights"], float)
            is_index = np.issubdtype(sources.dtype, np.integer) and ((sources >= 0) & (sources < num_positions)).all()
            shape = (len(content["pairs"]), num_positions, sources.shape[-1])
            if not is_index or not sources.shape == weights.shape == shape or not np.isfinite(weights).all():
                raise ValueError(f"sources {sources.shape} and weights {weights.shape} in {name}")
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: expected positions for each pair and view, got {error}; evaluate again") from None
    return content


@torch.inference_mode()
def _store_correspondence(run: GeneratedRun) -> None:
    """Write the largest weights of the attention matrices (Eq. 4) of some pairs to `correspondence.json`.

    For each AT-block or warp by name, pair and target position of its map it holds source positions and their weights,
    as multiples of uniform attention.
    """
    if run.num_sources > 1 or not correspondences(run.model.generator):
        return
    indices = run.spread(NUM_MATCHED_PAIRS)
    content: dict[str, Any] = {"pairs": [run.dataset.pairs[index] for index in indices], "views": {}}
    for name, matrices in attention_matrices(run.model.generator, run.inputs(indices)).items():
        content["views"][name] = strongest_matches(matrices, run.data.size)
    write_text(run.folder / CORRESPONDENCE_FILE, json.dumps(content, separators=(",", ":")), durable=True)


def _draw_grid(run: GeneratedRun) -> None:
    dataset = run.dataset
    indices = run.spread(NUM_GRID_PAIRS)
    generated = [torch.from_numpy(read_image(run.image_path(dataset.pairs[i]), run.data.size)) for i in indices]
    with atomic_write(run.grid) as temporary:
        sample_grid(dataset.batch(indices), torch.stack(generated).permute(0, 3, 1, 2)).save(temporary)
