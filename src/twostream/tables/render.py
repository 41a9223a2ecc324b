"""Write a table's results as Markdown, LaTeX and CSV."""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from twostream.files import write_text
from twostream.tables.cells import DASH, Cell, grids, main_grid, table_rows
from twostream.tables.comparison import Comparison, compare
from twostream.tables.markdown import escape, markdown_table
from twostream.tables.notes import ABOUT_ZERO, CITED, data_text, heading, not_computed, notes, size_text
from twostream.tables.results import Results, collect, read_run
from twostream.tables.spec import Cited, Row, load_spec

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
    | {"±": r"$\pm$", ABOUT_ZERO: r"$\approx$", DASH: "---", "“": "``", "”": "''"}
    # Unprotected, a bracket after a line break is read as the break's argument.
    | {"[": "{[}"}
)


def write_tables(spec_paths: Sequence[Path], runs: Path, data: str, scale: str, seeds: Sequence[int], out: Path) -> str:
    """Write `out/<spec>.md`, `.csv` and `.tex` for each spec that is for `data`, each file atomically.

    A table that compares its rows has its differences in `<spec>-differences.csv`.

    Returns:
        All tables in short form for a terminal, then one line for each run without a result.

    Raises:
        ValueError: for a wrong spec, metrics.json, bootstrap.json or list of seeds; nothing is written then.
    """
    specs = [load_spec(path) for path in spec_paths]
    tables = [collect(spec, runs, data, scale, seeds) for spec in specs if spec.is_for(data)]
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
    missing = {key: reason for table in tables for key, reason in table.missing.items()}
    lines = [f"{data}/{scale}/{variant}/seed{seed}: {why}" for (variant, seed), why in missing.items()]
    return "\n".join(parts + lines)


def short_text(results: Results, path: Path) -> str:
    """Return the table for a terminal: means with the paper's numbers, what was not computed, `path` of the full table.

    Columns that do not fit are left out; so are the rows that the paper cites.
    """
    spec = results.spec
    rows = [(row, cells) for row, cells in table_rows(results, {}) if row.variant]
    for count in range(len(spec.columns), 0, -1):
        table = markdown_table(main_grid(results, rows, spec.columns[:count], Cell.mean, {}))
        if table.index("\n") <= WIDTH:
            break
    hidden = f" ({len(spec.columns) - count} more columns)" if count < len(spec.columns) else ""
    lines = [spec.heading, table, f"Data: {data_text(results)}. Full table{hidden}: {path}"]
    if columns := list(not_computed(results)):
        lines.append(f"Not computed (reasons in the full table): {', '.join(columns)}")
    return "\n".join(lines)


def markdown(results: Results) -> str:
    """Return the full table as GitHub Markdown."""
    comparisons = compare(results)
    parts = [escape(text) for text in (f"## {results.spec.heading}", results.spec.question, *heading(results))]
    for title, grid in grids(results, comparisons).items():
        if title:
            parts.append(f"**{escape(title)}**")
        parts.append(markdown_table([[escape(cell) for cell in line] for line in grid]))
    below = [f"- {escape(note)}\n" for note in notes(results, comparisons)]
    return "\n\n".join([*parts, "".join(below)])


def latex(results: Results) -> str:
    """Return the full table as a LaTeX float for the booktabs package."""
    comparisons, spec = compare(results), results.spec
    caption = spec.title if spec.number is None else f"Table {spec.number} of the paper: {spec.title}"
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{' '.join([caption, *heading(results)]).translate(LATEX)}}}",
        rf"\label{{tab:{spec.name}}}",
    ]
    for title, (header, *rows) in grids(results, comparisons).items():
        if title:
            lines.append(rf"\par\medskip\textbf{{{title.translate(LATEX)}}}\par\smallskip")
        lines += [rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}", r"\toprule", _latex_row(header), r"\midrule"]
        lines += [*map(_latex_row, rows), r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par{{\footnotesize {note.translate(LATEX)}\par}}" for note in notes(results, comparisons)]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def values_csv(results: Results) -> str:
    """Return one line for each row, column and seed; `missing` says why a value is empty.

    All columns are there, shown or not, and a line for each number of the methods that the paper cites.
    """
    records = []
    for row, cells in table_rows(results, {}):
        for cell in cells.values():
            if row.variant:
                records += [_value_record(results, row, cell, seed) for seed in results.seeds]
            elif cell.paper is not None:
                records.append(_cell_record(results, row, cell) | {"data": "", "scale": "", "missing": CITED})
    return _csv(VALUE_FIELDS, records)


def differences_csv(results: Results) -> str:
    """Return one line for each compared row and column that is shown; `missing` says why a difference is empty."""
    records = []
    for row, cells in table_rows(results, compare(results)):
        for cell in (cells[column.label] for column in results.shown_columns() if row in results.spec.others()):
            record = _cell_record(results, row, cell) | {"compare_with": results.spec.compare_with}
            if isinstance(cell.difference, Comparison):
                record |= vars(cell.difference) | {"seeds": " ".join(map(str, cell.difference.seeds))}
            else:
                record["missing"] = cell.difference or "a row has no value"
            records.append(record)
    return _csv(DIFFERENCE_FIELDS, records)


def summary_table(path: Path) -> str:
    """Return the values of a `metrics.json` as a Markdown table. Raises ValueError where the file is wrong."""
    rows = [["metric", "protocol", "value", "95 % interval", "n"]]
    for value in read_run(path).values:
        interval = "[{:.3f}, {:.3f}]".format(*value.interval) if value.interval else DASH
        rows.append([value.metric, value.protocol, f"{value.value:.3f}", interval, str(value.n)])
    return markdown_table(rows, left=(0, 1))


def _latex_row(cells: Iterable[str]) -> str:
    """Return a line of a tabular; the sign of a negative number is a minus, not a hyphen."""
    texts = (re.sub(r"(?<!\w)-(?=\d)", "$-$", cell.translate(LATEX)) for cell in cells)
    return " & ".join(texts) + r" \\"


def _cell_record(results: Results, row: Row | Cited, cell: Cell) -> dict[str, Any]:
    column = cell.column
    return {
        **{"table": results.spec.number, "row": row.label, "variant": row.variant},
        **{"data": results.data, "scale": results.scale, "paper": cell.paper},
        **{"column": column.label, "metric": column.metric, "protocol": column.protocol},
    }


def _value_record(results: Results, row: Row | Cited, cell: Cell, seed: int) -> dict[str, Any]:
    record = _cell_record(results, row, cell) | {"seed": seed}
    run, value = results.runs.get((row.variant, seed)), cell.values.get(seed)
    if run:
        record |= vars(run) | {"image_size": size_text(run.image_size), "missing": run.reason(cell.column)}
    if value:
        low, high = value.interval or (None, None)
        return record | vars(value) | {"interval_low": low, "interval_high": high, "missing": ""}
    return record | {"missing": results.missing.get((row.variant, seed)) or record.get("missing") or "not computed"}


def _csv(names: Sequence[str], records: Iterable[Mapping[str, Any]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, names, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(records)
    return out.getvalue()
