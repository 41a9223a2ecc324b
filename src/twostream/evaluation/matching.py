"""Correspondence accuracy: whether the AT-modules look where the same place of the person is."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from twostream.data.dataset import PairDataset, to_pose_pair
from twostream.data.pose import Heatmaps
from twostream.evaluation.measures import Metric
from twostream.evaluation.scored_pairs import batches
from twostream.metrics.bootstrap import Columns, Share
from twostream.metrics.correspondence import THRESHOLD, Surface, count_right, expected_right, true_matches
from twostream.nets.generator import TwoStreamGenerator

PROTOCOL = f"pck@{THRESHOLD}"
STRIDE = 4
"""Pixels along a side of a position of the AT-modules' map."""


@torch.inference_mode()
def measure_correspondence(
    generator: TwoStreamGenerator,
    dataset: PairDataset,
    surfaces: Path,
    heatmaps: Heatmaps,
    device: torch.device,
    batch_size: int,
) -> Columns:
    """Count for each pair and AT-block the target pixels whose match is right, and what two baselines reach.

    A match is the source position of the highest D (Eq. 4); the true one is known where the source shows the target
    pixel's place on the body. The baselines match each position with the same place, and with one drawn by chance.

    Args:
        generator: with AT-modules, dropout off.
        dataset: pairs of synthetic people.
        surfaces: folder of their surface coordinates, `<picture's stem>.npz`.
        heatmaps: of the poses.
        device: where the generator is.
        batch_size: pairs at a time.

    Raises TypeError for a generator without AT-modules, ValueError where a picture has no surface coordinates.
    """
    read = lru_cache(maxsize=4096)(lambda name: _read_surface(surfaces / f"{Path(name).stem}.npz"))
    rows: list[dict[str, float]] = []
    for indices in batches(range(len(dataset)), batch_size):
        batch = to_pose_pair(dataset.batch(indices).to(device), heatmaps)
        image_size = (batch.source_image.shape[2], batch.source_image.shape[3])
        map_size = (image_size[0] // STRIDE, image_size[1] // STRIDE)
        by_block = [
            matches.cpu().numpy()
            for matches in generator.matches(batch.source_image, batch.source_heatmaps, batch.target_heatmaps)
        ]
        for i, index in enumerate(indices):
            source, target = dataset.pairs[index]
            truth = true_matches(read(source), read(target))
            same_place = np.arange(map_size[0] * map_size[1])
            row = {f"block_{k}": matches[i] for k, matches in enumerate(by_block, start=1)} | {"same_place": same_place}
            right: dict[str, float] = {name: count_right(m, truth, map_size, image_size) for name, m in row.items()}
            rows.append(
                right | {"chance": expected_right(truth, map_size, image_size), "total": float(len(truth.target))}
            )
    return {f"correspondence/{name}": np.array([row[name] for row in rows]) for name in rows[0]}


def correspondence_metrics(columns: Columns, image_size: tuple[int, int]) -> list[Metric]:
    """Return the share of right matches of each block and baseline."""
    height, width = (side // STRIDE for side in image_size)
    details: dict[str, object] = {
        "version": 1,
        "map": f"{height}x{width}",
        "threshold": f"{THRESHOLD} of the image height",
    }
    names = [name.removeprefix("correspondence/") for name in columns]
    return [
        Metric(
            f"correspondence_{name}", PROTOCOL, Share(f"correspondence/{name}", "correspondence/total"), dict(details)
        )
        for name in names
        if name != "total"
    ]


def _read_surface(path: Path) -> Surface:
    try:
        # On a broken file NumPy does not close what it has opened itself.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            return Surface(file["part"], file["u"], file["v"])
    # Archives raise errors of many kinds where they are broken.
    except Exception as error:
        raise ValueError(f"{path}: expected surface coordinates: {error}") from error
