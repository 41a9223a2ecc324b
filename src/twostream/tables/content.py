"""What Markdown and LaTeX show of a table: the text above it, its grids of cells and the notes below it."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial

import numpy as np

from twostream.tables.comparison import Comparison, Comparisons, compare
from twostream.tables.results import Results, Run, RunKey
from twostream.tables.spec import Column, Row

DASH = "—"
ABOUT_ZERO = "≈"  # marks a difference whose interval contains 0
CITED = "cited"  # replaces the number of runs
NOT_EVALUATED = "its evaluation has no such value"

Grid = list[list[str]]  # a header and the rows below it
Text = Callable[[Row, Column], str]  # the text of a cell
Texts = dict[str, dict[RunKey, str]]  # a text of each run, by column or fact


def heading(results: Results) -> list[str]:
    """Return sentences on the data, the runs and the protocols; where runs differ, with the values of all of them."""
    about = [f"Data: {data_text(results)}", f"scale {results.scale}", _seeds(results.seeds)]
    about += [f"{name} {' or '.join(dict.fromkeys(by_run.values()))}" for name, by_run in _facts(results).items()]
    protocols: dict[str, list[str]] = {}
    for column in results.shown_columns():
        protocols.setdefault(column.protocol, []).append(column.label)
    lines = [f"Protocol {name}{_versions(results, name)}: {', '.join(labels)}." for name, labels in protocols.items()]
    return [f"{'; '.join(about)}.", *lines]


def _versions(results: Results, protocol: str) -> str:
    values = [value for run in results.runs.values() for value in run.values if value.protocol == protocol]
    versions = sorted({str(value.details["version"]) for value in values if "version" in value.details})
    return f" (version {' and '.join(versions)})" if versions else ""


def grids(results: Results) -> dict[str, Grid]:
    """Return the parts of the full table by title; more metrics and differences only where there are any."""
    spec, more, base, comparisons = results.spec, results.more_columns(), results.spec.base(), compare(results)
    marks = {row.variant: f" [{i}]" for i, (row, _) in enumerate(_missing_rows(results), start=1)}
    value = partial(_spread, results)
    found = {"": main_grid(results, spec.all_rows(), spec.columns, value, marks)}
    if more:
        found["More metrics"] = _grid(results, spec.rows, [(column.label, column, value) for column in more], marks)
    tested = {label for (_, label), outcome in comparisons.items() if isinstance(outcome, Comparison)}
    if base and tested:
        difference = partial(_difference, comparisons)
        parts = [(column.label, column, difference) for column in results.shown_columns() if column.label in tested]
        found[f"Difference to {base.label}"] = _grid(results, spec.others(), parts, marks)
    return found


def main_grid(
    results: Results, rows: Collection[Row], columns: Collection[Column], value: Text, marks: Mapping[str, str]
) -> Grid:
    """Return the `value` of each column with the paper's number next to it, and the number of runs; mark the labels."""
    parts: list[tuple[str, Column, Text]] = []
    for column in columns:
        parts.append((column.label, column, value))
        if column.label in results.spec.in_paper():
            parts.append((results.spec.cited_heading, column, _in_paper))
    header, *lines = _grid(results, rows, parts, marks)
    for row, line in zip(rows, lines, strict=True):
        found = sum((row.variant, seed) in results.runs for seed in results.seeds)
        line.append(f"{found}/{len(results.seeds)}" if row.variant else CITED)
    return [[*header, "runs"], *lines]


def mean(results: Results, row: Row, column: Column) -> str:
    """Return the mean over the seeds, or a dash."""
    values = [value.value for value in results.values(row, column).values()]
    return column.text(float(np.mean(values))) if values else DASH


def notes(results: Results, marks: bool = True) -> list[str]:
    """Return the lines below the table, the missing rows first, and of what explains its marks only what it shows.

    Without `marks`, nothing is said of those that Markdown and LaTeX have in cells: the numbers of missing rows, the
    cited rows, ±, intervals in brackets, p and ≈.
    """
    spec, missing = results.spec, _missing_rows(results)
    lines = [f"[{i}] {row.label}: {why}" if marks else f"{row.label}: {why}" for i, (row, why) in enumerate(missing, 1)]
    if spec.cited and marks:
        lines.append(f"{CITED}: numbers from {spec.source}, without runs here.")
    lines += _not_comparable(results)
    lines += [f"Runs differ: {name} {text}{only}" for name, text, only in _grouped(results, _facts(results)) if only]
    for columns, reason, only in _grouped(results, not_computed(results), results.runs):
        lines.append(f"Not computed: {columns}: {reason}{only}")
    cells = [list(results.values(row, column).values()) for row in spec.rows for column in results.shown_columns()]
    if marks and any(len(values) > 1 for values in cells):
        lines.append("±: standard deviation over the seeds.")
    if marks and spec.intervals and any(len(values) == 1 and values[0].interval for values in cells):
        lines.append("Intervals: 95 %, of single runs, bootstrap over the test identities.")
    lines += _about_comparisons(results, marks)
    settings = _texts(results, results.shown_columns(), _settings)
    lines += [f"{columns}: {text}{only}" for columns, text, only in _grouped(results, settings) if text]
    for note in dict.fromkeys(note for run in results.runs.values() for note in run.notes):
        keys = [key for key, run in results.runs.items() if note in run.notes]
        lines.append(note + _only(results, keys, results.runs))
    return lines


def data_text(results: Results) -> str:
    """Return the dataset's name with the runs' label, and a warning where it is not the paper's."""
    paper = results.spec.paper
    if paper and results.data == paper.data and not _subsets(results):
        return paper.label
    names = [run.label for run in results.runs.values()] + ([f"NOT {paper.label}"] if paper else [])
    return f"{results.data} ({', '.join(dict.fromkeys(names))})" if names else results.data


def size_text(size: Iterable[int]) -> str:
    """Return (height, width) in pixels as the paper writes it: 128x64."""
    return "x".join(map(str, size))


def not_computed(results: Results) -> Texts:
    """Return why runs have no value for columns; for `more_columns`, which may be left out, only what runs say."""
    texts = _texts(results, results.spec.columns, _reason)
    return texts | _texts(results, results.spec.more_columns, Run.reason)


def _reason(run: Run, column: Column) -> str | None:
    return run.reason(column) or (None if run.value(column) else NOT_EVALUATED)


def _grid(
    results: Results, rows: Collection[Row], parts: Collection[tuple[str, Column, Text]], marks: Mapping[str, str]
) -> Grid:
    """Return the rows with a column for each of `parts`: its heading, the column of the spec, the text of a cell."""
    header = [results.spec.row_heading, *(heading for heading, _, _ in parts)]
    lines = [
        [row.label + marks.get(row.variant, ""), *(text(row, column) for _, column, text in parts)] for row in rows
    ]
    return [header, *lines]


def _spread(results: Results, row: Row, column: Column) -> str:
    """Return the mean and standard deviation (ddof 1) of several seeds, or a single value with its interval."""
    values = list(results.values(row, column).values())
    text = mean(results, row, column)
    if len(values) > 1:
        return f"{text} ± {column.text(float(np.std([value.value for value in values], ddof=1)))}"
    interval = values[0].interval if values and results.spec.intervals else None
    return f"{text} {_interval(column, *interval)}" if interval else text


def _in_paper(row: Row, column: Column) -> str:
    return column.text(row.paper[column.label]) if column.label in row.paper else DASH


def _difference(comparisons: Comparisons, row: Row, column: Column) -> str:
    """Return the difference with its interval and p, or a dash."""
    found = comparisons.get((row.variant, column.label))
    if not isinstance(found, Comparison):
        return DASH
    p = f"{found.p_holm:.3f}" if found.p_holm >= 0.001 else "<0.001"
    mark = f" {ABOUT_ZERO}" if found.contains_zero else ""
    interval = _interval(column, found.difference_low, found.difference_high)
    return f"{column.text(found.difference)} {interval} p {p}{mark}"


def _interval(column: Column, low: float, high: float) -> str:
    return f"[{column.text(low)}, {column.text(high)}]"


def _missing_rows(results: Results) -> list[tuple[Row, str]]:
    """Return the rows that lack a run, with the seeds and the reason of each."""
    rows = []
    for row in results.spec.rows:
        reasons: dict[str, list[int]] = {}
        for seed in results.seeds:
            if (row.variant, seed) in results.missing:
                reasons.setdefault(results.missing[row.variant, seed], []).append(seed)
        if reasons:
            rows.append((row, "; ".join(f"{_seeds(seeds)} {why}" for why, seeds in reasons.items())))
    return rows


def _not_comparable(results: Results) -> list[str]:
    """Warn where the paper's numbers are of other data, another image size or another pose estimator."""
    paper, runs, lines = results.spec.paper, results.runs.values(), []
    if paper is not None:
        others = [run.label for run in runs] or [results.data]
        if results.data == paper.data and not (others := _subsets(results)):
            others = [size_text(run.image_size) for run in runs if run.image_size != paper.image_size]
        if others:
            named, size = " or ".join(dict.fromkeys(others)), size_text(paper.image_size)
            whose = "The paper's" if results.spec.source == "the paper" else "Published"
            lines.append(f"{whose} numbers are from {paper.label} at {size} and can't be compared with {named}.")
        lines += [paper.note] if paper.note else []
    shown = [value for column in results.shown_columns() for run in runs if (value := run.value(column))]
    estimators = dict.fromkeys(str(value.details["estimator"]) for value in shown if "estimator" in value.details)
    if estimators:
        found = " or ".join(estimators)
        lines.append(
            f"PCKh is of the keypoints that {found} finds; published values, of OpenPose's, can't be compared."
        )
    return lines


def _subsets(results: Results) -> list[str]:
    """Return the labels of runs on validation pairs or on a subset of a data set, as `twostream-prepare` gives them."""
    return [run.label for run in results.runs.values() if run.label.endswith((" subset", ", validation"))]


def _facts(results: Results) -> Texts:
    """Return what the runs of a table must share for its rows to be comparable."""
    facts: Texts = {}
    for key, run in results.runs.items():
        pairs = sorted({value.n for column in results.spec.columns if (value := run.value(column))})
        texts = {
            "image size": size_text(run.image_size),
            "iterations": str(run.iterations),
            "batch size": str(run.batch_size),
            "test pairs": "/".join(map(str, pairs)) or "none",
            "hash of test pairs": run.pairs_hash[:12],
            "test identities": str(run.identities),
            "hash of data": run.data_hash[:12],
            "commit": f"{run.commit} with uncommitted changes" if run.dirty else run.commit,
        }
        for name, text in texts.items():
            facts.setdefault(name, {})[key] = text
    return facts


def _texts(results: Results, columns: Iterable[Column], text: Callable[[Run, Column], str | None]) -> Texts:
    """Return a text for each run and column, without those that are None."""
    texts: Texts = {}
    for column in columns:
        for key, run in results.runs.items():
            found = text(run, column)
            if found is not None:
                texts.setdefault(column.label, {})[key] = found
    return texts


def _settings(run: Run, column: Column) -> str | None:
    """Return what a value was computed with, a SHA-256 in short; None without a value."""
    value = run.value(column)
    if value is None:
        return None
    texts = {name: str(setting) for name, setting in value.details.items()}
    shortened = {name: text[:12] for name, text in texts.items() if re.fullmatch("[0-9a-f]{64}", text)}
    return ", ".join(f"{name} {text}" for name, text in (texts | shortened).items())


def _about_comparisons(results: Results, marks: bool) -> list[str]:
    methods: Texts = {}
    refused: dict[str, list[str]] = {}
    compared = compare(results)
    for (variant, column), outcome in compared.items():
        if isinstance(outcome, str):
            refused.setdefault(outcome, []).append(column)
            continue
        method = f"paired t-test over {_seeds(outcome.seeds)}"
        if outcome.identities is not None:
            method = f"paired bootstrap over {outcome.identities} test identities of one seed"
            method += ", which does not cover the variation between training seeds"
        methods.setdefault(column, {}).update({(variant, seed): method for seed in outcome.seeds})
    groups = _grouped(results, methods)
    lines = [f"Differences in {columns}: {method}{only}" for columns, method, only in groups]
    if len(groups) == 1:
        lines = [f"Differences: {groups[0][1]}"]
    if methods and marks:
        about_zero = f"{ABOUT_ZERO}: the 95 % interval, which is not corrected, contains 0"
        has_zero = any(isinstance(one, Comparison) and one.contains_zero for one in compared.values())
        lines.append(f"p: two-sided, Holm-corrected over the rows of a column{f'; {about_zero}' if has_zero else ''}.")
    return lines + [f"Not compared: {', '.join(columns)}: {reason}" for reason, columns in refused.items()]


def _grouped(results: Results, texts: Texts, among: Collection[RunKey] = ()) -> list[tuple[str, str, str]]:
    """Return (columns, text, runs) for each text; `runs` is empty if all of `among`, or of the column, share it."""
    groups: dict[tuple[str, str], list[str]] = {}
    for column, by_run in texts.items():
        for text in dict.fromkeys(by_run.values()):
            keys = [key for key in by_run if by_run[key] == text]
            groups.setdefault((text, _only(results, keys, among or by_run)), []).append(column)
    return [(", ".join(columns), text, only) for (text, only), columns in groups.items()]


def _only(results: Results, keys: Collection[RunKey], among: Collection[RunKey]) -> str:
    if len(keys) == len(among):
        return ""
    names = []
    for row in results.spec.rows:
        if seeds := [seed for variant, seed in keys if variant == row.variant]:
            names.append(f"{row.label}, {_seeds(seeds)}" if len(results.seeds) > 1 else row.label)
    return f" (only {' and '.join(names)})"


def _seeds(seeds: Collection[int]) -> str:
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"
