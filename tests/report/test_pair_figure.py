import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from tiny_run import EXPERIMENTS
from twostream.cli import CONF
from twostream.data.pairs import identity_of, image_name
from twostream.files import write_json
from twostream.registry import model_config
from twostream.report.curves_figure import CurvesSpec
from twostream.report.figures import load_figure
from twostream.report.pair_figure import (
    CELL_HEIGHT,
    GAP,
    GROUP_GAP,
    INPUTS,
    Column,
    FigureSpec,
    Method,
    PairImages,
    draw_columns,
    wrapped,
)
from twostream.report.plots import DPI, save_figure
from twostream.report.selection import Selection
from twostream.runs import results_folder
from twostream.tables.spec import load_spec

SPEC = """
title: Two methods
pairs: {rule: random, count: 2, seed: 3}
inputs: [source, target_pose, target]
methods:
  - {label: one, variant: full, group: runs}
  - {label: other, variant: patn, group: runs}
  - {label: not there, variant: blocks_5}
  - {label: elsewhere, folder: FOLDER, num_panels: 2, panel: 1}
"""


def red(level: int) -> Image.Image:
    return Image.new("RGB", (16, 32), (level, 0, 0))


@pytest.fixture
def runs(tiny_config, tmp_path):
    """A folder of two evaluated runs, whose images are of one colour each, and the tiny test pairs."""
    config = json.loads(json.dumps(model_config(tiny_config())))
    for level, variant in ((50, "full"), (100, "patn")):
        folder = tmp_path / "runs" / variant / "seed0"
        write_json(folder / "config.json", config)
        write_json(folder / "metrics.json", {"run": {"data_hash": "a"}})
        (folder / "images").mkdir()
        data = PairImages.of_run(folder)
        for pair in data.pairs:
            red(level).save(folder / "images" / image_name(pair))
    return tmp_path / "runs", data


@pytest.fixture
def spec(runs, tmp_path):
    """The path of a spec with two runs, one that is missing, and a folder of strips."""
    folder = tmp_path / "strips"
    folder.mkdir()
    for source, target in runs[1].pairs:
        strip = Image.new("RGB", (32, 32))
        strip.paste(red(200), (16, 0))
        strip.save(folder / f"{Path(source).stem}_2_{Path(target).stem}_vis.jpg", quality=100)
    path = tmp_path / "two.yaml"
    path.write_text(SPEC.replace("FOLDER", str(folder)))
    return path


@pytest.fixture
def drawn(monkeypatch):
    """The columns and image sizes of the figures, which are not drawn."""
    given = []
    monkeypatch.setattr("twostream.report.pair_figure.draw_columns", lambda *them: given.append(them) or Figure())
    return given


def test_a_figure_shows_runs_and_folders_on_equal_pairs(runs, spec, tmp_path, drawn):
    paths = load_figure(spec).make(runs[0], 0, tmp_path / "out")
    assert paths == [tmp_path / "out" / "two.png", tmp_path / "out" / "two.pdf"]
    [(columns, image_size)] = drawn
    assert image_size == (32, 16)
    assert [(column.label, column.group, len(column.images)) for column in columns] == [
        *((INPUTS[kind], "", 2) for kind in ("source", "target_pose", "target")),
        *(("one", "runs", 2), ("other", "runs", 2), ("elsewhere", "", 2)),
    ]
    for column, level in zip(columns[3:], (50, 100, 200), strict=True):
        assert all(image.shape == (32, 16, 3) and abs(int(image[5, 5, 0]) - level) < 5 for image in column.images)


def test_a_figure_shows_validation_pairs(runs, tmp_path, drawn):
    run_dir = runs[0] / "full/seed0"
    results = results_folder(run_dir, "val")
    write_json(results / "metrics.json", {"run": {"data_hash": "a"}})
    (results / "images").mkdir()
    data = PairImages.of_run(run_dir, "val")
    assert {identity_of(name) for pair in data.pairs for name in pair}.isdisjoint(
        identity_of(name) for pair in runs[1].pairs for name in pair
    )
    for pair in data.pairs:
        red(150).save(results / "images" / image_name(pair))
    spec = FigureSpec("Validation", [Method("one", "full")], pairs=Selection(split="val", count=1), inputs=["target"])
    spec.make(runs[0], 0, tmp_path)
    [(columns, _)] = drawn
    assert spec.caption == "1 pairs at equal distances in the list of validation pairs"
    assert [column.images[0][5, 5, 0] for column in columns[1:]] == [150]
    assert (columns[0].images[0] == data.image(data.pairs[0][1])).all()


def test_the_files_have_the_resolution_of_print(tmp_path):
    columns = [Column(str(i), [np.full((32, 16, 3), 20 * i, np.uint8)] * 3, "framed" * (i > 2)) for i in range(5)]
    paths = save_figure(draw_columns(columns, (32, 16)), tmp_path, "a")
    first = [path.read_bytes() for path in paths]
    save_figure(draw_columns(columns, (32, 16)), tmp_path, "a")
    assert [path.read_bytes() for path in paths] == first
    assert first[1].startswith(b"%PDF")
    image = Image.open(paths[0])
    assert image.height > 3 * CELL_HEIGHT * DPI
    assert {colour[0] for _, colour in image.convert("RGB").getcolors(100_000)} >= {0, 20, 40, 60, 80}


def test_labels_share_a_baseline_and_titles_stay_off_their_frame(tmp_path):
    images = [np.full((32, 16, 3), 255, np.uint8)]
    labels = [("H", ""), ("H\nH", ""), ("H\nH", "H H"), ("H", "H H")]
    figure = draw_columns([Column(label, images, group) for label, group in labels], (32, 16))
    png, _ = save_figure(figure, tmp_path, "a")
    page = np.asarray(Image.open(png).convert("L"))
    is_line = (page[:, page.shape[1] // 2 :] < 200).mean(axis=1) > 0.8
    frame = is_line.argmax()
    assert 20 < frame < is_line.nonzero()[0][-1]
    of_title, of_labels = page[: frame - 5], page[frame + 5 : is_line.nonzero()[0][-1] - 5]
    assert (of_title[-8:] == 255).all()
    assert (of_title < 100).any()
    gaps = (0, 0, GROUP_GAP, GROUP_GAP)
    width = round((CELL_HEIGHT / 2 + GAP) * DPI)
    columns = [of_labels[:, round((GAP + gap) * DPI) + i * width :][:, : width - 20] for i, gap in enumerate(gaps)]
    lowest = [np.nonzero((column < 100).any(axis=1))[0] for column in columns]
    assert len({rows[-1] for rows in lowest}) == 1
    assert lowest[0][0] == lowest[3][0] > lowest[1][0] == lowest[2][0]


@pytest.mark.parametrize("over_image", [False, True])
def test_poses_are_enlarged(runs, over_image):
    data = runs[1]
    pose = data.input("target_pose", data.pairs[0], over_image)
    assert pose.shape == (512, 256, 3)
    is_black = (pose == 0).all(axis=2).mean()
    assert is_black < 0.05 if over_image else is_black > 0.5


def test_wrong_runs_and_folders_are_refused(runs, spec, tmp_path):
    folder = runs[0]
    for strip in (tmp_path / "strips").iterdir():
        strip.rename(strip.with_name(f"x{strip.name}"))
    with pytest.raises(ValueError, match=r"strips: expected an image of the pair .*\.png, got none"):
        load_figure(spec).make(folder, 0, tmp_path)
    path = next((folder / "full/seed0/images").iterdir())
    right = path.read_bytes()
    Image.new("RGB", (8, 16)).save(path)
    with pytest.raises(ValueError, match=rf"^{path}: expected an image of height x width 32x16, got 16x8$"):
        PairImages.of_run(folder / "full/seed0").read(path)
    path.write_bytes(right)
    with pytest.raises(ValueError, match="expected an evaluated run of seed 1 of full, patn, blocks_5, got none"):
        load_figure(spec).make(folder, 1, tmp_path)
    write_json(folder / "patn" / "seed0" / "metrics.json", {"run": {"data_hash": "b"}})
    with pytest.raises(ValueError, match="methods: expected runs on the same data, got"):
        load_figure(spec).make(folder, 0, tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("methods: [{label: a}]", "methods: a: expected either a variant or a folder, got none"),
        ("methods: []", "methods: expected at least one, got none"),
        ("pairs: {rule: nicest}\nmethods: [{label: a, variant: b}]", "pairs.rule: expected one of every, "),
        ("inputs: [pose]\nmethods: [{label: a, variant: b}]", "inputs: expected some of source, "),
        ("title: b", "methods: Structured config .* missing mandatory value: methods"),
    ],
)
def test_a_wrong_spec_is_refused(tmp_path, line, message):
    path = tmp_path / "wrong.yaml"
    path.write_text("title: a\n" * (not line.startswith("title")) + line)
    with pytest.raises(ValueError, match=rf"^{path}: .*{message}"):
        load_figure(path)


def test_labels_are_wrapped_between_words():
    assert wrapped("averaged weights", 0.6) == "averaged\nweights"
    assert wrapped("T:cat\nS:cat", 0.6) == "T:cat\nS:cat"
    assert wrapped("w/o AT-module", 0.6) == "w/o\nAT-module"
    assert wrapped("two words", 2) == "two words"


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("figure*.yaml")), ids=lambda path: path.stem)
def test_every_spec_names_ablations(path):
    spec = load_figure(path)
    if isinstance(spec, CurvesSpec):
        variants = set(spec.curves.values())
    else:
        variants = {method.variant for method in spec.methods} if isinstance(spec, FigureSpec) else {spec.variant}
    studies = [load_spec(EXPERIMENTS / f"{name}.yaml") for name in ("warp_study", "recipe_16")]
    studied = {row.variant for study in studies for row in study.rows}
    assert variants <= studied | {option.stem for option in (Path(CONF) / "ablation").glob("*.yaml")}
