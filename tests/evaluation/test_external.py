"""Which pairs are found in folders of images, and what is reported about the other images."""

from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from PIL import Image

from twostream.cli import CONF
from twostream.evaluation.external import Strips, TwoFolders, image_names

STRIP3, STRIP5 = Strips(3, 1, 2), Strips(5, 2, 4)
AMBIGUOUS = "expected an unambiguous name of source and target, such as A_2_B.png"


def joints_of(*names: str) -> dict:
    return {name: np.full((18, 2), number) for number, name in enumerate(names)}


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


@pytest.fixture
def find(tmp_path):
    """Finds pairs in empty files; returns (name, source, target, name of the true image) and the problems."""

    def find(images, targets, annotated=(), layout=None):
        folder, true = touch(tmp_path / "images", *images), targets and touch(tmp_path / "targets", *targets)
        found = (layout or TwoFolders()).find(folder, true, joints_of(*annotated))
        pairs = [(pair.name, pair.source, pair.target, pair.true.path.name) for pair in found.pairs]
        return pairs, [problem.replace(f"{tmp_path}/", "") for problem in found.problems]

    return find


FOLDERS = {
    "equal names": (
        ["b.png", "a.png"],
        ["a.png", "b.png"],
        [],
        [("a.png", *["a.png"] * 3), ("b.png", *["b.png"] * 3)],
        [],
    ),
    "equal names come before those of another extension": (
        ["a.png", "b.PNG"],
        ["a.png", "a.jpg", "b.jpeg"],
        [],
        [("a.png", *["a.png"] * 3), ("b.PNG", "b.PNG", "b.PNG", "b.jpeg")],
        ["targets/a.jpg: expected a generated image of it in images, got none"],
    ),
    "ambiguous extension": (
        ["a.png", "b.png"],
        ["a.jpg", "a.jpeg", "b.png"],
        [],
        [("b.png", *["b.png"] * 3)],
        ["images/a.png: expected one true image a.png in targets, got a.jpeg, a.jpg"],
    ),
    "both folders named by pair": (
        ["a_2_b.png", "b_2_a.png"],
        ["a_2_b.jpg", "b_2_a.jpg", "a.jpg"],
        [],
        [("a_2_b.png", "a", "b", "a_2_b.jpg"), ("b_2_a.png", "b", "a", "b_2_a.jpg")],
        ["targets/a.jpg: expected a generated image of it in images, got none"],
    ),
    "true images named by target, of another extension": (
        ["a.jpg_b.jpg.png", "b.jpg_a.jpg.png"],
        ["b.png", "a.png", "a.jpeg", "c.png"],
        [],
        [("a.jpg_b.jpg.png", "a.jpg", "b.jpg", "b.png")],
        ["images/b.jpg_a.jpg.png: expected one true image b.jpg_a.jpg.png or a.jpg in targets, got a.jpeg, a.png"],
    ),
    "no true image": (
        ["a.png", "b.png", "a_2_c.png"],
        ["a.png"],
        [],
        [("a.png", *["a.png"] * 3)],
        [
            "images/a_2_c.png: expected one true image a_2_c.png or c in targets, got none",
            "images/b.png: expected one true image b.png in targets, got none",
        ],
    ),
    "no equal name, so that unused true images are no problem": (
        ["x.png"],
        ["a.png", "b.png"],
        [],
        [],
        ["images/x.png: expected one true image x.png in targets, got none"],
    ),
    "ambiguous name": (
        ["a_2_b_2_c.png"],
        ["c.jpg", "b_2_c.jpg"],
        [],
        [],
        ["images/a_2_b_2_c.png: expected one true image a_2_b_2_c.png in targets, got none"],
    ),
    "ambiguous name of annotated images": (
        ["a_2_b_2_c.png"],
        ["c.jpg", "b_2_c.jpg"],
        ["a_2_b.jpg", "c.jpg", "b_2_c.jpg"],
        [("a_2_b_2_c.png", "a_2_b", "c", "c.jpg")],
        [],
    ),
    "annotated name, which is not split": (
        ["walk_2_front.png"],
        ["walk_2_front.png"],
        ["walk_2_front.jpg"],
        [("walk_2_front.png", *["walk_2_front.png"] * 3)],
        [],
    ),
    "targets without annotation": (
        ["a_2_b.png", "b_2_a.png", "a_2_c.png"],
        ["a.jpg", "b.jpg", "c.jpg"],
        ["a.jpg", "c.jpg", "c.png"],
        [("b_2_a.png", "b", "a", "a.jpg")],
        [
            "images/a_2_b.png: expected one annotation of its target b, got none",
            "images/a_2_c.png: expected one annotation of its target c, got c.jpg, c.png",
        ],
    ),
    "two images of one pair": (
        ["a_2_b.png", "a.jpg___b.jpg_vis.jpg", "b_2_a.png"],
        ["a.jpg", "b.jpg"],
        [],
        [("b_2_a.png", "b", "a", "a.jpg")],
        [
            f"images/{name}: expected one image of source {source} and target {target}, "
            "got a.jpg___b.jpg_vis.jpg, a_2_b.png"
            for name, source, target in (("a.jpg___b.jpg_vis.jpg", "a.jpg", "b.jpg"), ("a_2_b.png", "a", "b"))
        ],
    ),
}


@pytest.mark.parametrize(("images", "targets", "annotated", "pairs", "problems"), FOLDERS.values(), ids=FOLDERS.keys())
def test_pairs_of_two_folders(find, images, targets, annotated, pairs, problems):
    assert find(images, targets, annotated) == (pairs, problems)


@pytest.mark.parametrize("name", ["a.jpg___b.jpg_vis.jpg", "a.jpg_b.jpg.png", "a_2_b_vis.jpg", "a_2_b.png"])
def test_every_form_of_a_name_is_paired_with_its_target(find, name):
    ((_, source, target, true),), problems = find([name], ["a.jpg", "b.jpg", "c.jpg"])
    assert (Path(source).stem, Path(target).stem, true, problems) == ("a", "b", "b.jpg", [])


@pytest.mark.parametrize("name", ["a_2_b.png", "a.jpg___b.jpg_vis.jpg", "b.png"])
@pytest.mark.parametrize("annotated", ["b.jpg", "b.png", "b"])
def test_joints_are_those_of_the_target(tmp_path, name, annotated):
    images, targets = touch(tmp_path / "images", name), touch(tmp_path / "targets", "b.png")
    found = TwoFolders().find(images, targets, joints_of("a.jpg", annotated))
    assert found.problems == []
    assert (found.pairs[0].joints == 1).all()
    if name == "b.png":
        (pair,) = TwoFolders().find(images, targets, joints_of("b.jpg", "b.png")).pairs
        assert (pair.joints == 1).all()


def test_two_different_folders_are_required(tmp_path):
    images = touch(tmp_path / "images", "a.png")
    with pytest.raises(ValueError, match="targets: expected the folder of the true images, got none"):
        TwoFolders().find(images, None, {})
    with pytest.raises(ValueError, match="targets: expected another folder than that of the generated"):
        TwoFolders().find(images, images / ".." / "images", {})
    with pytest.raises(ValueError, match="targets: expected a folder of images, folder not found"):
        TwoFolders().find(images, tmp_path / "targets", {})


@pytest.mark.parametrize(
    ("layout", "colours"),
    [(STRIP3, ["red", "lime", "blue"]), (STRIP5, ["red", "black", "lime", "black", "blue"])],
)
@pytest.mark.parametrize("name", ["a.jpg___b.jpg_vis.jpg", "a.jpg_b.jpg.png", "a_2_b_vis.jpeg", "a_2_b.PNG"])
def test_a_strip_contains_the_true_and_the_generated_image(tmp_path, layout, colours, name):
    strip = Image.new("RGB", (16 * len(colours), 16))
    for index, colour in enumerate(colours):
        strip.paste(colour, (index * 16, 0, (index + 1) * 16, 16))
    strip.save(tmp_path / name)
    found = layout.find(tmp_path, None, joints_of("b.jpg"))
    assert found.problems == []
    (pair,) = found.pairs
    assert (pair.name, Path(pair.source).stem, Path(pair.target).stem) == (name, "a", "b")
    assert (pair.joints == 0).all()
    for panel, colour in ((pair.true, (0, 255, 0)), (pair.generated, (0, 0, 255))):
        assert panel.read().shape == (16, 16, 3)
        # JPEG mixes the colours of the outermost pixels with those of the next panel.
        np.testing.assert_allclose(panel.read()[:, 1:-1], np.broadcast_to(colour, (16, 14, 3)), atol=3)


def test_strips_with_ambiguous_names_of_one_pair_or_without_annotation_are_problems(find):
    names = ["a.png", "a_2_b.png", "a_2_b_vis.png", "b_2_a.png", "a_2_c.png", "b_2_a_2_b.png"]
    pairs, problems = find(names, None, ["a", "b"], STRIP3)
    assert [name for name, *_ in pairs] == ["b_2_a.png"]
    one = "expected one image of source a and target b, got a_2_b.png, a_2_b_vis.png"
    assert problems == [
        f"images/a.png: {AMBIGUOUS}",
        f"images/b_2_a_2_b.png: {AMBIGUOUS}",
        f"images/a_2_b.png: {one}",
        f"images/a_2_b_vis.png: {one}",
        "images/a_2_c.png: expected one annotation of its target c, got none",
    ]


def test_an_ambiguous_strip_is_split_into_annotated_names(find):
    pairs, problems = find(["a_2_b_2_c.png"], None, ["a.jpg", "b_2_c.jpg"], STRIP3)
    assert (pairs, problems) == ([("a_2_b_2_c.png", "a", "b_2_c", "a_2_b_2_c.png")], [])


def test_strips_have_no_targets(find):
    with pytest.raises(ValueError, match="targets: expected none, as strips contain the true images, got"):
        find(["a_2_b.png"], ["b.png"], layout=STRIP3)


@pytest.mark.parametrize("indices", [(3, 1, 1), (3, 1, 3), (3, -1, 2), (1, 0, 0)])
def test_indices_out_of_range_are_refused(indices):
    with pytest.raises(ValueError, match="layout: expected two different indices from 0 to"):
        Strips(*indices)


def test_image_names_are_those_of_images_and_broken_links(tmp_path):
    images = tmp_path / "images"
    with pytest.raises(ValueError, match="images: expected a folder of images, folder not found"):
        image_names(images)
    touch(images, "pairs.csv", "notes.txt", "a.gif", "._b.png", ".a.jpeg")
    (images / "old.png").mkdir()
    with pytest.raises(ValueError, match=r"images: expected images \(png, jpg or jpeg\), got none"):
        image_names(images)
    touch(images, "b.png", "a.JPG")
    (images / "c.png").symlink_to(images / "gone.png")
    assert image_names(images) == ["a.JPG", "b.png", "c.png"]


@pytest.mark.parametrize(("option", "layout"), [("folders", TwoFolders()), ("strip3", STRIP3), ("strip5", STRIP5)])
def test_every_option_builds_its_layout(option, layout):
    with initialize_config_dir(version_base="1.3", config_dir=CONF):
        assert instantiate(compose(overrides=[f"+layout={option}"]).layout) == layout
