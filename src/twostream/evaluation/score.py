"""PNG folder -> `scores.csv` with one row an image, `bootstrap.json`, `metrics.json`."""

import csv
import hashlib
import io
import json
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from twostream.callbacks.run_log import code_version
from twostream.data.pairs import identity_of
from twostream.data.pose import person_mask
from twostream.evaluation.measures import Measure, Metric, Pictures
from twostream.evaluation.scored_pairs import ScoredPair, read_panel
from twostream.files import atomic_write, write_json, write_text
from twostream.metrics.bootstrap import SEED, Columns, InceptionScore, resample

log = logging.getLogger(__name__)
FORMAT = 2
BOOTSTRAP_FORMAT = 1
SHARD = 512
"""Pictures after which what was measured is kept, for an evaluation that is cut off."""

Measured = tuple[Pictures, Columns]


class PictureDataset(Dataset[Measured]):
    """Each pair read from its files, measured by what needs no network: this part runs in the loader's processes."""

    def __init__(self, pairs: Sequence[ScoredPair], measure: Measure) -> None:
        self.pairs = pairs
        self.measure = measure
        self.has_masks = all(pair.joints is not None for pair in pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Measured:
        """Return a batch of one. Raises ValueError for a picture that is unreadable or of another size."""
        pair = self.pairs[index]
        generated, true = read_panel(pair.generated), read_panel(pair.true)
        if generated.shape != true.shape:
            raise ValueError(f"{pair.generated.path}: expected a picture of shape {true.shape}, got {generated.shape}")
        masks = person_mask(pair.joints, true.shape[:2])[None] if self.has_masks and pair.joints is not None else None
        pictures = Pictures(generated[None], true[None], masks, [pair.joints])
        return pictures, self.measure(pictures)


def measure_pairs(
    pairs: Sequence[ScoredPair],
    similarity: Measure,
    measures: Sequence[Measure],
    cache: Path,
    batch_size: int,
    num_workers: int,
) -> Columns:
    """Read every pair once and let all measures look at it; return their columns in the order of the pairs.

    Args:
        pairs: of pictures of one size.
        similarity: what runs in the loader's processes.
        measures: networks, which see batches.
        cache: where finished parts are kept; those of other pictures, joints or metrics are removed.
        batch_size: pictures that a network sees at a time.
        num_workers: processes that read and compare pictures; 0 does it in this one.
    """
    _keep_only_parts_of(_key(pairs, [similarity, *measures]), cache)
    # What a killed process left half-written has another name.
    paths = sorted(cache.glob("[0-9]*.npz"))
    parts = [_load_part(path) for path in paths]
    done = int(paths[-1].stem) if paths else 0
    dataset = PictureDataset(pairs[done:], similarity)
    workers = num_workers if len(dataset) > 2 * batch_size else 0
    loader = DataLoader(dataset, batch_size, num_workers=workers, collate_fn=_as_it_is)
    unsaved: list[Columns] = []
    with tqdm(total=len(pairs), initial=done, desc="Score", unit="image", disable=None) as bar:
        for batch in loader:
            pictures = _stack([pictures for pictures, _ in batch])
            columns = dict(_join([columns for _, columns in batch]))
            for measure in measures:
                columns |= measure(pictures)
            unsaved.append(columns)
            done += len(batch)
            bar.update(len(batch))
            if done == len(pairs) or len(unsaved) * batch_size >= SHARD:
                parts.append(_join(unsaved))
                _save_part(cache / f"{done:08d}.npz", parts[-1])
                unsaved = []
    return _join(parts)


@dataclass(frozen=True)
class ScoreFiles:
    """Where an evaluation's numbers go: the values, one row an image, the values on resampled identities."""

    values: Path
    rows: Path
    bootstrap: Path

    @classmethod
    def of_run(cls, run_dir: Path) -> "ScoreFiles":
        """Return the files of a run's folder."""
        return cls(run_dir / "metrics.json", run_dir / "scores.csv", run_dir / "bootstrap.json")


def write_scores(
    files: ScoreFiles,
    record: dict[str, Any],
    pairs: Sequence[ScoredPair],
    columns: Columns,
    metrics: Sequence[Metric],
    missing: Sequence[dict[str, str]],
) -> dict[str, Any]:
    """Write all files, the values last: who finds these finds a whole evaluation. Returns what they hold.

    A metric that is not defined on these pictures is listed with the missing ones.
    """
    rows = [{"image": pair.name, "source": pair.source, "target": pair.target} for pair in pairs]
    identities = [identity_of(pair.target) for pair in pairs]
    listed = "\n".join(f"{pair.source},{pair.target}" for pair in pairs)
    test = {"identities": len(set(identities)), "pairs_hash": hashlib.sha256(listed.encode()).hexdigest()}
    values, replicates, undefined = summarise(metrics, columns, identities)
    single = {name: column for name, column in columns.items() if column.ndim == 1}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*rows[0], *single])
    writer.writerows([*row.values(), *(column[i] for column in single.values())] for i, row in enumerate(rows))
    files.values.unlink(missing_ok=True)
    write_text(files.rows, text.getvalue())
    write_json(files.bootstrap, {"format": BOOTSTRAP_FORMAT, "seed": SEED, **test, "replicates": replicates})
    content = {"format": FORMAT, "run": record, "scored_by": code_version(), "test": test, "values": values}
    content["missing"] = [*missing, *undefined]
    write_json(files.values, content)
    return content


def summarise(
    metrics: Sequence[Metric], columns: Columns, identities: Sequence[str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, str]]]:
    """Return each metric's value with its interval, its replicates, and the metrics without a value with the reason."""
    values, replicates, undefined = [], [], []
    everything = np.arange(len(identities))
    for metric in tqdm(metrics, desc="Intervals", unit="metric", leave=False, disable=None):
        name = {"metric": metric.name, "protocol": metric.protocol}
        try:
            value = metric.statistic(columns, everything)
            if not np.isfinite(value):
                raise ValueError(f"expected a finite number, got {value}")
        except ValueError as error:
            log.warning("not computed: %s (%s): %s", metric.name, metric.protocol, error)
            undefined.append(name | {"reason": str(error)})
            continue
        resampled = resample(metric.statistic, columns, identities, value)
        interval = list(resampled.interval) if resampled else None
        entry = {**name, "value": value, "n": len(everything), "interval": interval, **metric.details}
        if isinstance(metric.statistic, InceptionScore):
            entry["splits_std"] = metric.statistic.splits_std(columns)
        values.append(entry)
        if resampled:
            replicates.append({**name, "values": [float(f"{value:.7g}") for value in resampled.replicates]})
    return values, replicates, undefined


def kept(path: Path, compute: Callable[[], Columns]) -> Columns:
    """Return the columns of a file, computing and keeping them where there is none."""
    if not path.is_file():
        _save_part(path, compute())
    return _load_part(path)


def _key(pairs: Sequence[ScoredPair], measures: Sequence[Measure]) -> str:
    files = []
    for pair in pairs:
        for panel in (pair.generated, pair.true):
            stat = panel.path.stat()
            files.append([str(panel.path), panel.index, panel.num_panels, stat.st_size, stat.st_mtime_ns])
    joints = [None if pair.joints is None else pair.joints.tolist() for pair in pairs]
    metrics = [[m.name, m.protocol, m.details] for measure in measures for m in measure.metrics()]
    return hashlib.sha256(json.dumps([files, joints, metrics]).encode()).hexdigest()


def _keep_only_parts_of(key: str, cache: Path) -> None:
    marker = cache / "key"
    if not marker.is_file() or marker.read_text(encoding="utf-8") != key:
        shutil.rmtree(cache, ignore_errors=True)
        write_text(marker, key)


def _save_part(path: Path, columns: Columns) -> None:
    with atomic_write(path) as temporary:
        np.savez(temporary, **columns)  # type: ignore[arg-type]


def _load_part(path: Path) -> Columns:
    with np.load(path, allow_pickle=False) as part:
        return {name: part[name] for name in part.files}


def _join(parts: Sequence[Columns]) -> Columns:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _stack(pictures: Sequence[Pictures]) -> Pictures:
    masks = [p.masks for p in pictures if p.masks is not None]
    return Pictures(
        np.concatenate([p.generated for p in pictures]),
        np.concatenate([p.true for p in pictures]),
        np.concatenate(masks) if masks else None,
        [joints for p in pictures for joints in p.joints],
    )


def _as_it_is(batch: list[Measured]) -> list[Measured]:
    return batch
