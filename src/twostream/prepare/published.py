"""Published joints and pairs of a split, as far as its pictures allow."""

from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

from twostream.data.keypoints import JointArray, found, read_annotations
from twostream.data.pairs import Pair, read_pairs
from twostream.prepare.plan import Plan
from twostream.prepare.preset import Preset


@dataclass(frozen=True)
class SplitTables:
    """What is published for a split.

    Attributes:
        joints: of those pictures that are there, in their frame; None where no file is published.
        made_for: width of the pictures that the annotation file was made for, where the data set has more than one.
        num_lost: joints that are found in the file's frame but read as not found in the pictures'.
        pairs: of those pictures that are there and, where there are joints, annotated; None where no file is published.
        problems: a line for each picture that a file names and that can't be used.

    """

    joints: dict[str, JointArray] | None
    made_for: int | None
    num_lost: int
    pairs: list[Pair] | None
    problems: list[str]


def read_tables(split: str, plan: Plan, preset: Preset, frame: int | None) -> SplitTables:
    """Read the published files of a split.

    Args:
        split: "train" or "test".
        plan: says where they are, and which pictures there are.
        preset: knows names and frames.
        frame: width of the pictures that the annotations were made for; None finds it out.

    Raises ValueError for a malformed file, for one without any of the split's pictures, and for an undecided frame.

    """
    pictures = plan.members[split].keys()
    joints, made_for, num_lost = None, None, 0
    problems: list[str] = []
    if path := plan.tables.get(f"annotations_{split}"):
        published = read_joints(path, preset)
        moved, made_for = preset.to_frame(published, frame, path)
        num_lost = sum(int((found(array) & ~found(moved[name])).sum()) for name, array in published.items())
        problems = [f"{split}: {name} is annotated but not in the source" for name in moved if name not in pictures]
        joints = {name: array for name, array in moved.items() if name in pictures}
        if not joints:
            raise ValueError(f"{path}: expected annotations of the {split} pictures, got none of theirs")
    pairs = None
    if path := plan.tables.get(f"pairs_{split}"):
        pairs, wrong = _usable_pairs(read_pair_list(path, preset), pictures, None if joints is None else joints.keys())
        problems += [f"{split}: {line}" for line in wrong]
        if not pairs:
            raise ValueError(f"{path}: expected pairs of annotated {split} pictures, got none of theirs")
    return SplitTables(joints, made_for, num_lost, pairs, problems)


def read_joints(path: Path, preset: Preset) -> dict[str, JointArray]:
    """Read an annotation file into picture name -> joints, in the frame that it was made for.

    Raises ValueError where it is malformed, empty or of another frame, or annotates a picture twice.
    """
    annotations = read_annotations(path, preset.about.joints_width)
    joints = {preset.plain_name(name): array for name, array in annotations.items()}
    if not joints:
        raise ValueError(f"{path}: expected annotated pictures, got none")
    if len(joints) < len(annotations):
        raise ValueError(f"{path}: {len(annotations) - len(joints)} pictures are annotated twice, in two spellings")
    return joints


def read_pair_list(path: Path, preset: Preset) -> list[Pair]:
    """Read a pairs file into the names of the pictures. Raises ValueError where it is malformed or empty."""
    return [(preset.plain_name(source), preset.plain_name(target)) for source, target in read_pairs(path)]


def _usable_pairs(pairs: list[Pair], pictures: Set[str], annotated: Set[str] | None) -> tuple[list[Pair], list[str]]:
    """Return the pairs of pictures that are there and annotated, and a line for each picture that is not."""
    wrong = {}
    for name in dict.fromkeys(name for pair in pairs for name in pair):
        if name not in pictures:
            wrong[name] = "is in a pair but not in the source"
        elif annotated is not None and name not in annotated:
            wrong[name] = "is in a pair but not annotated"
    usable = [pair for pair in pairs if not wrong.keys() & set(pair)]
    return usable, [f"{name} {what}" for name, what in wrong.items()]
