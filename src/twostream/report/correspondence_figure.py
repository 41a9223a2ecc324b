"""A figure of where the AT-blocks attend at some joints, and of source patches moved to where they match."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import fill
from typing import Any

import torch

from twostream.data.keypoints import JOINT_NAMES
from twostream.data.pairs import image_name, spread
from twostream.data.pose import joints_to_tensor
from twostream.data.visualize import (
    CORRESPONDENCE_FOOTNOTE,
    POINT_COLOURS,
    Cell,
    View,
    correspondence_cells,
    points_of,
)
from twostream.evaluation.run_evaluation import CORRESPONDENCE_FILE, read_correspondence
from twostream.metrics.correspondence import positions_of
from twostream.report.pair_figure import BASELINE, GAP, LINE_HEIGHT, PairImages
from twostream.report.plots import save_figure
from twostream.tables.spec import check, check_unique
from twostream.types import ImagePair

Row = tuple[Mapping[str, Cell], Sequence[str]]  # images by label, and the colours of their points

CELL_HEIGHT, NAME_WIDTH = 1.4, 1.1  # inches: of an image, and for the name of a joint
FONT_SIZE, LETTERS = 7.5, 17  # points, and letters in an inch
# Marks one over the other, sizes in points.
DOTS: list[dict[str, Any]] = [
    {"marker": "o", "linestyle": "", "markersize": 4.5, "markeredgecolor": "black", "markeredgewidth": 0.6}
]
RING: dict[str, Any] = {"marker": "o", "linestyle": "", "markersize": 6.5, "markerfacecolor": "none"}
RINGS = [RING | {"markeredgecolor": "black", "markeredgewidth": 2.4}, RING | {"markeredgewidth": 1.2}]
LEGEND: dict[str, Any] = {
    "frameon": False,
    "fontsize": FONT_SIZE,
    "handlelength": 1,
    "handletextpad": 0.3,
    "borderpad": 0,
    "borderaxespad": 0,
}


@dataclass
class CorrespondenceSpec:
    """A figure of the AT-blocks of one variant, for the first of the pairs in its `correspondence.json`."""

    title: str
    variant: str
    name: str = ""  # stem of its files
    count: int = 3
    joints: list[str] = field(default_factory=lambda: [JOINT_NAMES[joint] for joint in POINT_COLOURS])

    def __post_init__(self) -> None:
        check(self.count >= 1, "count", "at least 1", self.count)
        for name in self.joints:
            check(name in JOINT_NAMES, "joints", f"some of {', '.join(JOINT_NAMES)}", name)
        check_unique("joints", self.joints)
        check(1 <= len(self.joints) <= len(POINT_COLOURS), "joints", f"1 to {len(POINT_COLOURS)}", len(self.joints))

    @property
    def colours(self) -> dict[str, str]:
        """The colour of each joint by its name."""
        return dict(zip(self.joints, POINT_COLOURS.values(), strict=False))

    @property
    def caption(self) -> str:
        """What the figure shows, in words."""
        return f"{self.count} pairs at equal distances in the list of test pairs; {CORRESPONDENCE_FOOTNOTE}"

    def make(self, runs: Path, seed: int, out: Path) -> list[Path]:
        """Draw the figure of the run `<runs>/<variant>/seed<seed>`; return the paths of its files.

        Raises ValueError if the run has no `correspondence.json`.
        """
        run_dir = runs / self.variant / f"seed{seed}"
        if not (run_dir / CORRESPONDENCE_FILE).exists():
            raise ValueError(
                f"{run_dir}: expected the {CORRESPONDENCE_FILE} of an evaluated run with AT-modules, got none; "
                f"it is written by: twostream-evaluate run={run_dir}"
            )
        data = PairImages.of_run(run_dir)
        stored = read_correspondence(run_dir, data.joints)
        assert stored is not None
        indices = spread(len(stored["pairs"]), self.count)
        rows = [row for index in indices for row in _cells(self, stored, index, run_dir, data)]
        return save_figure(_draw(rows, self.colours), out, self.name)


def _cells(spec: CorrespondenceSpec, stored: dict[str, Any], index: int, run_dir: Path, data: PairImages) -> list[Row]:
    """Return the two rows of a pair, given the content of a `correspondence.json`."""
    source, target = stored["pairs"][index]
    source_image, target_image, generated = (
        torch.from_numpy(image).permute(2, 0, 1).contiguous()
        for image in (
            data.image(source),
            data.image(target),
            data.read(run_dir / "images" / image_name((source, target))),
        )
    )
    source_joints, target_joints = (joints_to_tensor(data.joints[name]) for name in (source, target))
    points = points_of(target_joints, data.image_size, map(JOINT_NAMES.index, spec.joints))
    colours = [spec.colours[JOINT_NAMES[joint]] for joint in points]
    pixels = target_joints[points].round().long().numpy()
    views = {}
    for name, view in stored["views"].items():
        size, matches = tuple(view["map"]), torch.tensor(view["sources"][index])
        weights = torch.tensor(view["weights"][index]) / len(matches)
        attention = torch.zeros(len(matches), len(matches)).scatter(1, matches, weights)
        positions = positions_of(pixels, data.image_size, size)
        views[name] = View(attention[positions], matches[:, 0], size)
    pair = ImagePair(source_image, source_joints, target_image, target_joints)
    return [(cells, colours) for cells in correspondence_cells(pair, generated, points, colours, views)]


def _draw(rows: Sequence[Row], colours: Mapping[str, str]) -> Any:
    """Draw labelled images in rows, their marks as vectors, with the joints by colour and a note below."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    cells, _ = rows[0]
    image_height, image_width = next(iter(cells.values())).image.shape[1:]
    height, width = CELL_HEIGHT, CELL_HEIGHT * image_width / image_height
    total = len(cells) * (width + GAP) + GAP
    note = fill(CORRESPONDENCE_FOOTNOTE, int(total * LETTERS))
    per_line = max(1, int(total / NAME_WIDTH))
    name_lines, note_lines = -(-len(colours) // per_line), note.count("\n") + 1
    bottom = (name_lines + note_lines) * LINE_HEIGHT + 3 * GAP
    step = height + LINE_HEIGHT + BASELINE
    size = (total, bottom + len(rows) * step)
    figure = Figure(figsize=size)
    for number, (cells, of_points) in enumerate(reversed(rows)):
        for column, (name, cell) in enumerate(cells.items()):
            left, low = GAP + column * (width + GAP), bottom + number * step
            axes = figure.add_axes((left / size[0], low / size[1], width / size[0], height / size[1]))
            axes.imshow(cell.image.permute(1, 2, 0).numpy(), interpolation="nearest", aspect="auto")
            axes.set_axis_off()
            axes.autoscale(False)
            for points, marks in ((cell.rings, RINGS), (cell.dots, DOTS)):
                for (y, x), colour in zip(points.tolist(), of_points, strict=False):
                    for mark in marks:
                        axes.plot(x, y, **({"markeredgecolor": colour, "markerfacecolor": colour} | mark))
            place = ((left + width / 2) / size[0], (low + height + BASELINE / 2) / size[1])
            figure.text(*place, name, ha="center", va="baseline", fontsize=FONT_SIZE)
    figure.text(GAP / size[0], GAP / size[1], note, va="bottom", fontsize=FONT_SIZE)
    handles = [Line2D([], [], **DOTS[0], markerfacecolor=colour, label=name) for name, colour in colours.items()]
    place = (GAP / size[0], (bottom - GAP) / size[1])
    figure.legend(handles=handles, loc="upper left", bbox_to_anchor=place, ncols=per_line, **LEGEND)
    return figure
