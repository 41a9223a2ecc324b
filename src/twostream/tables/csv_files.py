"""A table's results as CSV, unrounded, for other programs."""

import csv
import io
from collections.abc import Iterable, Sequence

from twostream.tables.collect import Results
from twostream.tables.comparison import compare
from twostream.tables.notes import CITED, size_text


def csv_text(results: Results) -> str:
    """Return one line for each row, seed and column, shown or not; `missing` says why a value is empty.

    Below them one for each further number of the paper, which no run stands behind.
    """
    header = "table,row,variant,data,label,scale,seed,iterations,batch_size,image_size,commit,dirty,data_hash"
    header += ",column,metric,protocol,value,n,interval_low,interval_high,splits_std,paper,missing"
    spec, lines = results.spec, []
    for row in spec.rows:
        for seed in results.seeds:
            run = results.runs.get((row.variant, seed))
            label = run.label if run else ""
            about = (run.iterations, run.batch_size, size_text(run.image_size)) if run else ("", "", "")
            source = (run.commit, run.dirty, run.data_hash) if run else ("", "", "")
            reason = results.missing.get((row.variant, seed), "not computed")
            for column in spec.columns + spec.more_columns:
                value = results.values(row, column).get(seed)
                why = run.missing.get((column.metric, column.protocol), reason) if run else reason
                lines.append(
                    [spec.number, row.label, row.variant, results.data, label, results.scale, seed]
                    + [*about, *source, column.label, column.metric, column.protocol]
                    + ([value.value, value.n] if value else ["", ""])
                    + [*(value.interval if value and value.interval else ("", "")), value and value.splits_std]
                    + [row.paper.get(column.label, ""), "" if value else why]
                )
    for cited in spec.cited:
        for column in (column for column in spec.columns if column.label in cited.paper):
            metric = (column.label, column.metric, column.protocol)
            lines.append(
                [spec.number, cited.label, *[""] * 11, *metric, *[""] * 5, cited.paper[column.label], CITED],
            )
    return _write(header, lines)


def differences_csv(results: Results) -> str:
    """Return one line for each compared row and column that is shown; `missing` says why a difference is empty."""
    header = "table,row,variant,compare_with,data,scale,column,metric,protocol"
    header += ",seeds,identities,difference,difference_low,difference_high,p,p_holm,missing"
    spec, comparisons, lines = results.spec, compare(results), []
    for row in spec.others():
        for column in results.shown_columns():
            about = (row.label, row.variant, spec.compare_with, results.data, results.scale)
            found = comparisons.found.get((row.variant, column.label))
            tested: tuple[object, ...] = ("",) * 7
            reason = comparisons.refused.get((row.variant, column.label), "a row has no value")
            if found:
                tested = (" ".join(map(str, found.seeds)), found.identities, found.difference)
                tested += (found.low, found.high, found.p, found.p_holm)
                reason = ""
            metric = (column.label, column.metric, column.protocol)
            lines.append((spec.number, *about, *metric, *tested, reason))
    return _write(header, lines)


def _write(header: str, lines: Iterable[Sequence[object]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header.split(","))
    writer.writerows(lines)
    return out.getvalue()
