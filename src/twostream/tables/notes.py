"""What a table says around its numbers: the heading, what is missing, where its runs differ, their notes."""

import re
from collections.abc import Collection, Iterable

from twostream.tables.collect import Results
from twostream.tables.comparison import Comparison, compare
from twostream.tables.results import Run
from twostream.tables.spec import Row

Key = tuple[str, int]

UNDECIDED = "≈"
"""Marks a difference whose interval contains 0."""
CITED = "cited"
"""Stands where a row has no runs but numbers of the paper alone."""


def heading(results: Results) -> list[str]:
    """Return sentences on the data, the runs and the protocol; a fact that differs comes with each value."""
    runs = list(results.runs.values())
    facts = {name: _join(_facts(results, run)[name] for run in runs) for name in _FACTS}
    about = [f"scale {results.scale}", _seeds(results.seeds)]
    if runs:
        about += [f"image size {facts['image size']}", f"{facts['iterations']} iterations"]
        about += [f"batch size {facts['batch size']}", f"{facts['test pairs'] or 'no'} test pairs"]
        about += [f"commit {facts['commit']}"]
    protocols: dict[str, list[str]] = {}
    for column in results.shown_columns():
        protocols.setdefault(column.protocol, []).append(column.label)
    return [
        f"Data: {_data(results)}; {'; '.join(about)}.",
        *(f"Protocol {name}: {', '.join(labels)}." for name, labels in protocols.items()),
    ]


def notes(results: Results) -> list[str]:
    """Return the lines below the table: missing rows by their mark, warnings, then the runs' own notes."""
    return [
        *(f"[{i}] {row.label}: {why}" for i, (row, why) in enumerate(missing_rows(results), start=1)),
        *_cited(results),
        *_paper(results),
        *_not_like_for_like(results),
        *_not_computed(results),
        *_intervals(results),
        *_comparisons(results),
        *_settings(results),
        *_shared(results, ((note, key) for key, run in results.runs.items() for note in dict.fromkeys(run.notes))),
    ]


def missing_rows(results: Results) -> list[tuple[Row, str]]:
    """Return the rows that lack a run, in the table's order, with the seeds and the reason of each."""
    rows = []
    for row in results.spec.rows:
        reasons: dict[str, list[int]] = {}
        for seed in results.seeds:
            if (row.variant, seed) in results.missing:
                reasons.setdefault(results.missing[row.variant, seed], []).append(seed)
        if reasons:
            rows.append((row, "; ".join(f"{_seeds(seeds)} {why}" for why, seeds in reasons.items())))
    return rows


def size_text(size: tuple[int, int]) -> str:
    """Return (height, width) in pixels as the paper writes it: 128x64."""
    return f"{size[0]}x{size[1]}"


_FACTS = ("data_hash", "pairs_hash", "iterations", "image size", "batch size", "test pairs", "commit")


def _facts(results: Results, run: Run) -> dict[str, str]:
    """Return what the runs of a table must share for its rows to be compared."""
    wanted = {(column.metric, column.protocol) for column in results.spec.columns}
    pairs = sorted({value.n for value in run.values if (value.metric, value.protocol) in wanted})
    facts = (
        run.data_hash[:12],
        run.pairs_hash[:12],
        str(run.iterations),
        size_text(run.image_size),
        str(run.batch_size),
        _join(map(str, pairs)),
        f"{run.commit} with uncommitted changes" if run.dirty else run.commit,
    )
    return dict(zip(_FACTS, facts, strict=True))


def _data(results: Results) -> str:
    """Return the data set's name, with a warning where it is not the paper's."""
    paper, label = results.spec.paper, _label(results)
    if paper is None:
        return results.data if label == results.data else f"{results.data} ({label})"
    return label if results.data == paper.data else f"{results.data} ({label}, NOT {paper.label})"


def _cited(results: Results) -> list[str]:
    """Say whose numbers the rows without runs have."""
    return [f"{CITED}: numbers that the paper gives; no run here stands behind them."] if results.spec.cited else []


def _paper(results: Results) -> list[str]:
    """Warn where the paper's numbers are of other data or of another image size."""
    paper = results.spec.paper
    if paper is None:
        return []
    sizes = sorted({run.image_size for run in results.runs.values()} - {paper.image_size})
    others = [_label(results)] if results.data != paper.data else [size_text(size) for size in sizes]
    if not others:
        return []
    source = f"{paper.label} at {size_text(paper.image_size)}"
    return [f"The paper's numbers are from {source} and can't be compared with {_join(others)}."]


def _not_like_for_like(results: Results) -> list[str]:
    lines = []
    for name in _FACTS:
        groups: dict[str, list[Key]] = {}
        for key, run in results.runs.items():
            if fact := _facts(results, run)[name]:
                groups.setdefault(fact, []).append(key)
        if len(groups) > 1:
            parts = (f"{fact} in {_names(results, keys)}" for fact, keys in groups.items())
            lines.append(f"Not like for like, {name}: {'; '.join(parts)}.")
    return lines


def _not_computed(results: Results) -> list[str]:
    """Name each run's missing metrics by their reason; a hidden column has nothing to say without one."""
    shown = results.shown_columns()
    lines = []
    for key, run in results.runs.items():
        computed = {(value.metric, value.protocol) for value in run.values}
        reasons: dict[str, list[str]] = {}
        for column in results.spec.columns + results.spec.more_columns:
            metric = column.metric, column.protocol
            if metric not in computed and (metric in run.missing or column in shown):
                reasons.setdefault(run.missing.get(metric, ""), []).append(column.label)
        for reason, labels in reasons.items():
            lines.append((f"Not computed: {', '.join(labels)}" + (f": {reason}" if reason else ""), key))
    return _shared(results, lines)


def _intervals(results: Results) -> list[str]:
    """Say what the intervals are, where a cell shows one."""
    identities = [
        str(results.runs[row.variant, seed].identities)
        for row in results.spec.rows
        for column in results.shown_columns()
        if len(values := results.values(row, column)) == 1
        for seed, value in values.items()
        if value.interval
    ]
    if not identities or not results.spec.intervals:
        return []
    return [f"Intervals: 95 %, bootstrap over {_join(identities)} test identities."]


def _comparisons(results: Results) -> list[str]:
    """Say how the differences were tested, what their mark means, and which could not be had."""
    comparisons = compare(results)
    labels = {row.variant: row.label for row in results.spec.rows}
    methods: dict[str, dict[str, list[str]]] = {}
    for (variant, column), comparison in comparisons.found.items():
        methods.setdefault(_method(comparison), {}).setdefault(labels[variant], []).append(column)
    lines = []
    for method, rows in methods.items():
        where = "; ".join(f"{row}: {', '.join(columns)}" for row, columns in rows.items())
        lines.append(f"Differences: {method}." + (f" Here: {where}." if len(methods) > 1 else ""))
    if methods:
        lines.append(
            "p: two-sided, after Holm's correction over the rows of each column; the 95 % intervals are uncorrected."
        )
    if any(comparison.undecided for comparison in comparisons.found.values()):
        lines.append(f"{UNDECIDED}: the interval contains 0, so it does not carry a difference in either direction.")
    refused: dict[str, list[str]] = {}
    for (_, column), reason in comparisons.refused.items():
        refused.setdefault(reason, []).append(column)
    return lines + [f"Not compared: {', '.join(columns)}: {reason}" for reason, columns in refused.items()]


def _method(comparison: Comparison) -> str:
    if comparison.identities is None:
        return f"paired t-test over {_seeds(comparison.seeds)}"
    sample = f"paired bootstrap over {comparison.identities} test identities"
    return f"{sample}, {_seeds(comparison.seeds)} alone: says nothing about training again with another seed"


def _settings(results: Results) -> list[str]:
    """Return each metric setting once, columns and runs that share it together."""
    lines: dict[tuple[str, str], list[str]] = {}
    for column in results.shown_columns():
        settings: dict[str, list[Key]] = {}
        for row in results.spec.rows:
            for seed, value in results.values(row, column).items():
                text = ", ".join(f"{name} {_setting(setting)}" for name, setting in value.details.items())
                settings.setdefault(text, []).append((row.variant, seed))
        for text, keys in settings.items():
            # Without a value there is no setting: only runs that have both can differ.
            only = f" (only {_names(results, keys)})" if len(settings) > 1 else ""
            if text:
                lines.setdefault((text, only), []).append(column.label)
    return [f"{', '.join(labels)}: {text}{only}" for (text, only), labels in lines.items()]


def _setting(setting: object) -> str:
    text = str(setting)
    return text[:12] if re.fullmatch("[0-9a-f]{64}", text) else text


def _shared(results: Results, lines: Iterable[tuple[str, Key]]) -> list[str]:
    """Return each line once, with its runs unless all share it."""
    runs: dict[str, list[Key]] = {}
    for line, key in lines:
        runs.setdefault(line, []).append(key)
    return [
        line if len(keys) == len(results.runs) else f"{line} (only {_names(results, keys)})"
        for line, keys in runs.items()
    ]


def _names(results: Results, keys: Collection[Key]) -> str:
    rows = ((row, [seed for variant, seed in keys if variant == row.variant]) for row in results.spec.rows)
    return " and ".join(f"{row.label}, {_seeds(seeds)}" for row, seeds in rows if seeds)


def _label(results: Results) -> str:
    """Return what the runs call their data; without any run, what the paper or the folder does."""
    paper = results.spec.paper
    unknown = paper.label if paper and results.data == paper.data else results.data
    return _join(run.label for run in results.runs.values()) or unknown


def _seeds(seeds: Collection[int]) -> str:
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"


def _join(texts: Iterable[str]) -> str:
    return " or ".join(dict.fromkeys(filter(None, texts)))
