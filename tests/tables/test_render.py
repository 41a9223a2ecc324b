import csv
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from stand_ins import CPU, random_alexnet
from twostream.files import sha256_of
from twostream.metrics.lpips import LPIPS, LPIPSNet
from twostream.metrics.protocols import STANDARD
from twostream.tables.render import latex, markdown, markdown_table, short_text, values_csv, write_tables
from twostream.tables.results import collect_all
from twostream.weights import WeightStore

MARKDOWN = r"""## Table 9: A table & its title.

Does it help?

Data: synthetic (synthetic people, NOT Market-1501); {about}.

Protocol patn: SSIM, PCKh.

| Method     |  SSIM | paper | PCKh | paper | runs |
| ---------- | ----: | ----: | ---: | ----: | ---: |
| A_1 (Full) | 0.312 | 0.320 | 0.90 |  0.94 |  1/1 |
| w/o [1]    |     — | 0.313 |    — |     — |  0/1 |

- [1] w/o: seed 0 failed: \<x> & 5% \| 1 (log: synthetic/smoke/no_at_module/seed0/train.log)
- The paper's numbers are from Market-1501 at 128x64 and can't be compared with synthetic people.
- random features
"""

LATEX = r"""\begin{table}
\centering
\caption{Table 9 of the paper: A table \& its title. Data: synthetic (synthetic people, NOT Market-1501); {about}. Protocol patn: SSIM, PCKh.}
\label{tab:table9_test}
\begin{tabular}{lrrrrr}
\toprule
Method & SSIM & paper & PCKh & paper & runs \\
\midrule
A\_1 (Full) & 0.312 & 0.320 & 0.90 & 0.94 & 1/1 \\
w/o {[}1] & --- & 0.313 & --- & --- & 0/1 \\
\bottomrule
\end{tabular}
\par{\footnotesize {[}1] w/o: seed 0 failed: \textless{}x\textgreater{} \& 5\% \textbar{} 1 (log: synthetic/smoke/no\_at\_module/seed0/train.log)\par}
\par{\footnotesize The paper's numbers are from Market-1501 at 128x64 and can't be compared with synthetic people.\par}
\par{\footnotesize random features\par}
\end{table}
"""  # noqa: E501

ABOUT = "scale smoke; seed 0; image size 64x32; iterations 100; batch size 8; test pairs 64; hash of test pairs p1; "
ABOUT += "test identities 12; hash of data d1; commit abc1234"


@pytest.fixture
def failed(runs, add_run):
    """One run with odd digits, one that failed with characters special to Markdown and LaTeX."""
    add_run("full", {"ssim": 0.31249, "pckh": 0.9})
    path = runs / "synthetic/smoke/no_at_module/seed0/run.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"state": "failed", "reason": "<x> & 5% | 1"}')


def line_of(text, start):
    return next(line for line in text.splitlines() if line.startswith(start))


@pytest.mark.usefixtures("failed")
def test_a_table_is_markdown_and_latex(collected):
    assert markdown(collected()) == MARKDOWN.replace("{about}", ABOUT)
    assert latex(collected()) == LATEX.replace("{about}", ABOUT)


def test_several_seeds_give_mean_and_sample_deviation(collected, add_run):
    values = [0.31, 0.32, 0.36]
    for seed, value in enumerate(values):
        add_run("full", {"ssim": value}, seed=seed)
    add_run("no_at_module", {"ssim": 0.3}, seed=1)
    results = collected((0, 1, 2))
    text = markdown(results)
    cell = f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"
    assert cell == "0.330 ± 0.026"
    assert line_of(text, "| A_1") == f"| A_1 (Full) | {cell} | 0.320 |    — |  0.94 |  3/3 |"
    assert line_of(text, "| w/o") == "| w/o [1]    |         0.300 | 0.313 |    — |     — |  1/3 |"
    assert "- [1] w/o: seeds 0, 2 not run\n" in text
    assert "- ±: standard deviation over the seeds.\n" in text
    assert "; seeds 0, 1, 2; " in text
    assert r"A\_1 (Full) & 0.330 $\pm$ 0.026 & 0.320" in latex(results)


def test_metric_of_another_protocol_is_not_shown(collected, add_run):
    add_run("full", {"ssim/standard": 0.31})
    assert line_of(markdown(collected()), "| A_1") == "| A_1 (Full) |    — | 0.320 |    — |  0.94 |  1/1 |"


def test_column_without_numbers_of_the_paper_has_none_next_to_it(spec_path, collected, add_run, change):
    change(spec_path, ", PCKh: 0.94", "")
    add_run("full", {"ssim": 0.31, "pckh": 0.9})
    assert line_of(markdown(collected()), "| A_1") == "| A_1 (Full) | 0.310 | 0.320 | 0.90 |  1/1 |"


def test_table_without_any_run(collected):
    text = markdown(collected((0, 1)))
    assert "Data: synthetic (NOT Market-1501); scale smoke; seeds 0, 1.\n" in text
    assert line_of(text, "| A_1") == "| A_1 (Full) [1] |    — | 0.320 |    — |  0.94 |  0/2 |"


@pytest.mark.usefixtures("failed")
def test_tables_are_written_and_printed_in_short_form(spec_path, runs, add_run, tmp_path):
    add_run("full", {"ssim": 0.31249}, missing={"pckh": "no detector: " + "put one into this folder, " * 4})
    out = tmp_path / "new" / "tables"
    other = spec_path.with_name("table10_test.yaml")
    other.write_text(spec_path.read_text())
    printed = write_tables(collect_all([spec_path, other], runs / "synthetic/smoke", [0]), out)
    short = f"""Table 9: A table & its title.
| Method     |  SSIM | paper | PCKh | paper | runs |
| ---------- | ----: | ----: | ---: | ----: | ---: |
| A_1 (Full) | 0.312 | 0.320 |    — |  0.94 |  1/1 |
| w/o        |     — | 0.313 |    — |     — |  0/1 |
Data: synthetic (synthetic people, NOT Market-1501). Full table: {out}/table9_test.md
Not computed (reasons in the full table): PCKh
"""
    log = "synthetic/smoke/no_at_module/seed0/train.log"
    failed = f"synthetic/smoke/no_at_module/seed0: failed: <x> & 5% | 1 (log: {log})"
    assert printed == "\n".join([short, short.replace("table9_test", "table10_test"), failed])
    names = [f"table{number}_test.{end}" for number in (10, 9) for end in ("csv", "md", "tex")]
    assert sorted(path.name for path in out.iterdir()) == names
    assert "- Not computed: PCKh: no detector: put one" in (out / "table9_test.md").read_text(encoding="utf-8")


def test_short_form_leaves_out_columns_that_do_not_fit(spec_path, collected, add_run):
    more = "  - {label: 'Block {}', metric: 'block_{}', protocol: patn, digits: 3, count: 20}\nrows:"
    spec_path.write_text(spec_path.read_text().replace("rows:", more) + "cited: [{label: Real, paper: {SSIM: 1}}]\n")
    for seed, value in enumerate((0.25, 0.75)):
        add_run("full", {"ssim": {"value": value, "interval": [0, 1]}}, seed)
    *table, last, _ = short_text(collected((0, 1)), Path("out/x.md")).splitlines()[1:]
    assert {len(line) for line in table} <= set(range(110, 121))
    assert table[0].endswith("| Block 5 | Block 6 | runs |")
    assert table[2].startswith("| A_1 (Full) | 0.500 | 0.320 |    — |")
    assert len(table) == 4
    assert last.endswith(" Full table (14 more columns): out/x.md")


def test_write_tables_writes_nothing_on_a_wrong_file(spec_path, runs, add_run, tmp_path):
    add_run("full", {"ssim": 0.31}).write_text("{")
    with pytest.raises(ValueError, match="expected JSON"):
        write_tables(collect_all([spec_path], runs / "synthetic/smoke", [0]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


COMPARED = r"""| Method     |                 SSIM | paper | PCKh | paper | runs |
| ---------- | -------------------: | ----: | ---: | ----: | ---: |
| A_1 (Full) | 0.310 [0.295, 0.325] | 0.320 |    — |  0.94 |  1/1 |
| w/o        |                0.220 | 0.313 |    — |     — |  1/1 |
| cat        | 0.310 [0.295, 0.325] |     — |    — |     — |  1/1 |

**More metrics**

| Method     |  FID |
| ---------- | ---: |
| A_1 (Full) | 10.0 |
| w/o        | 10.0 |
| cat        |    — |

**Difference to A_1 (Full)**

| Method |                             SSIM |
| ------ | -------------------------------: |
| w/o    | -0.090 [-0.092, -0.088] p <0.001 |
| cat    |   0.000 [0.000, 0.000] p 1.000 ≈ |

- The paper's numbers are from Market-1501 at 128x64 and can't be compared with synthetic people.
- Not computed: PCKh: its evaluation has no such value
- Intervals: 95 %, of single runs, bootstrap over the test identities.
- Differences: paired bootstrap over 12 test identities of one seed, which does not cover the variation between training seeds
- p: two-sided, Holm-corrected over the rows of a column; ≈: the 95 % interval, which is not corrected, contains 0.
- Not compared: FID: no_at_module/seed0 has no replicates in bootstrap.json
- random features
"""  # noqa: E501


@pytest.mark.usefixtures("compared_path")
def test_a_comparison_is_markdown_and_latex(collected, add_run):
    """Of three runs, one is far off the first and one equals it; two columns have values of some runs only."""
    drawn, far = [0.29, 0.31, 0.32, 0.30], [0.2, 0.219, 0.229, 0.211]
    interval = {"value": 0.31, "interval": [0.2949, 0.3251]}
    add_run("full", {"ssim": interval, "fid_test/standard": 10}, replicates={"ssim": drawn, "fid_test/standard": drawn})
    add_run("no_at_module", {"ssim": 0.22, "fid_test/standard": 9.96}, replicates={"ssim": far})
    add_run("both_add", {"ssim": interval}, replicates={"ssim": drawn})
    text = markdown(collected())
    assert text[text.index("| Method") :] == COMPARED
    assert "Protocol patn: SSIM, PCKh.\n\nProtocol standard: FID.\n" in text
    text = latex(collected())
    assert r"w/o & $-$0.090 {[}$-$0.092, $-$0.088] p \textless{}0.001 \\" in text
    assert r"cat & 0.000 {[}0.000, 0.000] p 1.000 $\approx$ \\" in text
    assert r"\par{\footnotesize p: two-sided, Holm-corrected over the rows of a column; $\approx$: the" in text
    assert r"\par\medskip\textbf{Difference to A\_1 (Full)}\par\smallskip" in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 3


def test_table_of_our_own_has_no_number(spec_path, collected, add_run):
    own = re.sub(r"number: 9\n|paper: \{data.*\n", "", spec_path.read_text())
    spec_path.write_text(re.sub(r"paper: \{.*?\}", "paper: {}", own))
    assert "Data: synthetic; scale smoke; seed 0.\n" in markdown(collected())
    add_run("full", {"ssim": 0.31})
    text = markdown(collected())
    assert text.startswith("## A table & its title.\n")
    assert "Data: synthetic (synthetic people); scale smoke;" in text
    assert "paper" not in text
    assert r"\caption{A table \& its title. Data: " in latex(collected())


def test_table_without_intervals_shows_values_only(spec_path, collected, add_run):
    spec_path.write_text(spec_path.read_text() + "intervals: false\n")
    for seed, value in enumerate((0.31, 0.33)):
        add_run("full", {"ssim": {"value": value, "interval": [0.3, 0.32]}}, seed)
    text = markdown(collected())
    assert line_of(text, "| A_1") == "| A_1 (Full) | 0.310 | 0.320 |    — |  0.94 |  1/1 |"
    assert "Intervals" not in text
    assert "| A_1 (Full) | 0.320 ± 0.014 |" in markdown(collected((0, 1)))


def test_only_what_would_begin_html_is_escaped(collected, add_run):
    add_run("full", {"ssim": 0.31}, notes=["p <0.1 <b> </b> <!-- <3 *a* `b` c|d e\\f"])
    text = markdown(collected())
    assert r"- p <0.1 \<b> \</b> \<!-- <3 \*a\* \`b\` c\|d e\\f" in text


def test_text_of_files_becomes_no_link_no_row_and_no_formula(collected, add_run):
    note = "see [x](javascript:alert(1)) and ![x](http://host/y)\n| a | row |"
    add_run("full", {"ssim": 0.31}, notes=[note], label="=HYPERLINK(1)", commit="@SUM(1)")
    text = markdown(collected())
    assert r"see [x]\(javascript:alert(1)) and ![x]\(http://host/y) \| a \| row \|" in text
    (row,) = [row for row in csv.DictReader(values_csv(collected()).splitlines()) if row["value"] == "0.31"]
    assert (row["label"], row["commit"]) == ("'=HYPERLINK(1)", "'@SUM(1)")


def test_table_for_other_data_is_skipped(spec_path, runs, tmp_path):
    other = spec_path.with_name("other.yaml")
    other.write_text(spec_path.read_text() + "only_data: [market1501]\n")
    own = spec_path.with_name("own.yaml")
    own.write_text(spec_path.read_text() + "only_data: [market1501, synthetic]\ncompare_with: full\n")
    printed = write_tables(collect_all([other, own], runs / "synthetic/smoke", [0]), tmp_path / "out")
    assert printed.count("Table 9") == 1
    names = ["own-differences.csv", "own.csv", "own.md", "own.tex"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names


CITED = """cited:
  - {label: Other* (2018), paper: {PCKh: 0.912}}
  - {label: Real, paper: {SSIM: 1, PCKh: 1}}
"""
CITED_MARKDOWN = r"""| Method         |  SSIM | paper | PCKh | paper |  runs |
| -------------- | ----: | ----: | ---: | ----: | ----: |
| A_1 (Full)     | 0.310 | 0.320 |    — |  0.94 |   1/1 |
| w/o [1]        |     — | 0.313 |    — |     — |   0/1 |
| cat [2]        |     — |     — |    — |     — |   0/1 |
| Other\* (2018) |     — |     — |    — |  0.91 | cited |
| Real           |     — | 1.000 |    — |  1.00 | cited |

**More metrics**

| Method     |   FID |
| ---------- | ----: |
| A_1 (Full) | 300.0 |
| w/o [1]    |     — |
| cat [2]    |     — |

- [1] w/o: seed 0 not run
- [2] cat: seed 0 not run
- cited: numbers from the paper, without runs here.
"""


def test_rows_that_the_paper_cites_are_in_the_main_grid_only(compared_path, collected, add_run):
    compared_path.write_text(compared_path.read_text() + CITED)
    add_run("full", {"ssim": 0.31, "fid_test/standard": 300})
    text = markdown(collected())
    assert text[text.index("| Method") :].startswith(CITED_MARKDOWN)
    assert r"Other* (2018) & --- & --- & --- & 0.91 & cited \\" in latex(collected())


@pytest.mark.parametrize(
    ("padded", "lines"),
    [
        (True, ["| a    |   b | long |", "| ---- | --: | ---: |", "| long |   c |    d |"]),
        (False, ["| a | b | long |", "| --- | ---: | ---: |", "| long | c | d |"]),
    ],
)
def test_markdown_table_is_padded_for_a_terminal(padded, lines):
    assert markdown_table([["a", "b", "long"], ["long", "c", "d"]], padded).splitlines() == lines


@pytest.mark.usefixtures("compared_path")
def test_own_weight_files_and_their_hashes_are_below_the_table(collected, add_run, tmp_path):
    path = tmp_path / "mine.pth"
    torch.save(random_alexnet(), path)
    lpips = LPIPS(STANDARD, (64, 32), LPIPSNet(WeightStore(lpips=path), CPU))
    note = "perceptual loss: VGG-19 conv1_2, own file 0123abcd"
    add_run("full", {"ssim": 0.3, "lpips/standard": {"value": 0.2} | lpips.details}, notes=[note])
    lines = markdown(collected()).splitlines()
    net = f"feature_net AlexNet, LPIPS v0.1 (own file), feature_net_hash {sha256_of(path)[:12]}"
    assert [line for line in lines if "own file" in line] == [f"- LPIPS: version 1, frame 64x32, {net}", f"- {note}"]
