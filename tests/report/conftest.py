import pytest

from tiny_run import EXPERIMENTS, train_tiny
from twostream.report.figures import load_figure
from twostream.report.page import write_report
from twostream.tables.results import collect_all


@pytest.fixture(scope="session")
def specs():
    return [EXPERIMENTS / f"{name}.yaml" for name in ("table3_at_module", "correspondence")]


@pytest.fixture(scope="session")
def runs(people_parent, tmp_path_factory):
    """A folder with the evaluated tiny run `synthetic/smoke/full/seed0`."""
    runs = tmp_path_factory.mktemp("runs")
    run_dir = runs / "synthetic" / "smoke" / "full" / "seed0"
    train_tiny(people_parent, run_dir)
    return runs


@pytest.fixture(scope="session")
def report_run(runs, specs):
    """The path of the report of that run."""
    figures = [load_figure(EXPERIMENTS / f"figure{name}.yaml") for name in ("5", "_correspondence")]
    folder = runs / "synthetic" / "smoke"
    return write_report(collect_all(specs, folder, [0]), figures, folder / "report.html", max_pairs=4)
