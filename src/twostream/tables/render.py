"""Show a table's results as Markdown and LaTeX, and write all that is made of them."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from twostream.tables.collect import Results, collect
from twostream.tables.csv_files import csv_text, differences_csv
from twostream.tables.grids import DASH, Grid, grids
from twostream.tables.notes import UNDECIDED, heading, notes
from twostream.tables.spec import load_spec

LATEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}
    | {"±": r"$\pm$", UNDECIDED: r"$\approx$", DASH: "---", "“": "``", "”": "''"}
    # Unprotected, a bracket after a line break is read as the break's argument.
    | {"[": "{[}"}
)


def write_tables(spec_paths: Sequence[Path], runs: Path, data: str, scale: str, seeds: Sequence[int], out: Path) -> str:
    """Write `out/<spec>.md`, `.csv` and `.tex` for each spec that is for `data`, each file whole or not at all.

    A table that compares its rows has its differences in `<spec>-differences.csv`.

    Returns:
        The Markdown of all tables, then one line for each run without a result.

    Raises:
        ValueError: for a wrong spec, metrics.json, bootstrap.json or list of seeds; nothing is written then.
    """
    specs = [load_spec(path) for path in spec_paths]
    tables = [collect(spec, runs, data, scale, seeds) for spec in specs if spec.is_for(data)]
    out.mkdir(parents=True, exist_ok=True)
    for table in tables:
        texts = {".md": markdown(table), ".csv": csv_text(table), ".tex": latex(table)}
        if table.spec.compare_with:
            texts["-differences.csv"] = differences_csv(table)
        for ending, text in texts.items():
            name = f"{table.spec.name}{ending}"
            unfinished = out / f".{name}.{os.getpid()}"
            unfinished.write_text(text, encoding="utf-8")
            unfinished.replace(out / name)
    missing = {key: reason for table in tables for key, reason in table.missing.items()}
    lines = [f"{data}/{scale}/{variant}/seed{seed}: {why}" for (variant, seed), why in missing.items()]
    return "\n".join([*(markdown(table) for table in tables), *lines])


def markdown(results: Results) -> str:
    """Return the table as GitHub Markdown, padded so that it also reads well in a terminal."""
    spec = results.spec
    title = spec.title if spec.number is None else f"Table {spec.number}: {spec.title}"
    parts = [_markdown_text(text) for text in (f"## {title}", spec.question, *heading(results))]
    for grid in grids(results):
        if grid.heading:
            parts.append(f"**{_markdown_text(grid.heading)}**")
        parts.append(_markdown_grid(grid))
    below = [f"- {_markdown_text(note)}\n" for note in notes(results)]
    return "\n\n".join([*parts, "".join(below)])


def latex(results: Results) -> str:
    """Return the table as a LaTeX float for the booktabs package."""
    spec = results.spec
    title = spec.title if spec.number is None else f"Table {spec.number} of the paper: {spec.title}"
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{' '.join([title, *heading(results)]).translate(LATEX)}}}",
        rf"\label{{tab:{spec.name}}}",
    ]
    for grid in grids(results):
        if grid.heading:
            lines.append(rf"\par\medskip\textbf{{{grid.heading.translate(LATEX)}}}\par\smallskip")
        lines += _latex_grid(grid)
    lines += [rf"\par{{\footnotesize {note.translate(LATEX)}\par}}" for note in notes(results)]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def _markdown_grid(grid: Grid) -> str:
    header, *rows = [[_markdown_text(cell) for cell in line] for line in (grid.header, *grid.rows)]
    widths = [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    padded = [
        [
            line[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
        ]
        for line in (header, *rows)
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in (padded[0], rule, *padded[1:]))


def _latex_grid(grid: Grid) -> list[str]:
    header, *rows = [
        " & ".join(_latex_minus(cell.translate(LATEX)) for cell in line) + r" \\" for line in (grid.header, *grid.rows)
    ]
    return [
        rf"\begin{{tabular}}{{l{'r' * (len(grid.header) - 1)}}}",
        *(r"\toprule", header, r"\midrule", *rows, r"\bottomrule"),
        r"\end{tabular}",
    ]


def _markdown_text(text: str) -> str:
    # Before anything else than a letter or one of these, "<" begins no HTML.
    return re.sub(r"[\\|*`]|<(?=[A-Za-z/!?])", r"\\\g<0>", text)


def _latex_minus(text: str) -> str:
    """Set the sign of a negative number as a minus, not as a hyphen."""
    return re.sub(r"(?<!\w)-(?=\d)", "$-$", text)
