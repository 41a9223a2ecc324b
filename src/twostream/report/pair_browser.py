"""What a report needs to show test pairs: the images of all methods, their scores, and what their AT-blocks match."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from twostream.data.images import read_image
from twostream.data.keypoints import LIMBS
from twostream.data.pairs import Pair, identity_of, image_name
from twostream.data.visualize import COLOURS
from twostream.evaluation.run_evaluation import CORRESPONDENCE_FILE, read_correspondence
from twostream.files import data_uri, read_object, read_rows
from twostream.nets.inspection import correspondences
from twostream.registry import build_as
from twostream.report.metric_names import score_name
from twostream.report.pair_figure import PairImages, RgbArray
from twostream.report.selection import Selection, select
from twostream.runs import CONFIG

PER_ROW = 10  # images in a row of a sprite
SCORES = ("ssim", "mask_ssim", "psnr", "lpips", "mask_lpips")  # metrics that each image has


def browser_data(runs: Mapping[str, Path], max_pairs: int, headings: Mapping[str, str]) -> dict[str, Any]:
    """Return all that the page's scripts show, as JSON values with images as data URIs.

    Args:
        runs: label -> folder of an evaluated run; all have the same test pairs.
        max_pairs: pairs shown, at equal distances in the list of test pairs.
        headings: column of `scores.csv` -> heading; one without is named by `score_name`.

    """
    data = PairImages.of_run(next(iter(runs.values())))
    pairs = select(Selection("every", max_pairs), data.pairs, data.joints)
    scores = {label: _scores(folder / "scores.csv", pairs, headings) for label, folder in runs.items()}
    generated = {
        label: [read_image(folder / "images" / image_name(pair), data.image_size) for pair in pairs]
        for label, folder in runs.items()
    }
    correspondence, no_correspondence = correspondence_data(runs, data)
    return {
        "size": data.image_size,
        "per_row": PER_ROW,
        "limbs": LIMBS,
        "colours": COLOURS,
        "sprites": {
            "source": sprite([data.image(source) for source, _ in pairs]),
            "target": sprite([data.image(target) for _, target in pairs]),
        },
        "methods": [{"label": label, "sprite": sprite(images)} for label, images in generated.items()],
        "pairs": [
            {
                "source": source,
                "target": target,
                "identity": identity_of(target),
                "joints": [data.joints[name].tolist() for name in (source, target)],
                "scores": [scores[label][index] for label in runs],
            }
            for index, (source, target) in enumerate(pairs)
        ],
        "correspondence": correspondence,
        "no_correspondence": no_correspondence,
    }


def sprite(images: Sequence[RgbArray]) -> str:
    """Return images as one WebP image without loss, `PER_ROW` in a row, as a data URI."""
    height, width = images[0].shape[:2]
    rows = -(-len(images) // PER_ROW)
    sheet = np.zeros((rows, height, PER_ROW, width, 3), np.uint8)
    for index, image in enumerate(images):
        sheet[index // PER_ROW, :, index % PER_ROW] = image
    file = BytesIO()
    Image.fromarray(sheet.reshape(rows * height, PER_ROW * width, 3)).save(file, "WEBP", lossless=True)
    return data_uri(file.getvalue(), "image/webp")


def correspondence_data(runs: Mapping[str, Path], data: PairImages) -> tuple[list[dict[str, Any]], list[str]]:
    """Return what runs store of their correspondence, and lines on what is missing, with the command that makes it.

    The first has, for each run with a `correspondence.json`, its content with a sprite for each kind of image.
    """
    found, lines, missing = [], [], []
    for label, folder in runs.items():
        try:
            stored = read_correspondence(folder, data.joints)
        except ValueError as error:
            lines.append(f"{label}: {error}: twostream-evaluate run={folder}")
            continue
        if stored is None:
            missing += [label] if _has_correspondence(folder) else []
            continue
        pairs: list[Pair] = [(source, target) for source, target in stored["pairs"]]
        generated = [read_image(folder / "images" / image_name(pair), data.image_size) for pair in pairs]
        sources = [data.image(source) for source, _ in pairs]
        found.append(stored | {"label": label, "source": sprite(sources), "generated": sprite(generated)})
    if missing:
        command = f"twostream-evaluate run={runs[missing[0]]}"
        lines.append(f"No {CORRESPONDENCE_FILE}: {', '.join(missing)}. Written for each run by: {command}")
    return found, lines


def _has_correspondence(run_dir: Path) -> bool:
    """Return whether a run's generator has AT-modules or a warp."""
    description = (read_object(run_dir / CONFIG, "generator") or {}).get("generator")
    with torch.device("meta"):
        return bool(correspondences(build_as(nn.Module, description, f"{run_dir / CONFIG}: generator")))


def _scores(path: Path, pairs: Sequence[Pair], headings: Mapping[str, str]) -> list[dict[str, float]]:
    """Return the scores that each image has, by heading, in the order of `pairs`."""
    try:
        rows = {(row["source"], row["target"]): row for row in read_rows(path)[1]}
        scores = [{n: float(cell) for n, cell in rows[p].items() if n.split("/")[0] in SCORES and cell} for p in pairs]
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path}: expected the scores of each test pair, got {error}") from None
    return [{headings.get(name) or score_name(name): round(value, 4) for name, value in row.items()} for row in scores]
