"""Contact sheet of a set of people, to look at."""

from itertools import groupby, islice
from pathlib import Path

from PIL import Image

from twostream.data.pairs import identity_of


def contact_sheet(root: Path, num_identities: int, num_views: int, scale: int = 1, split: str = "train") -> Image.Image:
    """Lay pictures out in a grid: one row per identity, one column per view.

    Args:
        root: folder of a data set, with pictures in `train` and `test` under Market-1501's names.
        num_identities: rows at most; the first identities are taken.
        num_views: columns at most.
        scale: whole number by which pictures are enlarged.
        split: "train" or "test".

    Returns:
        The sheet in RGB.

    Raises:
        ValueError: there is no picture, or a number is less than 1.
    """
    if min(num_identities, num_views, scale) < 1:
        raise ValueError(f"expected at least 1 identity, view and scale, got {num_identities}, {num_views}, {scale}")
    paths = sorted((root / split).glob("*.jpg"))
    if not paths:
        raise ValueError(f"{root / split}: expected pictures *.jpg, got none")
    rows = [list(islice(views, num_views)) for _, views in groupby(paths, lambda p: identity_of(p.name))]
    rows = rows[:num_identities]
    with Image.open(paths[0]) as first:
        width, height = first.width * scale, first.height * scale
    sheet = Image.new("RGB", (width * max(len(row) for row in rows), height * len(rows)), "white")
    for row, views in enumerate(rows):
        for column, path in enumerate(views):
            with Image.open(path) as image:
                enlarged = image.resize((width, height), Image.Resampling.LANCZOS)
            sheet.paste(enlarged, (column * width, row * height))
    return sheet
