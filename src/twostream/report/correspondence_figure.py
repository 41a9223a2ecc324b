"""A figure of where the AT-blocks attend at some joints, and of source patches moved to where they match."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from twostream.data.pairs import image_name, spread
from twostream.data.pose import joints_to_tensor
from twostream.data.visualize import CORRESPONDENCE_FOOTNOTE, View, correspondence_strip, points_of, stacked
from twostream.evaluation.run_evaluation import CORRESPONDENCE_FILE, read_correspondence
from twostream.files import atomic_write
from twostream.metrics.correspondence import positions_of
from twostream.report.pair_figure import PairImages
from twostream.tables.spec import check
from twostream.types import ImagePair


@dataclass
class CorrespondenceSpec:
    """A figure of the AT-blocks of one variant, for the first of the pairs in its `correspondence.json`."""

    title: str
    variant: str
    name: str = ""  # stem of its files
    count: int = 3

    def __post_init__(self) -> None:
        check(self.count >= 1, "count", "at least 1", self.count)

    @property
    def caption(self) -> str:
        """What the figure shows, in words."""
        return f"{self.count} pairs at equal distances in the list of test pairs; {CORRESPONDENCE_FOOTNOTE}"


def make_correspondence_figure(spec: CorrespondenceSpec, runs: Path, seed: int, out: Path) -> list[Path]:
    """Draw the figure of `<runs>/<variant>/seed<seed>` as `out/<name>.png` and `.pdf`; return the paths.

    Raises ValueError if the run has no `correspondence.json`.
    """
    run_dir = runs / spec.variant / f"seed{seed}"
    if not (run_dir / CORRESPONDENCE_FILE).exists():
        raise ValueError(
            f"{run_dir}: expected the {CORRESPONDENCE_FILE} of an evaluated run with AT-modules, got none; "
            f"it is written by: twostream-evaluate run={run_dir}"
        )
    data = PairImages.of_run(run_dir)
    stored = read_correspondence(run_dir, data.joints)
    assert stored is not None
    indices = spread(len(stored["pairs"]), spec.count)
    figure = stacked([_strip(stored, index, run_dir, data) for index in indices], CORRESPONDENCE_FOOTNOTE)
    paths = [out / f"{spec.name}.{suffix}" for suffix in ("png", "pdf")]
    for path in paths:
        with atomic_write(path) as temporary:
            figure.save(temporary)
    return paths


def _strip(stored: dict[str, Any], index: int, run_dir: Path, data: PairImages) -> Any:
    """Draw one pair, given the content of a `correspondence.json`."""
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
    points = points_of(target_joints, data.image_size)
    pixels = target_joints[points].round().long().numpy()
    views = {}
    for name, view in stored["views"].items():
        size, matches = tuple(view["map"]), torch.tensor(view["sources"][index])
        weights = torch.tensor(view["weights"][index]) / len(matches)
        attention = torch.zeros(len(matches), len(matches)).scatter(1, matches, weights)
        positions = positions_of(pixels, data.image_size, size)
        views[name] = View(attention[positions], matches[:, 0], size)
    pair = ImagePair(source_image, source_joints, target_image, target_joints)
    return correspondence_strip(pair, generated, points, views)
