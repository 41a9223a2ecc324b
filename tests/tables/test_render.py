import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from twostream.tables.collect import Results, collect
from twostream.tables.render import latex, markdown, write_tables
from twostream.tables.spec import load_spec

AddRun = Callable[..., Path]

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

ABOUT = "scale smoke; seed 0; image size 64x32; 100 iterations; batch size 8; 64 test pairs; commit abc1234"


@pytest.fixture
def failed(runs: Path, add_run: AddRun) -> None:
    """One run with odd digits, one that failed with characters special to Markdown and LaTeX."""
    add_run("full", {"ssim": 0.31249, "pckh": 0.9})
    status = runs / "synthetic/smoke/no_at_module/seed0/run.json"
    status.parent.mkdir(parents=True)
    status.write_text('{"state": "failed", "reason": "<x> & 5% | 1"}')


def _collect(spec_path: Path, runs: Path, seeds: tuple[int, ...] = (0,), data: str = "synthetic") -> Results:
    return collect(load_spec(spec_path), runs, data, "smoke", seeds)


def _line(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(start))


@pytest.mark.usefixtures("failed")
def test_markdown(spec_path: Path, runs: Path):
    assert markdown(_collect(spec_path, runs)) == MARKDOWN.replace("{about}", ABOUT)


@pytest.mark.usefixtures("failed")
def test_latex(spec_path: Path, runs: Path):
    assert latex(_collect(spec_path, runs)) == LATEX.replace("{about}", ABOUT)


def test_several_seeds_give_mean_and_sample_deviation(spec_path: Path, runs: Path, add_run: AddRun):
    values = [0.31, 0.32, 0.36]
    for seed, value in enumerate(values):
        add_run("full", {"ssim": value}, seed=seed)
    add_run("no_at_module", {"ssim": 0.3}, seed=1)
    results = _collect(spec_path, runs, (0, 1, 2))
    text = markdown(results)
    cell = f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"
    assert cell == "0.330 ± 0.026"
    assert _line(text, "| A_1") == f"| A_1 (Full) | {cell} | 0.320 |    — |  0.94 |  3/3 |"
    assert _line(text, "| w/o") == "| w/o [1]    |         0.300 | 0.313 |    — |     — |  1/3 |"
    assert "- [1] w/o: seeds 0, 2 not run\n" in text
    assert "; seeds 0, 1, 2; " in text
    assert r"A\_1 (Full) & 0.330 $\pm$ 0.026 & 0.320" in latex(results)


def test_metric_of_another_protocol_is_not_shown(spec_path: Path, runs: Path, add_run: AddRun):
    path = add_run("full", {"ssim": 0.31})
    path.write_text(path.read_text().replace('"patn"', '"standard"'))
    assert _line(markdown(_collect(spec_path, runs)), "| A_1") == "| A_1 (Full) |    — | 0.320 |    — |  0.94 |  1/1 |"


def test_column_without_paper_numbers_stands_alone(spec_path: Path, runs: Path, add_run: AddRun):
    spec_path.write_text(spec_path.read_text().replace(", PCKh: 0.94", ""))
    add_run("full", {"ssim": 0.31, "pckh": 0.9})
    assert _line(markdown(_collect(spec_path, runs)), "| A_1") == "| A_1 (Full) | 0.310 | 0.320 | 0.90 |  1/1 |"


def test_table_without_any_run(spec_path: Path, runs: Path):
    text = markdown(_collect(spec_path, runs, (0, 1)))
    assert "Data: synthetic (synthetic, NOT Market-1501); scale smoke; seeds 0, 1.\n" in text
    assert _line(text, "| A_1") == "| A_1 (Full) [1] |    — | 0.320 |    — |  0.94 |  0/2 |"


@pytest.mark.usefixtures("failed")
def test_write_tables(spec_path: Path, runs: Path, tmp_path: Path):
    out = tmp_path / "new" / "tables"
    printed = write_tables([spec_path], runs, "synthetic", "smoke", [0], out)
    table = MARKDOWN.replace("{about}", ABOUT)
    log = "synthetic/smoke/no_at_module/seed0/train.log"
    assert printed == f"{table}\nsynthetic/smoke/no_at_module/seed0: failed: <x> & 5% | 1 (log: {log})"
    assert sorted(path.name for path in out.iterdir()) == [f"table9_test.{end}" for end in ("csv", "md", "tex")]
    assert (out / "table9_test.md").read_text(encoding="utf-8") == table


def test_write_tables_names_a_missing_run_once(spec_path: Path, runs: Path, tmp_path: Path):
    other = spec_path.with_name("table10_test.yaml")
    other.write_text(spec_path.read_text())
    printed = write_tables([spec_path, other], runs, "synthetic", "smoke", [0], tmp_path / "out")
    assert printed.splitlines()[-2:] == [
        "synthetic/smoke/full/seed0: not run",
        "synthetic/smoke/no_at_module/seed0: not run",
    ]
    assert printed.count("synthetic/smoke/full/seed0: not run") == 1


def test_write_tables_writes_nothing_on_a_wrong_file(spec_path: Path, runs: Path, add_run: AddRun, tmp_path: Path):
    add_run("full", {"ssim": 0.31}).write_text("{")
    with pytest.raises(ValueError, match="expected JSON"):
        write_tables([spec_path], runs, "synthetic", "smoke", [0], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def _add_compared(add_run: AddRun) -> None:
    """Three runs of one seed: one far off the first, one that equals it; two columns that only some have."""
    drawn = [0.29, 0.31, 0.32, 0.30]
    interval = {"value": 0.31, "interval": [0.2949, 0.3251]}
    add_run("full", {"ssim": interval, "fid_test/standard": 10}, replicates={"ssim": drawn, "fid_test/standard": drawn})
    far = [0.2, 0.219, 0.229, 0.211]
    add_run("no_at_module", {"ssim": 0.22, "fid_test/standard": 9.96}, replicates={"ssim": far})
    add_run("both_add", {"ssim": interval}, replicates={"ssim": drawn})


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
- Not computed: PCKh (only A_1 (Full), seed 0 and w/o, seed 0)
- Not computed: PCKh, FID (only cat, seed 0)
- Intervals: 95 %, bootstrap over 12 test identities.
- Differences: paired bootstrap over 12 test identities, seed 0 alone: says nothing about training again with another seed.
- p: two-sided, after Holm's correction over the rows of each column; the 95 % intervals are uncorrected.
- ≈: the interval contains 0, so it does not carry a difference in either direction.
- Not compared: FID: no_at_module/seed0 has no replicates in bootstrap.json
- random features
"""  # noqa: E501


def test_markdown_of_a_comparison(compared_path: Path, runs: Path, add_run: AddRun):
    _add_compared(add_run)
    text = markdown(_collect(compared_path, runs))
    assert text[text.index("| Method") :] == COMPARED
    assert "Protocol patn: SSIM, PCKh.\n\nProtocol standard: FID.\n" in text


def test_latex_of_a_comparison(compared_path: Path, runs: Path, add_run: AddRun):
    _add_compared(add_run)
    text = latex(_collect(compared_path, runs))
    assert r"w/o & $-$0.090 {[}$-$0.092, $-$0.088] p \textless{}0.001 \\" in text
    assert r"cat & 0.000 {[}0.000, 0.000] p 1.000 $\approx$ \\" in text
    assert r"\par{\footnotesize $\approx$: the interval" in text
    assert r"\par\medskip\textbf{Difference to A\_1 (Full)}\par\smallskip" in text
    _assert_balanced(text, tabulars=3)


def _assert_balanced(text: str, tabulars: int) -> None:
    """Environments close in the order they open, braces pair up, every row has as many cells as its tabular."""
    open_ones: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if kind == "begin":
            open_ones.append(name)
        else:
            assert open_ones.pop() == name
    assert not open_ones
    bare = re.sub(r"\\[{}$]", "", text)
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    found = re.findall(r"\\begin\{tabular\}\{(\w+)\}\n(.*?)\\end\{tabular\}", text, re.DOTALL)
    assert len(found) == tabulars
    for columns, body in found:
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert len(rows) > 1
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {len(columns)}


def test_table_of_our_own_has_no_number(spec_path: Path, runs: Path, add_run: AddRun):
    own = re.sub(r"number: 9\n|paper: \{data.*\n", "", spec_path.read_text())
    spec_path.write_text(re.sub(r"paper: \{.*?\}", "paper: {}", own))
    add_run("full", {"ssim": 0.31})
    text = markdown(_collect(spec_path, runs))
    assert text.startswith("## A table & its title.\n")
    assert "Data: synthetic (synthetic people); scale smoke;" in text
    assert "paper" not in text
    assert r"\caption{A table \& its title. Data: " in latex(_collect(spec_path, runs))


def test_table_of_our_own_without_any_run(spec_path: Path, runs: Path):
    own = re.sub(r"paper: \{data.*\n", "", spec_path.read_text())
    spec_path.write_text(re.sub(r"paper: \{.*?\}", "paper: {}", own))
    assert "Data: synthetic; scale smoke; seed 0.\n" in markdown(_collect(spec_path, runs))


def test_table_without_intervals_shows_the_numbers_alone(spec_path: Path, runs: Path, add_run: AddRun):
    spec_path.write_text(spec_path.read_text() + "intervals: false\n")
    add_run("full", {"ssim": {"value": 0.31, "interval": [0.3, 0.32]}})
    text = markdown(_collect(spec_path, runs))
    assert _line(text, "| A_1") == "| A_1 (Full) | 0.310 | 0.320 |    — |  0.94 |  1/1 |"
    assert "Intervals" not in text


def test_only_what_would_begin_html_is_escaped(spec_path: Path, runs: Path, add_run: AddRun):
    add_run("full", {"ssim": 0.31}, notes=["p <0.1 <b> </b> <!-- <3 *a* `b` c|d e\\f"])
    text = markdown(_collect(spec_path, runs))
    assert r"- p <0.1 \<b> \</b> \<!-- <3 \*a\* \`b\` c\|d e\\f" in text


def test_table_for_other_data_is_skipped(spec_path: Path, runs: Path, add_run: AddRun, tmp_path: Path):
    add_run("full", {"ssim": 0.31})
    other = spec_path.with_name("other.yaml")
    other.write_text(spec_path.read_text() + "only_data: [market1501]\n")
    own = spec_path.with_name("own.yaml")
    own.write_text(spec_path.read_text() + "only_data: [market1501, synthetic]\n")
    printed = write_tables([other, own], runs, "synthetic", "smoke", [0], tmp_path / "out")
    assert printed.count("## Table") == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["own.csv", "own.md", "own.tex"]


def test_comparison_has_a_file_of_differences(compared_path: Path, runs: Path, add_run: AddRun, tmp_path: Path):
    _add_compared(add_run)
    write_tables([compared_path], runs, "synthetic", "smoke", [0], tmp_path / "out")
    names = [f"table9_test{end}" for end in ("-differences.csv", ".csv", ".md", ".tex")]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names


def test_equal_runs_give_equal_tables(compared_path: Path, runs: Path, add_run: AddRun, tmp_path: Path):
    _add_compared(add_run)
    texts = []
    for out in (tmp_path / "first", tmp_path / "second"):
        write_tables([compared_path], runs, "synthetic", "smoke", [0], out)
        texts.append([path.read_bytes() for path in sorted(out.iterdir())])
    assert texts[0] == texts[1]
