import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from twostream.tables.collect import Results, collect
from twostream.tables.render import csv_text, latex, markdown, write_tables
from twostream.tables.spec import load_spec

AddRun = Callable[..., Path]

MARKDOWN = r"""## Table 9: A table & its title.

Does it help?

Data: synthetic (generated people, NOT Market-1501); {about}.

Protocol patn: SSIM, PCKh.

| Method     |  SSIM | paper | PCKh | paper | runs |
| ---------- | ----: | ----: | ---: | ----: | ---: |
| A_1 (Full) | 0.312 | 0.320 | 0.90 |  0.94 |  1/1 |
| w/o [1]    |     — | 0.313 |    — |     — |  0/1 |

- [1] w/o: seed 0 failed: \<x> & 5% \| 1 (log: synthetic/smoke/no_at_module/seed0/train.log)
- The paper's numbers are from Market-1501 at 128x64 and can't be compared with generated people.
- random features
"""

LATEX = r"""\begin{table}
\centering
\caption{Table 9 of the paper: A table \& its title. Data: synthetic (generated people, NOT Market-1501); {about}. Protocol patn: SSIM, PCKh.}
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
\par{\footnotesize The paper's numbers are from Market-1501 at 128x64 and can't be compared with generated people.\par}
\par{\footnotesize random features\par}
\end{table}
"""  # noqa: E501

ABOUT = "scale smoke; seed 0; image size 64x32; 100 iterations; batch size 8; 64 test pairs; commit abc1234"


@pytest.fixture
def failed(runs: Path, add_run: AddRun) -> None:
    """One run with odd digits, one that failed with characters special to Markdown and LaTeX."""
    add_run("full", {"ssim": 0.31249, "pckh": 0.9})
    status = runs / "synthetic/smoke/no_at_module/seed0/status.json"
    status.parent.mkdir(parents=True)
    status.write_text('{"state": "failed", "error": "<x> & 5% | 1", "log": "train.log"}')


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


def test_csv_is_unrounded(spec_path: Path, runs: Path, add_run: AddRun):
    add_run("full", {"ssim": 0.1 + 0.2})
    lines = csv_text(_collect(spec_path, runs)).splitlines()
    assert lines == [
        "table,row,variant,data,label,scale,seed,iterations,batch_size,image_size,commit,dirty,data_hash,"
        "column,metric,protocol,value,n,paper,missing",
        "9,A_1 (Full),full,synthetic,generated people,smoke,0,100,8,64x32,abc1234,False,d1,"
        "SSIM,ssim,patn,0.30000000000000004,64,0.32,",
        "9,A_1 (Full),full,synthetic,generated people,smoke,0,100,8,64x32,abc1234,False,d1,"
        "PCKh,pckh,patn,,,0.94,not computed",
        "9,w/o,no_at_module,synthetic,,smoke,0,,,,,,,SSIM,ssim,patn,,,0.313,not run",
        "9,w/o,no_at_module,synthetic,,smoke,0,,,,,,,PCKh,pckh,patn,,,,not run",
    ]


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
    rows = list(csv.DictReader(csv_text(results).splitlines()))
    assert [float(row["value"]) for row in rows if row["variant"] == "full" and row["value"]] == values


def test_metric_of_some_runs_only_is_named(spec_path: Path, runs: Path, add_run: AddRun):
    add_run("full", {"ssim": 0.31, "pckh": 0.9})
    add_run("no_at_module", {"ssim": 0.3})
    assert "- Not computed: PCKh (only w/o, seed 0)\n" in markdown(_collect(spec_path, runs))


def test_metric_of_another_protocol_is_not_shown(spec_path: Path, runs: Path, add_run: AddRun):
    path = add_run("full", {"ssim": 0.31})
    path.write_text(path.read_text().replace('"patn"', '"standard"'))
    assert _line(markdown(_collect(spec_path, runs)), "| A_1") == "| A_1 (Full) |    — | 0.320 |    — |  0.94 |  1/1 |"


def test_column_without_paper_numbers_stands_alone(spec_path: Path, runs: Path, add_run: AddRun):
    spec_path.write_text(spec_path.read_text().replace(", PCKh: 0.94", ""))
    add_run("full", {"ssim": 0.31, "pckh": 0.9})
    assert _line(markdown(_collect(spec_path, runs)), "| A_1") == "| A_1 (Full) | 0.310 | 0.320 | 0.90 |  1/1 |"


def test_runs_that_differ_are_noted(spec_path: Path, runs: Path, add_run: AddRun):
    add_run("full", {"ssim": 0.31})
    add_run("no_at_module", {"ssim": 0.3}, data_hash="d2", iterations=200, image_size=[128, 64], dirty=True)
    text = markdown(_collect(spec_path, runs))
    assert "- Not like for like, data_hash: d1 in A_1 (Full), seed 0; d2 in w/o, seed 0.\n" in text
    assert "- Not like for like, iterations: 100 in A_1 (Full), seed 0; 200 in w/o, seed 0.\n" in text
    assert "- Not like for like, image size: 64x32 in A_1 (Full), seed 0; 128x64 in w/o, seed 0.\n" in text
    assert "; commit abc1234 or abc1234 with uncommitted changes.\n" in text
    assert "like for like, batch size" not in text


def test_runs_notes_and_settings_stand_once(spec_path: Path, runs: Path, add_run: AddRun):
    path = add_run("full", {"ssim": 0.31})
    path.write_text(path.read_text().replace('"n": 64', '"n": 64, "codec": "png"'))
    add_run("no_at_module", {"ssim": 0.3}, notes=["random features", "stopped early"])
    text = markdown(_collect(spec_path, runs))
    assert text.count("random features") == 1
    assert "- stopped early (only w/o, seed 0)\n" in text
    assert "- SSIM: codec png (only A_1 (Full), seed 0)\n" in text


@pytest.mark.parametrize(("size", "compared"), [([128, 64], True), ([64, 32], False)])
def test_papers_own_data_needs_its_image_size(
    spec_path: Path, runs: Path, add_run: AddRun, size: list[int], compared: bool
):
    add_run("full", {"ssim": 0.31}, data="market1501", image_size=size)
    text = markdown(_collect(spec_path, runs, data="market1501"))
    assert "Data: Market-1501; scale smoke;" in text
    warning = "- The paper's numbers are from Market-1501 at 128x64 and can't be compared with 64x32.\n"
    assert (warning not in text) == compared


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
