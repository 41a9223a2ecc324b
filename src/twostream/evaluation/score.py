"""PNG folder -> `metrics.json` and one row an image."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from twostream.data.dataset import PairDataset
from twostream.data.pose import person_mask
from twostream.evaluation.generate import image_name, read_generated
from twostream.files import write_json, write_text
from twostream.metrics.similarity import PROTOCOLS, masked, ssim

FORMAT = 1


def score_images(dataset: PairDataset, images: Path) -> list[dict[str, Any]]:
    """Compare the generated picture of every pair, read back from `images`, with the true one.

    Returns a row an image: `image`, `source`, `target`, then each metric under each protocol. Raises ValueError where
    a picture is missing or of another size.
    """
    rows = []
    for index, (source, target) in enumerate(tqdm(dataset.pairs, desc="Score", unit="image")):
        name = image_name((source, target))
        generated = read_generated(images / name)
        true = dataset[index].target_image.permute(1, 2, 0).numpy()
        if generated.shape != true.shape:
            raise ValueError(f"{images / name}: expected a picture of shape {true.shape}, got {generated.shape}")
        mask = person_mask(dataset.joints[target], true.shape[:2])
        row: dict[str, Any] = {"image": name, "source": source, "target": target}
        for protocol in PROTOCOLS:
            row[f"ssim/{protocol.name}"] = ssim(generated, true, protocol)
            row[f"mask_ssim/{protocol.name}"] = ssim(masked(generated, mask), masked(true, mask), protocol)
        rows.append(row)
    return rows


def summarise(rows: Sequence[dict[str, Any]], image_size: tuple[int, int]) -> list[dict[str, Any]]:
    """Return the mean of each metric under each protocol, with what it takes to compare it."""
    frame = f"{image_size[0]}x{image_size[1]}"
    return [
        {
            "metric": metric,
            "protocol": protocol.name,
            "value": float(np.mean([row[f"{metric}/{protocol.name}"] for row in rows])),
            "n": len(rows),
            **protocol.describe(),
            "frame": frame,
            "codec": "png",
        }
        for metric in ("ssim", "mask_ssim")
        for protocol in PROTOCOLS
    ]


def write_scores(
    folder: Path, record: dict[str, Any], rows: Sequence[dict[str, Any]], image_size: tuple[int, int]
) -> dict[str, Any]:
    """Write `scores.csv`, then `metrics.json`: who finds the latter finds a whole evaluation. Returns the latter."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(folder / "scores.csv", text.getvalue())
    metrics = {"format": FORMAT, "run": record, "values": summarise(rows, image_size)}
    write_json(folder / "metrics.json", metrics)
    return metrics
