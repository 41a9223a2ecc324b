"""Rows that the paper cites: its numbers, never ours."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from twostream.tables.collect import Results, collect
from twostream.tables.csv_files import csv_text
from twostream.tables.notes import notes
from twostream.tables.render import latex, markdown
from twostream.tables.spec import load_spec

AddRun = Callable[..., Path]

CITED = """cited:
  - {label: Other* (2018), paper: {PCKh: 0.912}}
  - {label: Real, paper: {SSIM: 1, PCKh: 1}}
"""
NOTE = "cited: numbers that the paper gives; no run here stands behind them."
MARKDOWN = rf"""| Method         |  SSIM | paper | PCKh | paper |  runs |
| -------------- | ----: | ----: | ---: | ----: | ----: |
| A_1 (Full)     | 0.310 | 0.320 | 0.90 |  0.94 |   1/1 |
| w/o            | 0.300 | 0.313 | 0.80 |     — |   1/1 |
| Other\* (2018) |     — |     — |    — |  0.91 | cited |
| Real           |     — | 1.000 |    — |  1.00 | cited |

- {NOTE}
- The paper's numbers are from Market-1501 at 128x64 and can't be compared with synthetic people.
- random features
"""


def _collect(spec_path: Path, runs: Path, seeds: tuple[int, ...] = (0,)) -> Results:
    return collect(load_spec(spec_path), runs, "synthetic", "smoke", seeds)


@pytest.fixture
def cited_path(spec_path: Path, add_run: AddRun) -> Path:
    """A spec with cited rows and a run for each of its own."""
    spec_path.write_text(spec_path.read_text() + CITED)
    add_run("full", {"ssim": 0.31, "pckh": 0.9})
    add_run("no_at_module", {"ssim": 0.3, "pckh": 0.8})
    return spec_path


def test_they_stand_below_the_rows_with_the_papers_numbers_alone(cited_path: Path, runs: Path):
    text = markdown(_collect(cited_path, runs))
    assert text[text.index("| Method") :] == MARKDOWN


def test_latex_has_them_too(cited_path: Path, runs: Path):
    text = latex(_collect(cited_path, runs))
    assert r"Other* (2018) & --- & --- & --- & 0.91 & cited \\" in text
    assert rf"\par{{\footnotesize {NOTE}\par}}" in text


def test_they_stand_in_no_other_grid(compared_path: Path, runs: Path, add_run: AddRun):
    compared_path.write_text(compared_path.read_text() + CITED)
    add_run("full", {"ssim": 0.3, "lpips/standard": 0.4}, replicates={"ssim": [0.3, 0.31]})
    add_run("both_add", {"ssim": 0.1}, replicates={"ssim": [0.1, 0.111]})
    text = markdown(_collect(compared_path, runs))
    assert "**More metrics**" in text
    assert "**Difference to A_1 (Full)**" in text
    assert text.count("| Other") == text.count("| Real") == 1


def test_a_column_without_any_number_of_the_paper_stays_alone(cited_path: Path, runs: Path):
    text = cited_path.read_text().replace(", PCKh: 0.94", "")
    cited_path.write_text(text.replace(CITED, "cited: [{label: Other, paper: {SSIM: 0.3}}]\n"))
    lines = markdown(_collect(cited_path, runs)).splitlines()
    assert "| Method     |  SSIM | paper | PCKh |  runs |" in lines
    assert "| Other      |     — | 0.300 |    — | cited |" in lines


def test_a_table_without_them_explains_none(spec_path: Path, runs: Path):
    assert NOTE not in notes(_collect(spec_path, runs))


def test_csv_has_each_number_once_and_of_no_run(cited_path: Path, runs: Path):
    rows = list(csv.DictReader(csv_text(_collect(cited_path, runs, (0, 1))).splitlines()))
    assert len(rows) == 2 * 2 * 2 + 3
    cited = [{key: cell for key, cell in row.items() if cell} for row in rows[-3:]]
    ssim = {"column": "SSIM", "metric": "ssim", "protocol": "patn", "missing": "cited"}
    pckh = {"column": "PCKh", "metric": "pckh", "protocol": "patn", "missing": "cited"}
    assert cited == [
        {"table": "9", "row": "Other* (2018)", "paper": "0.912", **pckh},
        {"table": "9", "row": "Real", "paper": "1.0", **ssim},
        {"table": "9", "row": "Real", "paper": "1.0", **pckh},
    ]
