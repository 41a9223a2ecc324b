"""What a table says around its numbers: the heading, what is missing, where its runs differ, their notes."""

from collections.abc import Collection, Iterable

from twostream.tables.collect import Results, Run
from twostream.tables.spec import Row

Key = tuple[str, int]


def heading(results: Results) -> list[str]:
    """Return sentences on the data, the runs and the protocol; a fact that differs comes with each value."""
    spec, runs = results.spec, list(results.runs.values())
    facts = {name: _join(_facts(results, run)[name] for run in runs) for name in _FACTS}
    label = _label(results)
    data = label if results.data == spec.paper_data else f"{results.data} ({label}, NOT {spec.paper_label})"
    about = [f"scale {results.scale}", _seeds(results.seeds)]
    if runs:
        about += [f"image size {facts['image size']}", f"{facts['iterations']} iterations"]
        about += [f"batch size {facts['batch size']}", f"{facts['test pairs'] or 'no'} test pairs"]
        about += [f"commit {facts['commit']}"]
    protocols: dict[str, list[str]] = {}
    for column in spec.columns:
        protocols.setdefault(column.protocol, []).append(column.label)
    return [
        f"Data: {data}; {'; '.join(about)}.",
        *(f"Protocol {name}: {', '.join(labels)}." for name, labels in protocols.items()),
    ]


def notes(results: Results) -> list[str]:
    """Return the lines below the table: missing rows by their mark, warnings, then the runs' own notes."""
    lines = [f"[{i}] {row.label}: {why}" for i, (row, why) in enumerate(missing_rows(results), start=1)]
    spec = results.spec
    sizes = sorted({run.image_size for run in results.runs.values()} - {spec.image_size})
    others = [_label(results)] if results.data != spec.paper_data else [size_text(size) for size in sizes]
    if others:
        paper = f"{spec.paper_label} at {size_text(spec.image_size)}"
        lines.append(f"The paper's numbers are from {paper} and can't be compared with {_join(others)}.")
    for name in _FACTS:
        groups: dict[str, list[Key]] = {}
        for key, run in results.runs.items():
            if fact := _facts(results, run)[name]:
                groups.setdefault(fact, []).append(key)
        if len(groups) > 1:
            parts = (f"{fact} in {_names(results, keys)}" for fact, keys in groups.items())
            lines.append(f"Not like for like, {name}: {'; '.join(parts)}.")
    return lines + _remarks(results)


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


_FACTS = ("data_hash", "iterations", "image size", "batch size", "test pairs", "commit")


def _facts(results: Results, run: Run) -> dict[str, str]:
    """Return what the runs of a table must share for its rows to be compared."""
    wanted = {(column.metric, column.protocol) for column in results.spec.columns}
    pairs = sorted({value.n for value in run.values if (value.metric, value.protocol) in wanted})
    facts = (
        run.data_hash[:12],
        str(run.iterations),
        size_text(run.image_size),
        str(run.batch_size),
        _join(map(str, pairs)),
        f"{run.commit} with uncommitted changes" if run.dirty else run.commit,
    )
    return dict(zip(_FACTS, facts, strict=True))


def _remarks(results: Results) -> list[str]:
    """Return each note, missing metric and metric setting once, with its runs unless all share it."""
    remarks: dict[str, list[Key]] = {}
    columns = results.spec.columns
    for key, run in results.runs.items():
        values = {(value.metric, value.protocol): value for value in run.values}
        absent = [column.label for column in columns if (column.metric, column.protocol) not in values]
        lines = [f"Not computed: {', '.join(absent)}"] if absent else []
        for column in columns:
            value = values.get((column.metric, column.protocol))
            if value and value.details:
                settings = ", ".join(f"{name} {setting}" for name, setting in value.details.items())
                lines.append(f"{column.label}: {settings}")
        for line in dict.fromkeys([*lines, *run.notes]):
            remarks.setdefault(line, []).append(key)
    return [
        line if len(keys) == len(results.runs) else f"{line} (only {_names(results, keys)})"
        for line, keys in remarks.items()
    ]


def _names(results: Results, keys: Collection[Key]) -> str:
    rows = ((row, [seed for variant, seed in keys if variant == row.variant]) for row in results.spec.rows)
    return " and ".join(f"{row.label}, {_seeds(seeds)}" for row, seeds in rows if seeds)


def _label(results: Results) -> str:
    unknown = results.spec.paper_label if results.data == results.spec.paper_data else results.data
    return _join(run.label for run in results.runs.values()) or unknown


def _seeds(seeds: Collection[int]) -> str:
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"


def _join(texts: Iterable[str]) -> str:
    return " or ".join(dict.fromkeys(filter(None, texts)))
