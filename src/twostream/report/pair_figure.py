"""Figures of pairs: the results of several methods side by side, as in Figures 4 and 5 of the paper."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from textwrap import fill
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from twostream.data.datamodule import PairDataModule, images_of
from twostream.data.dataset import read_split
from twostream.data.images import read_image
from twostream.data.keypoints import JointArray
from twostream.data.pairs import Pair, image_name, split_identities
from twostream.data.pose import joints_to_tensor
from twostream.data.visualize import draw_pose
from twostream.evaluation.external import NameIndex, image_names, source_and_target
from twostream.files import read_object
from twostream.metrics.metric import Panel
from twostream.registry import build_as
from twostream.report.plots import save_figure
from twostream.report.selection import Selection, select
from twostream.runs import CONFIG, results_folder
from twostream.tables.spec import check

RgbArray = UInt8[np.ndarray, "h w 3"]
INPUTS = {
    "source": "Source",
    "source_pose": "Source\npose",
    "target_pose": "Target\npose",
    "target": "Ground\ntruth",
}
CELL_HEIGHT = 1.2  # inches
GAP, GROUP_GAP = 0.05, 0.14  # inches
LINE_HEIGHT, BASELINE = 0.14, 0.07  # inches between two lines of text, and below the last one
FONT_SIZE, LETTERS = 9, 13  # points, and letters in an inch
POSE_HEIGHT = 512  # pixels of a drawn pose, at least


@dataclass
class Method:
    """A column of generated images: those of a run, or of a folder whose names contain source and target."""

    label: str
    variant: str = ""  # of the run
    folder: str = ""
    num_panels: int = 1  # images side by side in a file of the folder
    panel: int = 0  # index of the generated one, from 0
    group: str = ""  # title of the frame around columns that follow one another

    def __post_init__(self) -> None:
        got = " and ".join(filter(None, (self.variant, self.folder))) or "none"
        check(bool(self.variant) != bool(self.folder), f"methods: {self.label}", "either a variant or a folder", got)


@dataclass
class FigureSpec:
    """A figure: pairs as rows, their inputs and several methods as columns."""

    title: str
    methods: list[Method]
    name: str = ""  # stem of its files
    pairs: Selection = field(default_factory=Selection)
    inputs: list[str] = field(default_factory=lambda: list(INPUTS))
    poses_over_images: bool = False  # draw poses over their images instead of over black

    def __post_init__(self) -> None:
        for name in self.inputs:
            check(name in INPUTS, "inputs", f"some of {', '.join(INPUTS)}", name)
        check(len(self.methods) > 0, "methods", "at least one", "none")

    @property
    def caption(self) -> str:
        """What the figure shows, in words."""
        return self.pairs.text

    def make(self, runs: Path, seed: int, out: Path) -> list[Path]:
        """Draw the figure of the runs `<runs>/<variant>/seed<seed>`; return the paths of its files.

        Methods whose run is not evaluated are left out. Raises ValueError if none is left, for runs on different data,
        and for images that are missing.
        """
        split = self.pairs.split
        variants = [method.variant for method in self.methods if method.variant]
        folders = {variant: results_folder(runs / variant / f"seed{seed}", split) for variant in variants}
        evaluated = {variant: folder for variant, folder in folders.items() if (folder / "metrics.json").is_file()}
        check(len(evaluated) > 0, f"{runs}", f"an evaluated run of seed {seed} of {', '.join(folders)}", "none")
        hashes = {str(folder): _data_hash(folder / "metrics.json") for folder in evaluated.values()}
        check(len(set(hashes.values())) == 1, "methods", "runs on the same data", hashes)
        variant, first = next(iter(evaluated.items()))
        data = PairImages.of_run(runs / variant / f"seed{seed}", split)
        pairs = select(self.pairs, data.pairs, data.joints, first / "scores.csv")
        inputs = [(kind, [data.input(kind, pair, self.poses_over_images) for pair in pairs]) for kind in self.inputs]
        columns = [Column(INPUTS[kind], images) for kind, images in inputs]
        for method in self.methods:
            if method.folder or method.variant in evaluated:
                read = _reader(method, evaluated.get(method.variant), data)
                columns.append(Column(method.label, [read(pair) for pair in pairs], method.group))
        return save_figure(draw_columns(columns, data.image_size), out, self.name)


class Column(NamedTuple):
    """A column of a figure, an image a row; neighbours of one group share a frame with its title."""

    label: str
    images: Sequence[RgbArray]
    group: str = ""


@dataclass(frozen=True)
class PairImages:
    """The pairs of a split that runs share, with their images and joints."""

    folder: Path  # of the true images
    pairs: list[Pair]
    joints: Mapping[str, JointArray]
    image_size: tuple[int, int]

    @classmethod
    def of_run(cls, run_dir: Path, split: str = "test") -> "PairImages":
        """Return the pairs of a split, test or val, of a run's data. Raises ValueError if they are missing."""
        config = read_object(run_dir / CONFIG, "data")
        if config is None:
            raise ValueError(f"{run_dir}: expected the folder of a run, got none with {CONFIG}")
        data = build_as(PairDataModule, config["data"], f"{run_dir / CONFIG}: data")
        data.look_beside(run_dir)
        held_in = images_of(split)
        joints, pairs = read_split(data.folder, held_in, data.size)
        if split == "val":
            _, pairs = split_identities(pairs, data.num_val_identities, data.num_val_pairs)
        return cls(data.folder / held_in, pairs, joints, data.size)

    def image(self, name: str) -> RgbArray:
        """Read a true image."""
        return self.read(self.folder / name)

    def read(self, path: Path) -> RgbArray:
        """Read an image of the size of the true ones."""
        return read_image(path, self.image_size)

    def input(self, kind: str, pair: Pair, over_image: bool) -> RgbArray:
        """Return an input of a pair by its key of `INPUTS`; poses are enlarged."""
        name = pair[0] if kind.startswith("source") else pair[1]
        if not kind.endswith("pose"):
            return self.image(name)
        zoom = -(-POSE_HEIGHT // self.image_size[0])
        height, width = (side * zoom for side in self.image_size)
        joints = (joints_to_tensor(self.joints[name]) + 0.5) * zoom - 0.5
        pose: RgbArray = draw_pose(joints, (height, width), zoom=1).permute(1, 2, 0).numpy()
        if over_image:
            below = self.image(name).repeat(zoom, axis=0).repeat(zoom, axis=1)
            pose = np.where(pose.any(axis=2, keepdims=True), pose, below)
        return pose


def _data_hash(path: Path) -> str:
    run = (read_object(path, "run") or {}).get("run")
    if not isinstance(run, dict) or not isinstance(run.get("data_hash"), str):
        raise ValueError(f"{path}: expected the metrics of a run with its data_hash; evaluate the run again")
    return run["data_hash"]


def _reader(method: Method, run_dir: Path | None, data: PairImages) -> Callable[[Pair], RgbArray]:
    """Return a function that reads a method's image of a pair. Raises ValueError for a folder without any."""
    if run_dir is not None:
        return lambda pair: data.read(run_dir / "images" / image_name(pair))
    folder, known = Path(method.folder), NameIndex(data.joints)
    files: dict[Pair, Path] = {}
    for name in image_names(folder):
        if pair := source_and_target(name, known):
            source, target = (known.find(half) for half in pair)
            files.update({(a, b): folder / name for a in source for b in target})

    def read(pair: Pair) -> RgbArray:
        check(pair in files, f"{folder}", f"an image of the pair {image_name(pair)}", "none")
        return Panel(files[pair], method.panel, method.num_panels).read()

    return read


def draw_columns(columns: Sequence[Column], image_size: tuple[int, int]) -> Any:
    """Draw labelled columns of images, all of one number of rows, as a figure of matplotlib."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    height, width = CELL_HEIGHT, CELL_HEIGHT * image_size[1] / image_size[0]
    columns = [column._replace(label=wrapped(column.label, width)) for column in columns]
    groups = [(group, list(members)) for group, members in groupby(columns, key=lambda column: column.group)]
    framed = [len(members) * (width + GAP) + GAP / 2 for _, members in groups]
    titles = [wrapped(group, extent) for (group, _), extent in zip(groups, framed, strict=True)]
    top = GAP + len(columns[0].images) * (height + GAP)
    frame_top = top + _text_height([column.label for column in columns])
    total = len(columns) * (width + GAP) + (len(groups) - 1) * GROUP_GAP + 2 * GAP
    size = (total, frame_top + _text_height(titles) + GAP)
    figure = Figure(figsize=size)

    def write(x: float, y: float, text: str) -> None:
        # Lines one by one, so that the last ones of all labels have one baseline.
        for line, words in enumerate(reversed(text.split("\n"))):
            place = (x / size[0], (y + BASELINE + line * LINE_HEIGHT) / size[1])
            figure.text(*place, words, ha="center", va="baseline", fontsize=FONT_SIZE)

    left = GAP
    for (group, members), extent, title in zip(groups, framed, titles, strict=True):
        start = left
        for column in members:
            for row, image in enumerate(column.images, start=1):
                bottom = top - row * (height + GAP)
                axes = figure.add_axes((left / size[0], bottom / size[1], width / size[0], height / size[1]))
                is_small = image.shape[:2] == image_size
                axes.imshow(image, interpolation="nearest" if is_small else "antialiased", aspect="auto")
                axes.set_axis_off()
            write(left + width / 2, top, column.label)
            left += width + GAP
        if group:
            corner = ((start - 0.75 * GAP) / size[0], 0.25 * GAP / size[1])
            frame = (extent / size[0], (frame_top - 0.25 * GAP) / size[1])
            figure.add_artist(Rectangle(corner, *frame, fill=False, linewidth=0.6, edgecolor="0.4"))
            write(start + extent / 2 - 0.75 * GAP, frame_top, title)
        left += GROUP_GAP
    return figure


def wrapped(text: str, inches: float) -> str:
    """Wrap each line of a label between words to a width."""
    letters = max(8, int(inches * LETTERS))
    lines = (fill(line, letters, break_long_words=False, break_on_hyphens=False) for line in text.split("\n"))
    return "\n".join(lines)


def _text_height(texts: Sequence[str]) -> float:
    """Return the height in inches of the highest of some texts with the space around it; 0 if all are empty."""
    lines = max((text.count("\n") + 1 for text in texts if text), default=0)
    return lines * LINE_HEIGHT + BASELINE if lines else 0
