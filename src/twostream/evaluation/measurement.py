"""Image files -> columns of measurements -> values with confidence intervals -> result files."""

import hashlib
import json
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import DataLoader
from tqdm import tqdm

from twostream.callbacks.run_log import code_version
from twostream.data.pairs import identity_of
from twostream.files import atomic_write, csv_text, open_regular, read_text, write_json, write_text
from twostream.metrics.bootstrap import SEED, resample
from twostream.metrics.inception import FeatureColumns, Moments, moments
from twostream.metrics.metric import Columns, ImageBatch, Metric, Panel, ScoredPair, to_tensor, update_all
from twostream.runs import remove_output

log = logging.getLogger(__name__)
FORMAT = 2
BOOTSTRAP_FORMAT = 1
SHARD_SIZE = 512  # images after which measurements are stored, so that an interrupted evaluation resumes

Missing = dict[str, str]  # metric, protocol and reason of a value that can't be computed


class ScoreFiles(NamedTuple):
    """Paths of an evaluation's results: values, one row per image, values on resamples; folder of finished shards."""

    values: Path
    rows: Path
    bootstrap: Path
    cache: Path


def measure(
    pairs: Sequence[ScoredPair], metrics: Sequence[Metric], cache: Path, batch_size: int, num_workers: int
) -> Columns:
    """Read every pair once and update all metrics; return their columns in the order of the pairs.

    Args:
        pairs: images of one size.
        metrics: what is measured.
        cache: folder of finished shards; those of other images, joints or metrics are removed.
        batch_size: images per pass of a network.
        num_workers: processes that read images and update the metrics without a network; 0 uses this process.

    Raises ValueError for an image that is unreadable or of another size than its true image.
    """
    discard_if_stale(cache, "key", _key(pairs, metrics))
    # The temporary file of a killed process has another name.
    paths = sorted(cache.glob("[0-9]*.npz"))
    shards = [_load(path) for path in paths]
    done = int(paths[-1].stem) if paths else 0
    batches = [pairs[start : start + batch_size] for start in range(done, len(pairs), batch_size)]
    of_workers = [metric for metric in metrics if metric.runs_in_workers]
    of_networks = [metric for metric in metrics if not metric.runs_in_workers]
    read = partial(_read_and_measure, metrics=of_workers)
    # Processes are not worth their start for two batches.
    num_workers = num_workers if len(batches) > 2 else 0
    dataset: Any = batches  # a list has all that the loader needs of a dataset
    loader = DataLoader(dataset, batch_size=None, num_workers=num_workers, collate_fn=read)
    unsaved: list[Columns] = []
    with tqdm(total=len(pairs), initial=done, desc="Score", unit="image", disable=None) as bar:
        for images, columns in loader:
            unsaved.append({**columns, **update_all(of_networks, images)})
            done += len(images.pairs)
            bar.update(len(images.pairs))
            if done == len(pairs) or len(unsaved) * batch_size >= SHARD_SIZE:
                shards.append(_concatenate(unsaved))
                _save(cache / f"{done:08d}.npz", shards[-1])
                unsaved = []
    return _concatenate(shards)


def _read_and_measure(pairs: Sequence[ScoredPair], metrics: Sequence[Metric]) -> tuple[ImageBatch, Columns]:
    true = [pair.true.read() for pair in pairs]
    generated = [pair.generated.read(image.shape[:2]) for pair, image in zip(pairs, true, strict=True)]
    joints, names = [pair.joints for pair in pairs], [(pair.source, pair.target) for pair in pairs]
    images = ImageBatch(np.stack(generated), np.stack(true), joints, names)
    return images, update_all(metrics, images)


def reference_moments(
    panels: Sequence[Panel], image_size: tuple[int, int], shared: FeatureColumns, cache_dir: Path, batch_size: int
) -> Moments:
    """Return the moments of the features of true images, stored in `cache_dir` for all evaluations on these files.

    Raises ValueError for an image that is unreadable or not of `image_size`, and for fewer than 2 images.
    """
    files = [[str(p.path.resolve()), p.index, p.num_panels, p.path.stat().st_mtime_ns] for p in panels]
    key = hashlib.sha256(json.dumps([shared.net.weights_hash, files]).encode()).hexdigest()[:16]
    path = cache_dir / f"moments-{key}.npz"
    if not path.is_file():
        features = []
        with tqdm(total=len(panels), desc=f"True images ({shared.net.name})", unit="image", disable=None) as bar:
            for start in range(0, len(panels), batch_size):
                images = np.stack([panel.read(image_size) for panel in panels[start : start + batch_size]])
                features.append(shared.net(to_tensor(images)).features)
                bar.update(len(images))
        computed = moments(np.concatenate(features))
        _save(path, {"mean": computed.mean, "covariance": computed.covariance})
    stored = _load(path)
    return Moments(stored["mean"], stored["covariance"], len(panels))


def write_scores(
    files: ScoreFiles,
    record: dict[str, Any],
    pairs: Sequence[ScoredPair],
    columns: Columns,
    metrics: Sequence[Metric],
    missing: Sequence[Missing],
) -> dict[str, Any]:
    """Write all files, the values last, so that a file of values belongs to a finished evaluation; return the values.

    Metrics that are not defined on these images are listed as missing too.
    """
    identities = [identity_of(pair.target) for pair in pairs]
    listed = "\n".join(f"{pair.source},{pair.target}" for pair in pairs)
    test = {"identities": len(set(identities)), "pairs_hash": hashlib.sha256(listed.encode()).hexdigest()}
    values, replicates, undefined = summarise(metrics, columns, identities)
    numbers = {name: column for name, column in columns.items() if column.ndim == 1}
    rows = [[pair.name, pair.source, pair.target, *row] for pair, *row in zip(pairs, *numbers.values(), strict=True)]
    files.values.unlink(missing_ok=True)
    write_text(files.rows, csv_text([["image", "source", "target", *numbers], *rows]))
    write_json(files.bootstrap, {"format": BOOTSTRAP_FORMAT, "seed": SEED, **test, "replicates": replicates})
    content = {"format": FORMAT, "run": record, "scored_by": code_version(), "test": test, "values": values}
    content["missing"] = [*missing, *undefined]
    write_json(files.values, content)
    return content


def summarise(
    metrics: Sequence[Metric], columns: Columns, identities: Sequence[str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[Missing]]:
    """Return each metric's value with its interval, its bootstrap replicates, and the undefined metrics."""
    values, replicates, undefined = [], [], []
    all_rows = np.arange(len(identities))
    for metric in tqdm(metrics, desc="Intervals", unit="metric", leave=False, disable=None):
        name = {"metric": metric.name, "protocol": metric.protocol}
        try:
            value = metric.compute(columns, all_rows)
            if not np.isfinite(value):
                raise ValueError(f"expected a finite number, got {value}")
        except ValueError as error:
            log.warning("not computed: %s (%s): %s", metric.name, metric.protocol, error)
            undefined.append(name | {"reason": str(error)})
            continue
        resampled = resample(metric, columns, identities, value)
        interval = list(resampled.interval) if resampled else None
        about = metric.details | metric.extras(columns)
        values.append({**name, "value": value, "n": len(identities), "interval": interval, **about})
        if resampled:
            replicates.append({**name, "values": [float(f"{value:.7g}") for value in resampled.replicates]})
    return values, replicates, undefined


def _key(pairs: Sequence[ScoredPair], metrics: Sequence[Metric]) -> str:
    files = []
    for pair in pairs:
        for panel in (pair.generated, pair.true):
            stat = panel.path.stat()
            files.append([str(panel.path), panel.index, panel.num_panels, stat.st_size, stat.st_mtime_ns])
    joints = [None if pair.joints is None else pair.joints.tolist() for pair in pairs]
    described = [[metric.name, metric.protocol, metric.details] for metric in metrics]
    return hashlib.sha256(json.dumps([files, joints, described]).encode()).hexdigest()


def discard_if_stale(folder: Path, marker: str, key: str) -> None:
    """Empty a folder of intermediate results unless its file `marker` contains `key`, and write that file."""
    path = folder / marker
    try:
        stored = read_text(path).strip()
    # What a damaged file belongs to is not known.
    except (FileNotFoundError, ValueError):
        stored = None
    if stored != key:
        remove_output(folder)
        write_text(path, key + "\n")


def _save(path: Path, columns: Columns) -> None:
    with atomic_write(path) as temporary:
        np.savez(temporary, **columns)  # type: ignore[arg-type]


def _load(path: Path) -> Columns:
    try:
        with open_regular(path) as opened, np.load(opened, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    # Broken archives raise errors of many kinds.
    except Exception as error:
        raise ValueError(f"{path}: expected stored measurements, got: {error}; remove the file") from error


def _concatenate(columns: Sequence[Columns]) -> Columns:
    return {name: np.concatenate([some[name] for some in columns]) for name in columns[0]}
