"""What a preparation prints: counts beside the published ones, and every difference in words."""

from collections.abc import Mapping
from typing import Any

from twostream.prepare.preset import SPLITS, Counts

ROWS = {
    "pictures": "images",
    "annotated pictures": "annotated",
    "joints found": "joints",
    "with shoulders and hips": "torsos",
    "pairs": "pairs",
}


def report(manifest: Mapping[str, Any], published: Mapping[str, Counts]) -> str:
    """Write the report of a prepared folder.

    Args:
        manifest: of the folder.
        published: split -> the counts to check.

    """
    columns = [column for split in SPLITS for column in (split, "published")]
    lines = [manifest["label"], f"{'':24}" + "".join(f"{column:>12}" for column in columns)]
    for words, count in ROWS.items():
        cells = [
            cell
            for split in SPLITS
            for cell in (f"{manifest[f'num_{split}_{count}']:,}", _number(getattr(published[split], count, None)))
        ]
        lines.append((f"{words:24}" + "".join(f"{cell:>12}" for cell in cells)).rstrip())
    lines.append(f"files: {manifest['codec']}")
    for split in SPLITS:
        lines.append(f"{split} joints: {manifest['annotated_by'][split]}")
        lines.append(f"{split} pairs: {manifest['pairs'][split]}")
    lines += [f"note: {note}" for note in manifest["notes"]]
    differences = [
        _difference(split, words, manifest[f"num_{split}_{count}"], getattr(published[split], count))
        for split in SPLITS
        for words, count in ROWS.items()
        if hasattr(published[split], count) and manifest[f"num_{split}_{count}"] != getattr(published[split], count)
    ]
    return "\n".join([*lines, *(differences or ["counts of pictures and pairs: as published"])])


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _difference(split: str, words: str, here: int, published: int) -> str:
    comparison = f"{abs(here - published):,} {'fewer' if here < published else 'more'}"
    return f"difference: {split} {words}: {here:,} here, {published:,} published ({comparison})"
