"""Whether found pairs can be scored: every picture is decoded before any is scored."""

import logging
from collections import Counter
from collections.abc import Sequence

from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from twostream.evaluation.folders import Found
from twostream.evaluation.scored_pairs import Panel, ScoredPair, read_panel
from twostream.metrics.similarity import BORDER

log = logging.getLogger(__name__)
MAX_LINES = 20
"""Problems that an error lists."""

PAIRS_AT_A_TIME = 16

Size = tuple[int, int]
"""Height and width in pixels."""


def usable_pairs(
    found: Found, strict: bool, num_workers: int = 0, progress: bool = True
) -> tuple[list[ScoredPair], int]:
    """Return the pairs that can be scored, and how many pictures are left out; each of these is logged with its reason.

    Raises ValueError where `strict` and there is any problem, and where no pair is left.
    """
    refused = check_pictures(found.pairs, progress, num_workers)
    problems = found.problems + [problem for _, problem in refused]
    names = {pair.name for pair, _ in refused}
    usable = [pair for pair in found.pairs if pair.name not in names]
    if problems and (strict or not usable):
        advice = "strict=false scores the rest" if usable else "none is left to score"
        more = [f"and {len(problems) - MAX_LINES} more"] if len(problems) > MAX_LINES else []
        count = f"{len(problems)} problems in {len(usable) + len(problems)} pictures"
        raise ValueError("\n".join([f"{count}; {advice}:", *problems[:MAX_LINES], *more]))
    for problem in problems:
        log.warning("%s", problem)
    return usable, len(problems)


def check_pictures(
    pairs: Sequence[ScoredPair], progress: bool = True, num_workers: int = 0
) -> list[tuple[ScoredPair, str]]:
    """Decode both pictures of every pair; return the pairs that can't be scored, each with its reason in a line.

    That is a picture that is missing, broken or not to be cut into its panels, one of another size than its true
    picture or not over 10x10 pixels, the least for an SSIM, and one of another size than most pairs have.
    """
    outcomes: list[Size | str] = []
    loader = DataLoader(_Outcomes(pairs), PAIRS_AT_A_TIME, collate_fn=list, num_workers=num_workers)
    with tqdm(total=len(pairs), desc="Check", unit="pair", disable=None if progress else True) as bar:
        for batch in loader:
            outcomes += batch
            bar.update(len(batch))
    sizes = Counter(outcome for outcome in outcomes if not isinstance(outcome, str))
    usual = sizes.most_common(1)[0][0] if sizes else None
    problems = []
    for pair, outcome in zip(pairs, outcomes, strict=True):
        if isinstance(outcome, str):
            problems.append((pair, outcome))
        elif usual is not None and outcome != usual:
            problems.append((pair, _unexpected_size(pair.generated, outcome, usual, "as most pairs have")))
    return problems


class _Outcomes(Dataset[Size | str]):
    """The size of each pair's pictures, or what is wrong with them."""

    def __init__(self, pairs: Sequence[ScoredPair]) -> None:
        self._pairs = pairs

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> Size | str:
        pair = self._pairs[index]
        sizes = []
        for panel in (pair.generated, pair.true):
            try:
                height, width, _ = read_panel(panel).shape
            except ValueError as error:
                reason = " ".join(str(error).removeprefix(f"{panel.path}: ").split())
                where = "" if panel is pair.generated else f"{pair.generated.path}: its true picture "
                return f"{where}{panel.path}: {reason}"
            sizes.append((height, width))
        size, true_size = sizes
        if size != true_size:
            return _unexpected_size(pair.generated, size, true_size, f"as {pair.true.path} has")
        if min(size) <= 2 * BORDER:
            return f"{pair.generated.path}: expected a picture over {2 * BORDER}x{2 * BORDER}, got {size[0]}x{size[1]}"
        return size


def _unexpected_size(panel: Panel, got: Size, expected: Size, where: str) -> str:
    return f"{panel.path}: expected height x width {expected[0]}x{expected[1]}, {where}, got {got[0]}x{got[1]}"
