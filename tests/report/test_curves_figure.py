import pytest

from twostream.report.curves_figure import CurvesSpec
from twostream.report.figures import load_figure

SPEC = "title: Curves\ncurves: {2s-ATN: full, Other: patn}\nover_time: true\n"


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "curves.yaml"
    path.write_text(SPEC)
    return load_figure(path)


@pytest.fixture
def runs(tmp_path):
    for name, value in (("full/seed0", 0.1), ("full/seed1", 0.2), ("patn/seed0", 0.3)):
        logs = tmp_path / "runs" / name / "logs"
        logs.mkdir(parents=True)
        header = "step,throughput/iterations_per_second,val/ssim"
        logs.joinpath("metrics.csv").write_text(f"{header}\n60,2,\n60,,{value}\n")
    return tmp_path / "runs"


def test_the_curves_of_all_seeds_are_drawn_and_written(spec, runs, tmp_path):
    assert isinstance(spec, CurvesSpec)
    assert spec.caption.startswith("SSIM of validation pairs over minutes of training")
    paths = spec.make(runs, 0, tmp_path / "out")
    assert [path.name for path in paths] == ["curves.png", "curves.pdf", "curves.csv"]
    assert paths[0].read_bytes().startswith(b"\x89PNG")
    assert paths[1].read_bytes().startswith(b"%PDF")
    assert paths[2].read_text().splitlines() == [
        "label,seed,iteration,minutes,val/ssim",
        "2s-ATN,0,60,0.50,0.100000",
        "2s-ATN,1,60,0.50,0.200000",
        "Other,0,60,0.50,0.300000",
    ]


def test_a_variant_without_a_curve_is_named(spec, runs, tmp_path):
    (runs / "patn/seed0/logs/metrics.csv").unlink()
    with pytest.raises(ValueError, match="patn: expected a run with a curve of val/ssim, got none"):
        spec.make(runs, 0, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_spec_without_curves_is_refused(tmp_path):
    path = tmp_path / "curves.yaml"
    path.write_text("title: Curves\ncurves: {}\n")
    with pytest.raises(ValueError, match=r"curves.yaml: curves: expected at least one, got none"):
        load_figure(path)
