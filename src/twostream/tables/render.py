"""Write a table's results as Markdown, LaTeX and CSV."""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from twostream.files import csv_text, write_text
from twostream.tables import content
from twostream.tables.comparison import Comparison, compare
from twostream.tables.results import Results
from twostream.tables.spec import Column, Row

WIDTH = 120  # characters of a short table
VALUE_FIELDS = [
    *("table", "row", "variant", "data", "label", "scale", "seed", "iterations", "batch_size", "image_size"),
    *("commit", "dirty", "data_hash", "column", "metric", "protocol", "value", "n", "interval_low", "interval_high"),
    *("splits_std", "paper", "missing"),
]
DIFFERENCE_FIELDS = [
    *("table", "row", "variant", "compare_with", "data", "scale", "column", "metric", "protocol", "seeds"),
    *("identities", "difference", "difference_low", "difference_high", "p", "p_holm", "missing"),
]
LATEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}
    | {"±": r"$\pm$", content.ABOUT_ZERO: r"$\approx$", content.DASH: "---", "“": "``", "”": "''"}
    # Unprotected, a bracket after a line break is read as the break's argument.
    | {"[": "{[}"}
)


def write_tables(tables: Sequence[Results], out: Path) -> str:
    """Write `out/<spec>.md`, `.csv` and `.tex` for each table, each file atomically.

    A table that compares its rows has its differences in `<spec>-differences.csv`. Returns all tables in short form for
    a terminal, then one line for each run without a result.
    """
    files: dict[str, str] = {}
    parts = []
    for table in tables:
        name = table.spec.name
        files |= {f"{name}.md": markdown(table), f"{name}.tex": latex(table), f"{name}.csv": values_csv(table)}
        if table.spec.compare_with:
            files[f"{name}-differences.csv"] = differences_csv(table)
        parts.append(short_text(table, out / f"{name}.md") + "\n")
    for name, text in files.items():
        write_text(out / name, text)
    missing = {
        f"{table.data}/{table.scale}/{variant}/seed{seed}": reason
        for table in tables
        for (variant, seed), reason in table.missing.items()
    }
    return "\n".join(parts + [f"{run}: {reason}" for run, reason in missing.items()])


def short_text(results: Results, path: Path) -> str:
    """Return the table for a terminal: means with the paper's numbers, what was not computed, `path` of the full table.

    Columns that do not fit are left out; so are the rows that the paper cites.
    """
    spec, value = results.spec, partial(content.mean, results)
    for count in range(len(spec.columns), 0, -1):
        table = markdown_table(content.main_grid(results, spec.rows, spec.columns[:count], value, {}))
        if table.index("\n") <= WIDTH:
            break
    hidden = f" ({len(spec.columns) - count} more columns)" if count < len(spec.columns) else ""
    lines = [spec.heading, table, f"Data: {content.data_text(results)}. Full table{hidden}: {path}"]
    if columns := list(content.not_computed(results)):
        lines.append(f"Not computed (reasons in the full table): {', '.join(columns)}")
    return "\n".join(lines)


def markdown(results: Results) -> str:
    """Return the full table as GitHub Markdown."""
    parts = [escape(text) for text in (f"## {results.spec.heading}", results.spec.question, *content.heading(results))]
    for title, grid in content.grids(results).items():
        if title:
            parts.append(f"**{escape(title)}**")
        parts.append(markdown_table([[escape(cell) for cell in line] for line in grid]))
    return "\n\n".join([*parts, "".join(f"- {escape(note)}\n" for note in content.notes(results))])


def latex(results: Results) -> str:
    """Return the full table as a LaTeX float for the booktabs package."""
    spec = results.spec
    caption = spec.title if spec.number is None else f"Table {spec.number} of the paper: {spec.title}"
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{' '.join([caption, *content.heading(results)]).translate(LATEX)}}}",
        rf"\label{{tab:{spec.name}}}",
    ]
    for title, (header, *rows) in content.grids(results).items():
        if title:
            lines.append(rf"\par\medskip\textbf{{{title.translate(LATEX)}}}\par\smallskip")
        lines += [rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}", r"\toprule", _latex_row(header), r"\midrule"]
        lines += [*map(_latex_row, rows), r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par{{\footnotesize {note.translate(LATEX)}\par}}" for note in content.notes(results)]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def values_csv(results: Results) -> str:
    """Return one line for each row, column and seed; `missing` says why a value is empty.

    All columns are there, shown or not, and a line for each number of the methods that the paper cites.
    """
    spec = results.spec
    records = [
        _value_record(results, row, column, seed)
        for row in spec.rows
        for column in spec.all_columns()
        for seed in results.seeds
    ]
    for row in spec.cited:
        for column in spec.columns:
            if column.label in row.paper:
                records.append(_record(results, row, column) | {"data": "", "scale": "", "missing": content.CITED})
    return _csv(VALUE_FIELDS, records)


def differences_csv(results: Results) -> str:
    """Return one line for each compared row and column that is shown; `missing` says why a difference is empty."""
    spec, comparisons, records = results.spec, compare(results), []
    for row in spec.others():
        for column in results.shown_columns():
            record = _record(results, row, column) | {"compare_with": spec.compare_with}
            found = comparisons.get((row.variant, column.label), "a row has no value")
            if isinstance(found, Comparison):
                record |= vars(found) | {"seeds": " ".join(map(str, found.seeds))}
            else:
                record["missing"] = found
            records.append(record)
    return _csv(DIFFERENCE_FIELDS, records)


def markdown_table(rows: Sequence[Sequence[str]], padded: bool = True) -> str:
    """Return rows of cells as a GitHub Markdown table without a final line break; the first column is aligned left.

    Args:
        rows: the header, then the others, all of one length; a cell is Markdown, see `escape`.
        padded: pad the cells, so that the table also reads well in a terminal.

    """
    header, *others = rows
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *others]
    if padded:
        widths = [max(3, *map(len, column)) for column in zip(*rows, strict=True)]
        lines[1] = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        lines = [[line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escape(text: str) -> str:
    """Return plain text as Markdown, on one line."""
    # "<" begins HTML only before a letter or one of these, and "](" ends the text of a link.
    return re.sub(r"[\\|*`]|<(?=[A-Za-z/!?])|(?<=\])\(", r"\\\g<0>", " ".join(text.split()))


def _latex_row(cells: Iterable[str]) -> str:
    """Return a line of a tabular; the sign of a negative number is a minus, not a hyphen."""
    texts = (re.sub(r"(?<!\w)-(?=\d)", "$-$", cell.translate(LATEX)) for cell in cells)
    return " & ".join(texts) + r" \\"


def _record(results: Results, row: Row, column: Column) -> dict[str, Any]:
    return {
        **{"table": results.spec.number, "row": row.label, "variant": row.variant},
        **{"data": results.data, "scale": results.scale, "paper": row.paper.get(column.label)},
        **{"column": column.label, "metric": column.metric, "protocol": column.protocol},
    }


def _value_record(results: Results, row: Row, column: Column, seed: int) -> dict[str, Any]:
    record = _record(results, row, column) | {"seed": seed}
    run = results.runs.get((row.variant, seed))
    if run is None:
        return record | {"missing": results.missing[row.variant, seed]}
    record |= vars(run) | {"image_size": content.size_text(run.image_size)}
    value = run.value(column)
    if value is None:
        return record | {"missing": run.reason(column) or "not computed"}
    low, high = value.interval or (None, None)
    return record | vars(value) | {"interval_low": low, "interval_high": high, "missing": ""}


def _csv(names: Sequence[str], records: Iterable[Mapping[str, Any]]) -> str:
    return csv_text([names, *([record.get(name) for name in names] for record in records)])
