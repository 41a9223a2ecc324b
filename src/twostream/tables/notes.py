"""The text around a table's numbers: the data, missing runs, differing runs, methods, settings, the runs' notes."""

import re
from collections.abc import Collection

from twostream.tables.comparison import Comparisons
from twostream.tables.results import Results, RunKey
from twostream.tables.spec import Row

ABOUT_ZERO = "≈"  # marks a difference whose interval contains 0
CITED = "cited"  # replaces the number of runs

Texts = dict[str, dict[RunKey, str]]  # a text of each run, by column or fact


def heading(results: Results) -> list[str]:
    """Return sentences on the data, the runs and the protocols; where runs differ, with the values of all of them."""
    about = [f"Data: {data_text(results)}", f"scale {results.scale}", _seeds(results.seeds)]
    about += [f"{name} {' or '.join(dict.fromkeys(by_run.values()))}" for name, by_run in _facts(results).items()]
    protocols: dict[str, list[str]] = {}
    for column in results.shown_columns():
        protocols.setdefault(column.protocol, []).append(column.label)
    return [f"{'; '.join(about)}.", *(f"Protocol {name}: {', '.join(labels)}." for name, labels in protocols.items())]


def notes(results: Results, comparisons: Comparisons) -> list[str]:
    """Return the lines below the table, the missing rows first with their marks."""
    lines = [f"[{i}] {row.label}: {why}" for i, (row, why) in enumerate(missing_rows(results), start=1)]
    if results.spec.cited:
        lines.append(f"{CITED}: numbers from the paper, without runs here.")
    lines += _not_comparable(results)
    lines += [f"Runs differ: {name} {text}{only}" for name, text, only in grouped(results, _facts(results)) if only]
    for columns, reason, only in grouped(results, not_computed(results), results.runs):
        lines.append(f"Not computed: {columns}: {reason}{only}")
    if len(results.seeds) > 1:
        lines.append("±: standard deviation over the seeds.")
    if results.spec.intervals and results.runs:
        lines.append("Intervals: 95 %, of single runs, bootstrap over the test identities.")
    lines += _about_comparisons(results, comparisons)
    lines += [f"{columns}: {text}{only}" for columns, text, only in grouped(results, _settings(results)) if text]
    for note in dict.fromkeys(note for run in results.runs.values() for note in run.notes):
        keys = [key for key, run in results.runs.items() if note in run.notes]
        lines.append(note + _only(results, keys, results.runs))
    return lines


def missing_rows(results: Results) -> list[tuple[Row, str]]:
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


def data_text(results: Results) -> str:
    """Return the data set's name with the runs' label, and a warning where it is not the paper's."""
    paper = results.spec.paper
    if paper and results.data == paper.data:
        return paper.label
    names = [run.label for run in results.runs.values()] + ([f"NOT {paper.label}"] if paper else [])
    return f"{results.data} ({', '.join(dict.fromkeys(names))})" if names else results.data


def size_text(size: Collection[int]) -> str:
    """Return (height, width) in pixels as the paper writes it: 128x64."""
    return "x".join(map(str, size))


def _not_comparable(results: Results) -> list[str]:
    """Warn where the paper's numbers are of other data or another image size."""
    paper, runs = results.spec.paper, results.runs.values()
    if paper is None:
        return []
    size = size_text(paper.image_size)
    others = [run.label for run in runs] or [results.data]
    if results.data == paper.data:
        others = [size_text(run.image_size) for run in runs if run.image_size != paper.image_size]
    if not others:
        return []
    named = " or ".join(dict.fromkeys(others))
    return [f"The paper's numbers are from {paper.label} at {size} and can't be compared with {named}."]


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


def not_computed(results: Results) -> Texts:
    """Return the reasons that runs give for columns without a value."""
    reasons: Texts = {}
    for column in results.spec.all_columns():
        for key, run in results.runs.items():
            if reason := run.reason(column):
                reasons.setdefault(column.label, {})[key] = reason
    return reasons


def _settings(results: Results) -> Texts:
    settings: Texts = {}
    for column in results.shown_columns():
        for key, run in results.runs.items():
            if value := run.value(column):
                texts = [f"{name} {_shortened(str(setting))}" for name, setting in value.details.items()]
                settings.setdefault(column.label, {})[key] = ", ".join(texts)
    return settings


def _shortened(text: str) -> str:
    return text[:12] if re.fullmatch("[0-9a-f]{64}", text) else text


def _about_comparisons(results: Results, comparisons: Comparisons) -> list[str]:
    methods: Texts = {}
    refused: dict[str, list[str]] = {}
    for (variant, column), outcome in comparisons.items():
        if isinstance(outcome, str):
            refused.setdefault(outcome, []).append(column)
            continue
        method = f"paired t-test over {_seeds(outcome.seeds)}"
        if outcome.identities is not None:
            method = f"paired bootstrap over {outcome.identities} test identities of one seed"
            method += ", which does not cover the variation between training seeds"
        methods.setdefault(column, {}).update({(variant, seed): method for seed in outcome.seeds})
    groups = grouped(results, methods)
    lines = [f"Differences in {columns}: {method}{only}" for columns, method, only in groups]
    if len(groups) == 1:
        lines = [f"Differences: {groups[0][1]}"]
    if methods:
        lines.append(
            f"p: two-sided, Holm-corrected over the rows of a column; {ABOUT_ZERO}: "
            "the 95 % interval, which is not corrected, contains 0."
        )
    return lines + [f"Not compared: {', '.join(columns)}: {reason}" for reason, columns in refused.items()]


def grouped(results: Results, texts: Texts, among: Collection[RunKey] = ()) -> list[tuple[str, str, str]]:
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
