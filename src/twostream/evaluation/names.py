"""Names of pictures: what a result's name says of its source and target, and one picture under several spellings."""

import re
from collections import defaultdict
from collections.abc import Iterable

from twostream.data.pairs import Pair
from twostream.files import IMAGE_SUFFIXES

ANY_SUFFIX = "|".join(map(re.escape, IMAGE_SUFFIXES))
SUFFIX = re.compile(rf"({ANY_SUFFIX})\Z", re.IGNORECASE)
SUFFIX_INSIDE = re.compile(rf"({ANY_SUFFIX})_", re.IGNORECASE)
SEPARATORS = ("___|_2_", "_")
"""PATN's, or that of GFLA, its followers and this project; where there is none, that of PATN's strips of three."""


def is_picture(name: str) -> bool:
    """Say whether a file is a picture by its extension: png, jpg or jpeg in any case."""
    return bool(SUFFIX.search(name))


def stem_of(name: str) -> str:
    """Return a name without a picture's extension; other dots belong to the name."""
    return SUFFIX.sub("", name)


class Names:
    """Names of pictures, found whether or not the extension is spelt, or is another one."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)
        self._of_stem: dict[str, list[str]] = defaultdict(list)
        for name in sorted(self._names):
            self._of_stem[stem_of(name)].append(name)

    def find(self, name: str) -> list[str]:
        """Return the equal name alone, else all names of its stem."""
        return [name] if name in self._names else list(self._of_stem.get(stem_of(name), ()))


def source_and_target(name: str, known: Names | None = None) -> Pair | None:
    """Return source and target in the name of a generated picture, each with its extension where that is spelt.

    The forms are `A.jpg___B.jpg_vis.jpg` (PATN), `A.jpg_B.jpg.png` (PATN's strips of three), `A_2_B_vis.jpg` (GFLA)
    and `A_2_B.png`; `_vis` and, but for the second, the extensions inside may be absent or present in each. A name
    that can be split in more than one way is split where both halves are `known`. Returns None for a name of no form,
    and for one that stays ambiguous.
    """
    stem = stem_of(name).removesuffix("_vis")
    ways = [_splits(stem, separator) for separator in SEPARATORS]
    if known is not None:
        sure = [pair for pairs in ways for pair in pairs if all(known.find(half) for half in pair)]
        if len(sure) == 1:
            return sure[0]
    first = next(filter(None, ways), [])
    return first[0] if len(first) == 1 else None


def _splits(stem: str, separator: str) -> list[Pair]:
    """Return every split of a stem into two names at a separator (a pattern), those that overlap included."""
    matches = re.finditer(f"(?=({separator}))", stem)
    pairs = [(stem[: match.start()], stem[match.end(1) :]) for match in matches]
    # A lone underscore is part of most names; it parts two of them only where both spell their extension.
    is_name = is_picture if separator == "_" else bool
    return [pair for pair in pairs if all(is_name(half) and not SUFFIX_INSIDE.search(half) for half in pair)]
