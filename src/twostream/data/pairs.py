"""Pairs files (`from,to`), and the rule by which pairs are made."""

import hashlib
import re
import sys
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from itertools import permutations
from pathlib import Path

import numpy as np

from twostream.data.keypoints import TORSO, JointArray, check_name, found
from twostream.files import quoted, read_text, write_text

HEADER = ("from", "to")
DISTRACTORS = ("-1", "0000")
DEEPFASHION_PATH = re.compile(r"(?:.*/)?(WOMEN|MEN)/([^/]+)/id_(\d{8})/(\d{2})_(\d_\w+\.jpg)")
DEEPFASHION_OUTFIT = re.compile(r"fashion.*id\d{10}(?=_)")

Pair = tuple[str, str]  # names of the source and the target image


def identity_of(name: str) -> str:
    """Return the identity in an image name.

    Market-1501: `0002` of `0002_c1s1_000451_03.jpg`. DeepFashion: the item and its outfit,
    `fashionMENDenimid0000008001` of `fashionMENDenimid0000008001_1front.jpg`.
    """
    outfit = DEEPFASHION_OUTFIT.match(name)
    return outfit[0] if outfit else name.split("_", 1)[0]


def image_name(pair: Pair) -> str:
    """Return the file name of a pair's generated image."""
    # By strings, as a training has many pairs.
    source, target = (name.rpartition("/")[2].rsplit(".", 1)[0] for name in pair)
    return f"{source}_2_{target}.png"


def check_image_names(pairs: Sequence[Pair], where: str) -> None:
    """Raise ValueError, beginning with `where`, if the generated images of two pairs have the same name."""
    pair_of: dict[str, Pair] = {}
    for pair in pairs:
        other = pair_of.setdefault(image_name(pair), pair)
        if other != pair:
            both = " and of ".join(",".join(one) for one in (other, pair))
            raise ValueError(f"{where}: expected a name for the image of each pair, got {image_name(pair)} of {both}")


def joined_name(path: str) -> str | None:
    """Join the path of an image of DeepFashion into a file name, as PATN does; None for any other path.

    `img/WOMEN/Blouses_Shirts/id_00000693/02_3_back.jpg` becomes `fashionWOMENBlouses_Shirtsid0000069302_3back.jpg`.
    """
    match = DEEPFASHION_PATH.fullmatch(path)
    if match is None:
        return None
    sex, category, item, outfit, view = match.groups()
    return f"fashion{sex}{category}id{item}{outfit}_{view.replace('_', '')}"


def matching_pairs(joints: Mapping[str, JointArray]) -> list[Pair]:
    """Return all ordered pairs of different images of one identity that show both shoulders and both hips.

    Market-1501's distractors (identities `-1` and `0000`) are excluded. Identities and the images of each are in the
    order of `joints`.
    """
    names_of = defaultdict(list)
    for name in joints:
        identity = identity_of(name)
        if identity not in DISTRACTORS and found(joints[name])[list(TORSO)].all():
            names_of[identity].append(name)
    return [pair for names in names_of.values() for pair in permutations(names, 2)]


def spread(total: int, count: int) -> list[int]:
    """Return the indices of at most `count` of `total` items at equal distances."""
    count = min(count, total)
    return [i * total // count for i in range(count)]


def draw_pairs(pairs: Sequence[Pair], num_drawn: int, seed: int) -> list[Pair]:
    """Draw pairs without replacement, as PATN drew Market-1501's test pairs: with seed 0."""
    return [pairs[i] for i in np.random.RandomState(seed).choice(len(pairs), num_drawn, replace=False)]


def pairs_hash(pairs: Iterable[Pair]) -> str:
    """Return the SHA-256 in hex of pairs in their order."""
    return hashlib.sha256("\n".join(",".join(pair) for pair in pairs).encode()).hexdigest()


def split_identities(
    pairs: Sequence[Pair], num_val_identities: int, num_val_pairs: int
) -> tuple[list[Pair], list[Pair]]:
    """Split pairs by identity: those to train on, and `num_val_pairs` random pairs of held-out identities.

    The split does not depend on the seed of a run, so that all runs validate on the same pairs.

    Raises:
        ValueError: no identity is left to train on.
    """
    identity = {source: identity_of(source) for source in {source for source, _ in pairs}}
    identities = sorted(set(identity.values()))
    if num_val_identities >= len(identities):
        raise ValueError(
            f"data.num_val_identities: expected fewer than the {len(identities)} training identities, "
            f"got {num_val_identities}"
        )
    draw = np.random.default_rng(0)
    held_out = set(draw.permutation(identities)[:num_val_identities].tolist())
    train = [pair for pair in pairs if identity[pair[0]] not in held_out]
    val = [pair for pair in pairs if identity[pair[0]] in held_out]
    return train, [val[i] for i in sorted(draw.permutation(len(val))[:num_val_pairs])]


def read_pairs(path: Path, known: Container[str] | None = None) -> list[Pair]:
    """Read a pairs file, with or without its header line, in the file's order.

    Raises:
        ValueError: a row is not two different names, both in `known` if given, or is there twice (with file and line),
            or there is no row.
        FileNotFoundError: the file does not exist.
    """
    line_of: dict[Pair, int] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        row = tuple(sys.intern(name.strip()) for name in line.split(","))  # names occur in many pairs
        if not line.strip() or (number == 1 and row == HEADER):
            continue
        if len(row) != 2 or not all(row):
            raise ValueError(f"{path}:{number}: expected two names separated by ',', got {quoted(line)}")
        if unknown := [name for name in row if known is not None and name not in known]:
            raise ValueError(f"{path}:{number}: expected names of annotated images, got {quoted(unknown[0])}")
        for name in row if known is None else ():
            check_name(name, f"{path}:{number}")
        pair = (row[0], row[1])
        if row[0] == row[1]:
            raise ValueError(f"{path}:{number}: expected two different images, got {quoted(row[0])} twice")
        if pair in line_of:
            raise ValueError(
                f"{path}:{number}: expected each pair once, got {quoted(line)} in line {line_of[pair]} too"
            )
        line_of[pair] = number
    if not line_of:
        raise ValueError(f"{path}: expected at least one pose pair, got none")
    return list(line_of)


def write_pairs(path: Path, pairs: Iterable[Pair]) -> None:
    """Write pairs with the header `from,to`, atomically."""
    write_text(path, "\n".join(",".join(pair) for pair in [HEADER, *pairs]) + "\n")
