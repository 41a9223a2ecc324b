"""Rules that choose pairs for a figure, so that no pair is chosen by hand."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from twostream.data.keypoints import JointArray, found
from twostream.data.pairs import Pair, spread
from twostream.files import read_rows
from twostream.report.metric_names import metric_of, score_name
from twostream.tables.spec import check


@dataclass
class Selection:
    """Which pairs of a split, test or val, a figure shows.

    - `every`: pairs at equal distances in the order of the file of pairs.
    - `random`: pairs drawn by `seed`.
    - `pose_change`: the pairs whose joints move most, by the mean distance of the joints found in both images after
      their centres are aligned.
    - `occlusion`: the pairs with most joints that the target shows and the source does not.
    - `best`, `worst`: the pairs of the best and worst value of `metric` in the first run of the figure.

    All but `every` and `random` show at most one pair of a target image.
    """

    rule: str = "every"
    count: int = 6
    seed: int = 0
    metric: str = "ssim/standard"  # a column of scores.csv; of an unknown one the larger is the better
    split: str = "test"

    def __post_init__(self) -> None:
        check(self.split in SPLIT_NAMES, "pairs.split", f"one of {', '.join(SPLIT_NAMES)}", self.split)
        check(self.rule in RULES, "pairs.rule", f"one of {', '.join(RULES)}", self.rule)
        check(self.count >= 1, "pairs.count", "at least 1", self.count)

    @property
    def text(self) -> str:
        """The rule in words, for captions."""
        split = SPLIT_NAMES[self.split]
        end = "highest" if self.sign > 0 else "lowest"
        metric = score_name(self.metric)
        return RULES[self.rule].format(split=split, count=self.count, seed=self.seed, end=end, metric=metric)

    @property
    def sign(self) -> int:
        """1 if `best` or `worst` chooses the highest values of its metric, -1 for the lowest."""
        metric = metric_of(self.metric.partition("/")[0])
        better = metric.better if metric else 0
        return (better or 1) * (-1 if self.rule == "worst" else 1)


SPLIT_NAMES = {"test": "test", "val": "validation"}
RULES = {
    "every": "{count} pairs at equal distances in the list of {split} pairs",
    "random": "{count} random {split} pairs, seed {seed}",
    "pose_change": "the {count} {split} targets of the largest change of pose",
    "occlusion": "the {count} {split} targets with most joints that the source does not show",
    "best": "the {count} {split} targets of the {end} {metric} of the first method",
    "worst": "the {count} {split} targets of the {end} {metric} of the first method",
}


def select(
    selection: Selection, pairs: Sequence[Pair], joints: Mapping[str, JointArray], scores: Path | None = None
) -> list[Pair]:
    """Return those of a split's pairs, in the order of their file, that a rule chooses.

    `joints` are those of all images in the pairs, `scores` is the `scores.csv` that `best` and `worst` read. Raises
    ValueError if that file is missing or has no such metric.
    """
    count = min(selection.count, len(pairs))
    if selection.rule == "every":
        return [pairs[index] for index in spread(len(pairs), count)]
    if selection.rule == "random":
        return random.Random(selection.seed).sample(list(pairs), count)
    rank = _ranking(selection, joints, scores)
    of_target: dict[str, Pair] = {}
    for pair in sorted(pairs, key=rank, reverse=True):
        of_target.setdefault(pair[1], pair)
    return list(of_target.values())[:count]


def pose_change(source: JointArray, target: JointArray) -> float:
    """Return the mean distance in pixels of the joints found in both, with the means aligned; 0 without any."""
    both = found(source) & found(target)
    if not both.any():
        return 0.0
    source, target = (array[both] - array[both].mean(axis=0) for array in (source, target))
    return float(np.linalg.norm(source - target, axis=1).mean())


def num_occluded(source: JointArray, target: JointArray) -> int:
    """Return how many joints were found in the target and not in the source."""
    return int((found(target) & ~found(source)).sum())


def _ranking(
    selection: Selection, joints: Mapping[str, JointArray], scores: Path | None
) -> Callable[[Pair], tuple[float, Pair]]:
    """Return the key by which pairs are sorted, the first one last; ties are broken by name."""
    if selection.rule in ("pose_change", "occlusion"):
        measure = pose_change if selection.rule == "pose_change" else num_occluded
        return lambda pair: (measure(joints[pair[0]], joints[pair[1]]), pair)
    values = read_scores(scores, selection.metric)
    return lambda pair: (selection.sign * values[pair], pair)


def read_scores(path: Path | None, metric: str) -> dict[Pair, float]:
    """Read a metric of each pair from a `scores.csv`. Raises ValueError if it is missing or has no such metric."""
    if path is None or not path.is_file():
        raise ValueError(f"{path}: expected the scores of a run, file not found")
    columns, rows = read_rows(path)
    names = [name for name in columns if name not in ("image", "source", "target")]
    check(metric in names, f"{path}: pairs.metric", f"one of {', '.join(names)}", metric)
    try:
        return {(row["source"], row["target"]): float(row[metric]) for row in rows}
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path}: expected source, target and a number of {metric} in each row, got {error}") from None
