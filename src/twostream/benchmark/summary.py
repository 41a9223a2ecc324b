"""Results of a part as Markdown: a text and tables."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def to_markdown(results: Mapping[str, Any]) -> str:
    """Return the text and the tables of a part; each row of a table is a dict from column to value."""
    sections = [describe(results), f"{results['text']} Optimized: {', '.join(results['optimized'])}."]
    for table in results["tables"]:
        header = [column_title(column) for column in table["rows"][0]]
        rows = [
            [format_value(value / 2**30 if column.endswith("_bytes") else value) for column, value in row.items()]
            for row in table["rows"]
        ]
        sections += [f"{table['title']}:", markdown_table(header, rows)]
    return "\n\n".join(sections) + "\n"


def describe(results: Mapping[str, Any]) -> str:
    """Return on which hardware, with which code and in how many rounds results were measured."""
    changes = " with uncommitted changes" if results["dirty"] else ""
    rounds = f"; median and quartiles of {results['rounds']} rounds" if "rounds" in results else ""
    torch = results["versions"]["torch"]
    return f"{results['hardware']}; torch {torch}; commit {results['commit']}{changes}{rounds}"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; all columns but the first are aligned to the right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))


def column_title(column: str) -> str:
    """Return the title of a column such as `pairs_per_second` or `peak_bytes`, whose unit becomes GiB."""
    for word, written in (("_per_second", "/s"), ("_bytes", " memory, GiB"), ("gflop", "GFLOP"), ("_", " ")):
        column = column.replace(word, written)
    return column


def format_value(value: Any) -> str:
    """Format a text, a count, a number with three digits, or a median with its quartiles in brackets."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 99.95 else f"{value:#.3g}"
    if isinstance(value, list | tuple):
        median, lower, upper = map(format_value, value)
        return f"{median} [{lower}, {upper}]"
    return str(value).replace("_", " ")


def format_size(size: Iterable[int]) -> str:
    """Format an image size as height x width."""
    return "x".join(map(str, size))
