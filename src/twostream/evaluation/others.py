"""Pictures that were generated elsewhere -> numbers."""

import shutil
from pathlib import Path
from typing import Any

import torch

from twostream.evaluation.measures import metrics_of
from twostream.evaluation.pictures import Panel, ScoredPair, read_panel
from twostream.evaluation.score import ScoreFiles, measure_pairs, write_scores
from twostream.evaluation.scoring import MASKED, Scoring, Toolbox, protocols_named
from twostream.files import PICTURE_SUFFIXES

NEEDS_JOINTS = (*MASKED, "pckh", "judge")


def score_pairs(
    pairs: list[ScoredPair],
    scoring: Scoring,
    protocol: str,
    train_images: Path | None,
    people_root: Path,
    out: Path,
    about: dict[str, Any],
    device: torch.device,
) -> dict[str, Any]:
    """Score pairs of one size; write and return the values, in the form of a run's `metrics.json`.

    Args:
        pairs: what is scored.
        scoring: which metrics, and where their networks come from.
        protocol: name of the protocol, or `all`.
        train_images: folder of the training split's true pictures, for FID.
        people_root: where generated people lie, for the judge.
        out: the JSON file; the CSV and the resamples go beside it.
        about: what is known of the pictures, kept as `run`.
        device: where networks run.

    Raises ValueError for a metric that pictures alone can't give.
    """
    if "correspondence" in scoring.metrics:
        raise ValueError("metrics: correspondence needs the network, not its pictures: twostream-evaluate run=FOLDER")
    pairs = sorted(pairs, key=lambda pair: pair.name)
    height, width, _ = read_panel(pairs[0].true).shape
    references = {"test": list({pair.target: pair.true for pair in pairs}.values())}
    if train_images is not None:
        found = sorted(path for path in train_images.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)
        references = {"train": [Panel(path) for path in found], **references}
    protocols = protocols_named(protocol)
    tools = Toolbox(scoring, protocols, (height, width), references, device)
    if any(pair.joints is None for pair in pairs):
        for name in [name for name in tools.names if name in NEEDS_JOINTS]:
            tools.leave_out([name], [p.name for p in protocols], "the joints are not known: name annotations=FILE")
    tools.add_inception()
    tools.add_lpips()
    tools.add_pckh()
    tools.add_judge(people_root)
    measures = [tools.similarity(), *tools.measures]
    cache = out.with_name(f".{out.stem}.scoring")
    columns = measure_pairs(pairs, measures[0], measures[1:], cache, scoring.batch_size, scoring.num_workers)
    files = ScoreFiles(out, out.with_suffix(".csv"), out.with_suffix(".bootstrap.json"))
    content = write_scores(files, about, pairs, columns, metrics_of(measures, pairs), tools.missing)
    shutil.rmtree(cache)
    return content
