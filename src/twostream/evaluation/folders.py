"""Folders of finished results -> the pairs to score, with what is wrong in them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from twostream.data.keypoints import JointArray
from twostream.evaluation.names import Names, is_picture, source_and_target, stem_of
from twostream.evaluation.scored_pairs import Panel, ScoredPair


@dataclass(frozen=True)
class Found:
    """The pairs in a folder in the order of their names, and a line for each picture that makes none."""

    pairs: list[ScoredPair]
    problems: list[str]


@dataclass(frozen=True)
class TwoFolders:
    """Generated pictures in one folder, the true ones in another: under equal names, or under the targets' own."""

    def find(self, images: Path, targets: Path | None, joints: Mapping[str, JointArray]) -> Found:
        """Return the pairs of the generated pictures in `images` and the true ones in `targets`.

        The true picture is that of the equal name, else of the equal stem, else that of the target in the name. A
        name of no pair is the target's own. A true picture that lacks a generated one is a problem where names are
        equal; a folder of targets may hold more of them. `joints` are by picture name; where there are any, a target
        without is a problem. Raises ValueError for a folder that is missing or holds no pictures.
        """
        if targets is None:
            raise ValueError("targets: expected the folder of the true pictures, got none")
        if images.resolve() == targets.resolve():
            raise ValueError(f"targets: expected another folder than that of the generated pictures, got {targets}")
        annotated, true_names = Names(joints), Names(all_true := picture_names(targets))
        pairs: list[ScoredPair] = []
        problems: list[str] = []
        compared: set[str] = set()
        names_are_equal = True
        for name in picture_names(images):
            pair = None if annotated.find(name) else source_and_target(name, annotated)
            source, target = pair or (name, name)
            matches = true_names.find(name)
            if not matches and (matches := true_names.find(target)):
                names_are_equal = False
            compared.update(matches)
            if len(matches) == 1:
                pairs.append(
                    ScoredPair(name, source, target, Panel(images / name), Panel(targets / matches[0]), joints=None)
                )
            else:
                got = ", ".join(matches) or "none"
                named = f"{name} or {target}" if pair else name
                problems.append(f"{images / name}: expected one true picture {named} in {targets}, got {got}")
        found = _with_joints(pairs, joints)
        if names_are_equal and pairs:
            lone = [name for name in all_true if name not in compared]
            problems += [f"{targets / name}: expected a generated picture of it in {images}, got none" for name in lone]
        return Found(found.pairs, problems + found.problems)


@dataclass(frozen=True)
class Strips:
    """All pictures of a pair side by side in one file.

    Attributes:
        num_panels: pictures in a file, all of one width.
        target: place of the true picture, from 0.
        generated: place of the generated one.

    Raises ValueError for places that are equal or outside the file.

    """

    num_panels: int
    target: int
    generated: int

    def __post_init__(self) -> None:
        places = {self.target, self.generated}
        if len(places) != 2 or not places <= set(range(self.num_panels)):
            raise ValueError(
                f"layout: expected two places of 0 to {self.num_panels - 1} for target and generated, "
                f"got {self.target} and {self.generated}"
            )

    def find(self, images: Path, targets: Path | None, joints: Mapping[str, JointArray]) -> Found:
        """Return the pairs in the files of `images`, whose names must tell source and target; `targets` must be None.

        `joints` are by picture name; where there are any, a target without is a problem. Raises ValueError where
        `targets` is given, and for a folder that is missing or holds no pictures.
        """
        if targets is not None:
            raise ValueError(f"targets: expected none, as strips hold the true pictures themselves, got {targets}")
        annotated = Names(joints)
        pairs, problems = [], []
        for name in picture_names(images):
            path = images / name
            pair = source_and_target(name, annotated)
            if pair is None:
                problems.append(f"{path}: expected a name that tells source and target in one way, such as A_2_B.png")
                continue
            generated, true = (Panel(path, place, self.num_panels) for place in (self.generated, self.target))
            pairs.append(ScoredPair(name, *pair, generated, true, joints=None))
        found = _with_joints(pairs, joints)
        return Found(found.pairs, problems + found.problems)


def picture_names(folder: Path) -> list[str]:
    """Return the names of the png, jpg and jpeg files in a folder, sorted; hidden files and sub-folders are left out.

    Raises ValueError where there is no folder or it holds none.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: expected a folder of pictures, there is none")
    names = sorted(
        path.name
        for path in folder.iterdir()
        if is_picture(path.name) and not path.name.startswith(".") and not path.is_dir()
    )
    if not names:
        raise ValueError(f"{folder}: expected pictures (png, jpg or jpeg), got none")
    return names


def _with_joints(pairs: Sequence[ScoredPair], joints: Mapping[str, JointArray]) -> Found:
    """Add the joints of the targets; leave out pictures of one pair, and with `joints` targets that have none."""
    annotated = Names(joints)
    names_of = defaultdict(list)
    for pair in pairs:
        names_of[stem_of(pair.source), stem_of(pair.target)].append(pair.name)
    kept, problems = [], []
    for pair in pairs:
        names = names_of[stem_of(pair.source), stem_of(pair.target)]
        entries = annotated.find(pair.target)
        path = pair.generated.path
        if len(names) > 1:
            problems.append(
                f"{path}: expected one picture of source {pair.source} and target {pair.target}, got {', '.join(names)}"
            )
        elif joints and len(entries) != 1:
            problems.append(
                f"{path}: expected one annotation of its target {pair.target}, got {', '.join(entries) or 'none'}"
            )
        else:
            kept.append(replace(pair, joints=joints[entries[0]] if entries else None))
    return Found(kept, problems)
