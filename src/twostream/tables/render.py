"""Show a table's results as Markdown, CSV and LaTeX, with the paper's numbers beside them."""

import csv
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from twostream.tables.collect import Results, collect
from twostream.tables.notes import heading, missing_rows, notes, size_text
from twostream.tables.spec import load_spec

DASH = "—"
LATEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}
    | {"±": r"$\pm$", DASH: "---", "“": "``", "”": "''"}
    # Unprotected, a bracket after a line break is read as the break's argument.
    | {"[": "{[}"}
)


def write_tables(spec_paths: Sequence[Path], runs: Path, data: str, scale: str, seeds: Sequence[int], out: Path) -> str:
    """Write `out/<spec>.md`, `.csv` and `.tex` for each spec, each file whole or not at all.

    Returns:
        The Markdown of all tables, then one line for each run without a result.

    Raises:
        ValueError: for a wrong spec, metrics.json or list of seeds; nothing is written then.
    """
    tables = [collect(load_spec(path), runs, data, scale, seeds) for path in spec_paths]
    out.mkdir(parents=True, exist_ok=True)
    for table in tables:
        for suffix, text in (("md", markdown(table)), ("csv", csv_text(table)), ("tex", latex(table))):
            unfinished = out / f".{table.spec.name}.{suffix}.{os.getpid()}"
            unfinished.write_text(text, encoding="utf-8")
            unfinished.replace(out / f"{table.spec.name}.{suffix}")
    missing = {key: reason for table in tables for key, reason in table.missing.items()}
    lines = [f"{data}/{scale}/{variant}/seed{seed}: {why}" for (variant, seed), why in missing.items()]
    return "\n".join([*(markdown(table) for table in tables), *lines])


def markdown(results: Results) -> str:
    """Return the table as GitHub Markdown, padded so that it also reads well in a terminal."""
    grid = [[_markdown_text(cell) for cell in line] for line in _grid(results)]
    widths = [max(len(cell) for cell in column) for column in zip(*grid, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [
        [
            line[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
        ]
        for line in grid
    ]
    spec = results.spec
    above = (f"## Table {spec.number}: {spec.title}", spec.question, *heading(results))
    table = [f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:])]
    below = [f"- {_markdown_text(note)}" for note in notes(results)]
    return "\n".join([*(f"{_markdown_text(text)}\n" for text in above), *table, "", *below, ""])


def csv_text(results: Results) -> str:
    """Return one line for each row, seed and column, unrounded; `missing` says why a value is empty."""
    header = "table,row,variant,data,label,scale,seed,iterations,batch_size,image_size,commit,dirty,data_hash"
    header += ",column,metric,protocol,value,n,paper,missing"
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header.split(","))
    for row in results.spec.rows:
        for seed in results.seeds:
            run = results.runs.get((row.variant, seed))
            label = run.label if run else ""
            about = (run.iterations, run.batch_size, size_text(run.image_size)) if run else ("", "", "")
            source = (run.commit, run.dirty, run.data_hash) if run else ("", "", "")
            reason = results.missing.get((row.variant, seed), "not computed")
            for column in results.spec.columns:
                value = results.values(row, column).get(seed)
                writer.writerow(
                    [results.spec.number, row.label, row.variant, results.data, label, results.scale, seed]
                    + [*about, *source, column.label, column.metric, column.protocol]
                    + ([value.value, value.n] if value else ["", ""])
                    + [row.paper.get(column.label, ""), "" if value else reason]
                )
    return out.getvalue()


def latex(results: Results) -> str:
    """Return the table as a LaTeX float for the booktabs package."""
    spec = results.spec
    grid = [" & ".join(cell.translate(LATEX) for cell in line) + r" \\" for line in _grid(results)]
    caption = " ".join([f"Table {spec.number} of the paper: {spec.title}", *heading(results)])
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{caption.translate(LATEX)}}}",
        rf"\label{{tab:{spec.name}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(_grid(results)[0]) - 1)}}}",
        *(r"\toprule", grid[0], r"\midrule", *grid[1:], r"\bottomrule"),
        r"\end{tabular}",
        *(rf"\par{{\footnotesize {note.translate(LATEX)}\par}}" for note in notes(results)),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _grid(results: Results) -> list[list[str]]:
    """Return the header and the rows as text: each column's value and the paper's, then the run count."""
    spec = results.spec
    in_paper = {label for row in spec.rows for label in row.paper}
    header = [spec.row_heading]
    for column in spec.columns:
        header += [column.label, "paper"] if column.label in in_paper else [column.label]
    marks = {row.variant: f" [{i}]" for i, (row, _) in enumerate(missing_rows(results), start=1)}
    grid = [[*header, "runs"]]
    for row in spec.rows:
        line = [row.label + marks.get(row.variant, "")]
        for column in spec.columns:
            line.append(_cell([value.value for value in results.values(row, column).values()], column.digits))
            if column.label in in_paper:
                line.append(_cell([row.paper[column.label]] if column.label in row.paper else [], column.digits))
        found = sum((row.variant, seed) in results.runs for seed in results.seeds)
        grid.append([*line, f"{found}/{len(results.seeds)}"])
    return grid


def _markdown_text(text: str) -> str:
    return re.sub(r"([\\|<*`])", r"\\\1", text)


def _cell(values: Sequence[float], digits: int) -> str:
    """Return the mean, from two values on with the standard deviation (ddof 1), or a dash for none."""
    if not values:
        return DASH
    mean = f"{np.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {np.std(values, ddof=1):.{digits}f}"
