"""Markdown tables, padded so that they also read well in a terminal."""

import re
from collections.abc import Collection, Sequence


def markdown_table(rows: Sequence[Sequence[object]], left: Collection[int] = (0,)) -> str:
    """Return rows of cells as a GitHub Markdown table without a final line break.

    Args:
        rows: the header, then the others, all of one length; a cell is Markdown, see `escape`.
        left: indices of the columns that are aligned left; the others are aligned right.

    """
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(3, *map(len, column)) for column in zip(*texts, strict=True)]
    rule = ["-" * width if i in left else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    lines = [
        [cell.ljust(widths[i]) if i in left else cell.rjust(widths[i]) for i, cell in enumerate(row)]
        for row in (texts[0], rule, *texts[1:])
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escape(text: str) -> str:
    """Return plain text as Markdown."""
    # "<" begins HTML only before a letter or one of these.
    return re.sub(r"[\\|*`]|<(?=[A-Za-z/!?])", r"\\\g<0>", text)
