"""The specs of figures, `experiments/figure*.yaml`, and the files that are drawn from them."""

from pathlib import Path

from twostream.report.correspondence_figure import CorrespondenceSpec, make_correspondence_figure
from twostream.report.curves_figure import CurvesSpec, make_curves_figure
from twostream.report.pair_figure import FigureSpec, make_pair_figure
from twostream.tables.spec import from_config, read_mapping

Spec = FigureSpec | CorrespondenceSpec | CurvesSpec


def load_figure(path: Path) -> Spec:
    """Read a figure's spec: of the correspondence of a `variant`, of `curves`, else of `methods` side by side.

    Raises ValueError, in one line with the file and the key, for one that is wrong.
    """
    content = read_mapping(path)
    kind: type[Spec] = FigureSpec
    if "variant" in content:
        kind = CorrespondenceSpec
    elif "curves" in content:
        kind = CurvesSpec
    return from_config(kind, {**content, "name": path.stem}, path)


def make_figure(spec: Spec, runs: Path, seed: int, out: Path) -> list[Path]:
    """Draw a figure of the runs `<runs>/<variant>/seed<seed>` as `out/<name>.png` and `.pdf`; return the paths.

    Curves are those of all seeds, and a CSV file has their values. Raises ValueError if runs or images are missing.
    """
    if isinstance(spec, CorrespondenceSpec):
        return make_correspondence_figure(spec, runs, seed, out)
    if isinstance(spec, CurvesSpec):
        return make_curves_figure(spec, runs, out)
    return make_pair_figure(spec, runs, seed, out)
