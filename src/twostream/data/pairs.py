"""Pose pairs in the field's files (`from,to`), and the rule that makes them."""

import re
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping
from itertools import permutations
from pathlib import Path

from twostream.data.keypoints import TORSO, JointArray, found, read_lines
from twostream.files import write_text

HEADER = ("from", "to")
DISTRACTORS = ("-1", "0000")
DEEPFASHION_OUTFIT = re.compile(r"fashion.*id\d{10}(?=_)")

Pair = tuple[str, str]
"""Names of the source and the target picture."""


def identity_of(name: str) -> str:
    """Return the identity in a picture's name.

    Market-1501: `0002` of `0002_c1s1_000451_03.jpg`. DeepFashion: the item and its outfit,
    `fashionMENDenimid0000008001` of `fashionMENDenimid0000008001_1front.jpg`.
    """
    outfit = DEEPFASHION_OUTFIT.match(name)
    return outfit[0] if outfit else name.split("_", 1)[0]


def matching_pairs(joints: Mapping[str, JointArray]) -> list[Pair]:
    """Return all ordered pairs of different pictures of one identity that show both shoulders and both hips.

    Market-1501's distractors (identities `-1` and `0000`) are left out. The order is that of the names.
    """
    names_of = defaultdict(list)
    for name in sorted(joints):
        if found(joints[name])[list(TORSO)].all():
            names_of[identity_of(name)].append(name)
    return [
        pair for identity, names in names_of.items() if identity not in DISTRACTORS for pair in permutations(names, 2)
    ]


def read_pairs(path: Path, known: Container[str] | None = None) -> list[Pair]:
    """Read a pairs file, with or without its header line, in the file's order.

    Args:
        path: the file.
        known: names of the annotated pictures; None leaves the names unchecked.

    Raises ValueError with file and line where a row is not two known names, and where there is no row;
    FileNotFoundError if there is no file.

    """
    pairs = []
    for number, line in enumerate(read_lines(path), start=1):
        row = tuple(name.strip() for name in line.split(","))
        if not line.strip() or (number == 1 and row == HEADER):
            continue
        if len(row) != 2 or not all(row):
            raise ValueError(f"{path}:{number}: expected two names separated by ',', got {line!r}")
        for name in row:
            if known is not None and name not in known:
                raise ValueError(f"{path}:{number}: expected names of annotated pictures, got {name!r}")
        pairs.append((row[0], row[1]))
    if not pairs:
        raise ValueError(f"{path}: expected at least one pose pair, got none")
    return pairs


def write_pairs(path: Path, pairs: Iterable[Pair]) -> None:
    """Write pairs with the header `from,to`, whole or not at all."""
    write_text(path, "\n".join(",".join(pair) for pair in [HEADER, *pairs]) + "\n")
