"""Images that were generated elsewhere: find the pairs in their folders and check them."""

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from tqdm import tqdm

from twostream.data.keypoints import JointArray, JointFrame, read_annotations
from twostream.data.pairs import Pair, joined_name
from twostream.files import IMAGE_SUFFIXES, first_lines
from twostream.metrics.metric import Panel, ScoredPair
from twostream.metrics.protocols import STANDARD

log = logging.getLogger(__name__)

ANY_SUFFIX = "|".join(map(re.escape, IMAGE_SUFFIXES))
SUFFIX = re.compile(rf"({ANY_SUFFIX})\Z", re.IGNORECASE)
INNER_SUFFIX = re.compile(rf"({ANY_SUFFIX})_", re.IGNORECASE)
SEPARATORS = ("___|_2_", "_")  # PATN's or GFLA's and ours; if a name contains neither, that of PATN's strips of three

NUM_SIZED = 25  # images whose size says in which frame the joints must be

Size = tuple[int, ...]  # height and width


def stem_of(name: str) -> str:
    """Remove an image's extension from a name; other dots belong to the name."""
    return SUFFIX.sub("", name)


class NameIndex:
    """Image names that are found with, without or under another extension."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)
        self._of_stem: dict[str, list[str]] = defaultdict(list)
        for name in sorted(self._names):
            self._of_stem[stem_of(name)].append(name)

    def find(self, name: str) -> list[str]:
        """Return the equal name alone, or else all names of equal stem."""
        return [name] if name in self._names else list(self._of_stem.get(stem_of(name), ()))


def source_and_target(name: str, known: NameIndex) -> Pair | None:
    """Parse the name of a generated image into those of source and target, with their extensions if it contains them.

    The forms are `A.jpg___B.jpg_vis.jpg` (PATN), `A.jpg_B.jpg.png` (PATN's strips of three), `A_2_B_vis.jpg` (GFLA)
    and `A_2_B.png`; `_vis` and, except in the second, the inner extensions are optional. A name that can be split in
    several ways is split into two `known` names. Returns None for a name of no form and for one that stays ambiguous.
    """
    stem = stem_of(name).removesuffix("_vis")
    splits = [_splits(stem, separator) for separator in SEPARATORS]
    certain = [pair for pairs in splits for pair in pairs if all(known.find(half) for half in pair)]
    if len(certain) == 1:
        return certain[0]
    first = next(filter(None, splits), [])
    return first[0] if len(first) == 1 else None


def _splits(stem: str, separator: str) -> list[Pair]:
    """Return every split of a stem into two names at a separator (a pattern), including overlapping ones."""
    matches = re.finditer(f"(?=({separator}))", stem)
    pairs = [(stem[: match.start()], stem[match.end(1) :]) for match in matches]
    # Most names contain single underscores, so these separate only names with extensions.
    is_name = SUFFIX.search if separator == "_" else bool
    return [pair for pair in pairs if all(is_name(half) and not INNER_SUFFIX.search(half) for half in pair)]


def image_names(folder: Path) -> list[str]:
    """Return the names of the images in a folder, sorted, without hidden files and subfolders.

    Raises ValueError if the folder is missing or contains no images.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: expected a folder of images, folder not found")
    files = (path for path in folder.iterdir() if not path.name.startswith(".") and not path.is_dir())
    names = sorted(path.name for path in files if SUFFIX.search(path.name))
    if not names:
        raise ValueError(f"{folder}: expected images ({', '.join(IMAGE_SUFFIXES)}), got none")
    return names


@dataclass(frozen=True)
class FoundPairs:
    """The pairs in a folder in the order of their names, and a line for each image without a pair."""

    pairs: list[ScoredPair]
    problems: list[str]


@dataclass(frozen=True)
class TwoFolders:
    """Generated images in one folder, true images in another, under equal names or under the names of the targets."""

    num_panels: ClassVar[int] = 1

    def true_folder(self, images: Path, targets: Path | None) -> Path:
        """Return the folder of the true images. Raises ValueError if `targets` does not name it."""
        if targets is None:
            raise ValueError("targets: expected the folder of the true images, got none")
        return targets

    def find(self, images: Path, targets: Path | None, joints: Mapping[str, JointArray]) -> FoundPairs:
        """Pair the generated images in `images` with the true images in `targets`, which may be the same.

        The true image has the equal name, or else the equal stem, or else that of the target in the name. If names are
        equal, a true image without a generated one is a problem. `joints` are by image name; if there are any, a target
        without is a problem. Raises ValueError for a folder that is missing or without images.
        """
        targets = self.true_folder(images, targets)
        annotated, true_names = NameIndex(joints), NameIndex(all_true := image_names(targets))
        pairs: list[ScoredPair] = []
        problems: list[str] = []
        compared: set[str] = set()
        names_are_equal = True
        for name in image_names(images):
            pair = None if annotated.find(name) else source_and_target(name, annotated)
            source, target = pair or (name, name)
            matches = true_names.find(name)
            if not matches and (matches := true_names.find(target)):
                names_are_equal = False
            compared.update(matches)
            if len(matches) == 1:
                true = Panel(targets / matches[0])
                pairs.append(ScoredPair(name, source, target, Panel(images / name), true, joints=None))
            else:
                got, expected = ", ".join(matches) or "none", f"{name} or {target}" if pair else name
                problems.append(f"{images / name}: expected one true image {expected} in {targets}, got {got}")
        if names_are_equal and pairs:
            unused = [targets / name for name in all_true if name not in compared]
            problems += [f"{path}: expected a generated image of it in {images}, got none" for path in unused]
        return _with_joints(pairs, problems, joints)


@dataclass(frozen=True)
class Strips:
    """All images of a pair side by side in one file.

    Raises ValueError for indices that are equal or out of range.
    """

    num_panels: int  # images in a file, all of equal width
    target: int  # index of the true image, from 0
    generated: int  # index of the generated image

    def __post_init__(self) -> None:
        indices = {self.target, self.generated}
        if len(indices) != 2 or not indices <= set(range(self.num_panels)):
            raise ValueError(
                f"layout: expected two different indices from 0 to {self.num_panels - 1} for target and generated, "
                f"got {self.target} and {self.generated}"
            )

    def true_folder(self, images: Path, targets: Path | None) -> Path:
        """Return the folder of the strips. Raises ValueError if `targets` is not None."""
        if targets is not None:
            raise ValueError(f"targets: expected none, as strips contain the true images, got {targets}")
        return images

    def find(self, images: Path, targets: Path | None, joints: Mapping[str, JointArray]) -> FoundPairs:
        """Return the pairs in the files of `images`; `joints` as above.

        Only if there are joints must a name contain source and target; otherwise it may stand for both. Raises
        ValueError if `targets` is not None, and for a folder that is missing or without images.
        """
        annotated = NameIndex(joints)
        pairs, problems = [], []
        for name in image_names(self.true_folder(images, targets)):
            pair = source_and_target(name, annotated)
            if pair is None and joints:
                problems.append(f"{images / name}: expected an unambiguous name of source and target, as A_2_B.png")
                continue
            source, target = pair or (name, name)
            generated, true = (Panel(images / name, index, self.num_panels) for index in (self.generated, self.target))
            pairs.append(ScoredPair(name, source, target, generated, true, joints=None))
        return _with_joints(pairs, problems, joints)


def find_pairs(layout: TwoFolders | Strips, images: Path, targets: Path | None, annotations: Path | None) -> FoundPairs:
    """Return the pairs of a layout, with the joints of their targets if there is an annotation file.

    Names in the file may be DeepFashion's paths. Raises ValueError for a missing or malformed file, joints of another
    frame than the true images, and what `find` refuses.
    """
    joints: dict[str, JointArray] = {}
    if annotations is not None:
        size = _panel_size(layout.true_folder(images, targets), layout.num_panels)
        read = read_annotations(annotations, JointFrame(*size))
        joints = {joined_name(name) or name: array for name, array in read.items()}
        if len(joints) < len(read):
            raise ValueError(f"{annotations}: {len(read) - len(joints)} images are annotated twice, in two spellings")
    return layout.find(images, targets, joints)


def _panel_size(folder: Path, num_panels: int) -> Size:
    """Return the height and width of most of the first images in a folder."""
    sizes: Counter[Size] = Counter()
    for name in image_names(folder)[:NUM_SIZED]:
        with suppress(ValueError):
            sizes[Panel(folder / name, 0, num_panels).read().shape[:2]] += 1
    if not sizes:
        raise ValueError(f"{folder}: expected images of {num_panels} panels, got none that is readable at its start")
    return max(sizes, key=sizes.__getitem__)


def _with_joints(pairs: Sequence[ScoredPair], problems: Iterable[str], joints: Mapping[str, JointArray]) -> FoundPairs:
    """Add the joints of the targets; images of one pair and, if there are `joints`, targets without are problems."""
    annotated = NameIndex(joints)
    names_of = defaultdict(list)
    for pair in pairs:
        names_of[stem_of(pair.source), stem_of(pair.target)].append(pair.name)
    found = FoundPairs([], [*problems])
    for pair in pairs:
        names = names_of[stem_of(pair.source), stem_of(pair.target)]
        entries = annotated.find(pair.target)
        start = f"{pair.generated.path}: expected one"
        if len(names) > 1:
            of = f"source {pair.source} and target {pair.target}"
            found.problems.append(f"{start} image of {of}, got {', '.join(names)}")
        elif joints and len(entries) != 1:
            got = ", ".join(entries) or "none"
            found.problems.append(f"{start} annotation of its target {pair.target}, got {got}")
        else:
            found.pairs.append(replace(pair, joints=joints[entries[0]] if entries else None))
    return found


def usable_pairs(found: FoundPairs, strict: bool, num_workers: int = 0) -> tuple[list[ScoredPair], int]:
    """Return the pairs that can be scored, and the number of images left out; each of these is logged with its reason.

    Raises ValueError if `strict` and there is any problem, and if no pair can be scored.
    """
    refused = check_images(found.pairs, num_workers)
    problems = [*found.problems, *refused.values()]
    usable = [pair for pair in found.pairs if pair.name not in refused]
    if problems and (strict or not usable):
        advice = "strict=false scores the rest" if usable else "none can be scored"
        count = f"{len(problems)} problems in {len(usable) + len(problems)} images"
        raise ValueError("\n".join([f"{count}; {advice}:", *first_lines(problems)]))
    for problem in problems:
        log.warning("%s", problem)
    return usable, len(problems)


def check_images(pairs: Sequence[ScoredPair], num_workers: int = 0) -> dict[str, str]:
    """Decode both images of every pair; return why pairs can't be scored: a line for each by its name.

    - An image is missing, broken or not divisible into its panels.
    - The generated image has another size than the true one, or is not over 10x10 pixels as SSIM requires.
    - The size is not that of most pairs.
    """
    # Pillow releases the GIL while it decodes.
    with ThreadPoolExecutor(max(1, num_workers)) as pool:
        results = pool.map(_size_or_problem, pairs)
        checked = list(tqdm(results, desc="Check", unit="pair", total=len(pairs), disable=None))
    sizes = Counter(size for size in checked if not isinstance(size, str))
    usual = max(sizes, key=sizes.__getitem__, default=())
    problems = {}
    for pair, size in zip(pairs, checked, strict=True):
        if isinstance(size, str):
            problems[pair.name] = size
        elif size != usual:
            problems[pair.name] = _unexpected_size(pair, size, usual, "as of most pairs")
    return problems


def _size_or_problem(pair: ScoredPair) -> Size | str:
    path = pair.generated.path
    sizes: list[Size] = []
    for panel, of in ((pair.generated, ""), (pair.true, f"{path}: its true image ")):
        try:
            sizes.append(panel.read().shape[:2])
        except ValueError as error:
            return of + " ".join(str(error).split())
    size, true_size = sizes
    if size != true_size:
        return _unexpected_size(pair, size, true_size, f"as of {pair.true.path}")
    if min(size) <= (least := 2 * STANDARD.window.border):
        return f"{path}: expected an image over {least}x{least}, got {size[0]}x{size[1]}"
    return size


def _unexpected_size(pair: ScoredPair, got: Size, expected: Size, where: str) -> str:
    expected_text, got_text = ("x".join(map(str, size)) for size in (expected, got))
    return f"{pair.generated.path}: expected height x width {expected_text}, {where}, got {got_text}"
