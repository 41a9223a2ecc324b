import pytest

from twostream.loggers.csv_logger import CurveLogger
from twostream.loggers.curve_csv import keep_rows_until, read_curves

CURVES = "train/l1,step\n0.5,1\n,2\n0.25,3\n"


@pytest.fixture
def path(tmp_path):
    (tmp_path / "logs").mkdir()
    return tmp_path / "logs" / "metrics.csv"


def test_curves_are_read_without_a_truncated_last_row(path):
    path.write_text(CURVES + "0.1")
    assert read_curves(path) == (
        ["train/l1", "step"],
        [{"train/l1": "0.5", "step": "1"}, {"train/l1": "", "step": "2"}, {"train/l1": "0.25", "step": "3"}],
    )
    keep_rows_until(path, 2)
    assert path.read_text().splitlines() == CURVES.splitlines()[:3]
    path.write_text("")
    assert read_curves(path) == ([], [])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("null", ": expected curves with a column 'step', got 'null'"),
        ("a,b\n1,2\n", ": expected curves with a column 'step', got 'a, b'"),
        (CURVES.replace("0.5", "x"), ":2: expected a number or nothing in each of 2 columns"),
        (CURVES.replace(",2", ",-2"), ":3: expected a number or nothing in each of 2 columns"),
        (CURVES.replace("0.5,1", "0.5,1,7"), ":2: expected a number or nothing in each of 2 columns"),
        ("\x80", ": expected curves with a column"),
    ],
)
def test_a_file_without_curves_is_named(tmp_path, path, content, message):
    path.write_text(content)
    for read in (lambda: keep_rows_until(path, 1), lambda: CurveLogger(tmp_path).experiment):
        with pytest.raises(ValueError, match=f"^{path}{message}"):
            read()


def test_curves_are_not_written_through_a_link(path):
    path.symlink_to("elsewhere.csv")
    with pytest.raises(ValueError, match=f"^{path}: expected a regular file or none, got something else$"):
        CurveLogger(path.parents[1]).experiment  # noqa: B018
    assert not path.with_name("elsewhere.csv").exists()
