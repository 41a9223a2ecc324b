"""The specs of figures, `experiments/figure*.yaml`."""

from pathlib import Path

from twostream.report.correspondence_figure import CorrespondenceSpec
from twostream.report.curves_figure import CurvesSpec
from twostream.report.pair_figure import FigureSpec
from twostream.tables.spec import from_config, read_mapping

Spec = FigureSpec | CorrespondenceSpec | CurvesSpec
"""A figure: its `title`, `name` and `caption`, and `make`, which draws it as `<name>.png` and `<name>.pdf`."""


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
