"""Pictures that were generated elsewhere -> numbers."""

import shutil
from pathlib import Path
from typing import Any

import torch

from twostream.evaluation.folders import picture_names
from twostream.evaluation.measures import EVALUATOR, metrics_of
from twostream.evaluation.score import ScoreFiles, measure_pairs, write_scores
from twostream.evaluation.scored_pairs import Panel, ScoredPair, read_panel
from twostream.evaluation.scoring import MASKED, Scoring, Toolbox, protocols_named
from twostream.metrics.protocols import PATN


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
        people_root: where synthetic people lie, for the evaluator.
        out: the JSON file; the CSV and the resamples go beside it.
        about: what is known of the pictures, kept as `run`.
        device: where networks run.

    Raises ValueError for a metric that pictures alone can't give, and for an `out` that is no JSON file.
    """
    if out.suffix != ".json":
        raise ValueError(f"out: expected a name that ends in .json, got {out}")
    if "correspondence" in scoring.metrics:
        raise ValueError("metrics: correspondence needs the network, not its pictures: twostream-evaluate run=FOLDER")
    pairs = sorted(pairs, key=lambda pair: pair.name)
    height, width, _ = read_panel(pairs[0].true).shape
    references = {"test": list({pair.target: pair.true for pair in pairs}.values())}
    if train_images is not None:
        references = {"train": [Panel(train_images / name) for name in picture_names(train_images)], **references}
    protocols = protocols_named(protocol)
    tools = Toolbox(scoring, protocols, (height, width), references, device)
    if any(pair.joints is None for pair in pairs):
        _leave_out_what_wants_joints(tools)
    tools.add_inception()
    tools.add_lpips()
    tools.add_pckh()
    tools.add_evaluator(people_root)
    measures = [tools.similarity(), *tools.measures]
    cache = out.with_name(f".{out.stem}.scoring")
    columns = measure_pairs(pairs, measures[0], measures[1:], cache, scoring.batch_size, scoring.num_workers)
    files = ScoreFiles(out, out.with_suffix(".csv"), out.with_suffix(".bootstrap.json"))
    content = write_scores(files, about, pairs, columns, metrics_of(measures, pairs), tools.missing)
    shutil.rmtree(cache)
    return content


def _leave_out_what_wants_joints(tools: Toolbox) -> None:
    names = [protocol.name for protocol in tools.protocols]
    wanted = {
        **dict.fromkeys(MASKED, names),
        "pckh": [name for name in names if name == PATN.name],
        "evaluator": [EVALUATOR],
    }
    for name in [name for name in tools.names if name in wanted]:
        tools.leave_out([name], wanted[name], "the joints are not known: name annotations=FILE")
