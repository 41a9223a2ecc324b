from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from PIL import Image

from twostream.cli import CONF
from twostream.evaluation.folders import Strips, TwoFolders, picture_names
from twostream.evaluation.scored_pairs import read_panel

STRIP3, STRIP5 = Strips(3, 1, 2), Strips(5, 2, 4)


def write(folder: Path, *names: str, size=(16, 12), colours=("gray",)) -> Path:
    """Pictures with a panel of each colour, of `size` (height, width) a panel."""
    folder.mkdir(exist_ok=True)
    for name in names:
        picture = Image.new("RGB", (size[1] * len(colours), size[0]))
        for index, colour in enumerate(colours):
            picture.paste(colour, (index * size[1], 0, (index + 1) * size[1], size[0]))
        picture.save(folder / name)
    return folder


def joints_of(*names: str) -> dict:
    return {name: np.full((18, 2), number) for number, name in enumerate(names)}


@pytest.fixture
def images(tmp_path) -> Path:
    return tmp_path / "images"


@pytest.fixture
def targets(tmp_path) -> Path:
    return tmp_path / "targets"


def found_names(found):
    return [(pair.name, pair.source, pair.target, pair.true.path.name) for pair in found.pairs]


def test_pictures_of_equal_names_are_pairs(images, targets):
    write(images, "b.png", "a.png", colours=["red"])
    write(targets, "a.png", "b.png", colours=["blue"])
    found = TwoFolders().find(images, targets, {})
    assert found_names(found) == [("a.png", "a.png", "a.png", "a.png"), ("b.png", "b.png", "b.png", "b.png")]
    assert found.problems == []
    pair = found.pairs[0]
    assert (read_panel(pair.generated)[0, 0].tolist(), read_panel(pair.true)[0, 0].tolist()) == (
        [255, 0, 0],
        [0, 0, 255],
    )
    assert pair.joints is None


def test_an_equal_name_goes_before_one_of_another_extension(images, targets):
    write(images, "a.png", "b.PNG", "c.jpg", colours=["red"])
    write(targets, "a.png", "a.jpg", "b.jpeg", "c.JPG", colours=["blue"])
    found = TwoFolders().find(images, targets, {})
    assert [(pair.name, pair.true.path.name) for pair in found.pairs] == [
        ("a.png", "a.png"),
        ("b.PNG", "b.jpeg"),
        ("c.jpg", "c.JPG"),
    ]
    assert found.problems == [f"{targets / 'a.jpg'}: expected a generated picture of it in {images}, got none"]


def test_an_extension_that_could_be_either_is_a_problem(images, targets):
    write(images, "a.png", "b.png")
    write(targets, "a.jpg", "a.jpeg", "b.png")
    found = TwoFolders().find(images, targets, {})
    assert [pair.name for pair in found.pairs] == ["b.png"]
    assert found.problems == [f"{images / 'a.png'}: expected one true picture a.png in {targets}, got a.jpeg, a.jpg"]


def test_both_folders_may_be_named_by_pair(images, targets):
    write(images, "a_2_b.png", "b_2_a.png")
    write(targets, "a_2_b.jpg", "b_2_a.jpg", "a.jpg", "b.jpg")
    found = TwoFolders().find(images, targets, {})
    assert found_names(found) == [("a_2_b.png", "a", "b", "a_2_b.jpg"), ("b_2_a.png", "b", "a", "b_2_a.jpg")]
    assert len(found.problems) == 2  # a.jpg and b.jpg


@pytest.mark.parametrize("name", ["a.jpg___b.jpg_vis.jpg", "a.jpg_b.jpg.png", "a_2_b_vis.jpg", "a_2_b.png"])
def test_targets_may_have_names_of_their_own(images, targets, name):
    write(images, name)
    write(targets, "a.jpg", "b.jpg", "c.jpg")
    found = TwoFolders().find(images, targets, {})
    assert [pair.true.path for pair in found.pairs] == [targets / "b.jpg"]
    assert {Path(found.pairs[0].source).stem, Path(found.pairs[0].target).stem} == {"a", "b"}
    assert found.problems == []


def test_a_target_of_another_extension_is_found(images, targets):
    write(images, "a.jpg_b.jpg.png", "b.jpg_a.jpg.png")
    write(targets, "b.png", "a.png", "a.jpeg")
    found = TwoFolders().find(images, targets, {})
    assert found_names(found) == [("a.jpg_b.jpg.png", "a.jpg", "b.jpg", "b.png")]
    assert found.problems == [
        f"{images / 'b.jpg_a.jpg.png'}: expected one true picture b.jpg_a.jpg.png or a.jpg in {targets}, "
        "got a.jpeg, a.png"
    ]


def test_a_generated_picture_without_a_true_one_is_a_problem(images, targets):
    write(images, "a.png", "b.png", "a_2_c.png")
    write(targets, "a.png")
    found = TwoFolders().find(images, targets, {})
    assert [pair.name for pair in found.pairs] == ["a.png"]
    assert found.problems == [
        f"{images / 'a_2_c.png'}: expected one true picture a_2_c.png or c in {targets}, got none",
        f"{images / 'b.png'}: expected one true picture b.png in {targets}, got none",
    ]


def test_true_pictures_are_not_missed_where_none_is_compared(images, targets):
    write(images, "x.png")
    write(targets, "a.png", "b.png")
    found = TwoFolders().find(images, targets, {})
    assert found.pairs == []
    assert found.problems == [f"{images / 'x.png'}: expected one true picture x.png in {targets}, got none"]


def test_a_name_with_two_splits_is_told_by_the_annotations(images, targets):
    write(images, "a_2_b_2_c.png")
    write(targets, "c.jpg", "b_2_c.jpg")
    unknown = TwoFolders().find(images, targets, {})
    assert unknown.problems == [
        f"{images / 'a_2_b_2_c.png'}: expected one true picture a_2_b_2_c.png in {targets}, got none"
    ]
    found = TwoFolders().find(images, targets, joints_of("a_2_b.jpg", "c.jpg", "b_2_c.jpg"))
    assert found_names(found) == [("a_2_b_2_c.png", "a_2_b", "c", "c.jpg")]


def test_an_annotated_name_is_that_of_the_target_itself(images, targets):
    write(images, "walk_2_front.png")
    write(targets, "walk_2_front.png")
    found = TwoFolders().find(images, targets, joints_of("walk_2_front.jpg"))
    assert found_names(found) == [("walk_2_front.png", *["walk_2_front.png"] * 3)]
    assert found.pairs[0].joints is not None


@pytest.mark.parametrize("name", ["a_2_b.png", "a.jpg___b.jpg_vis.jpg", "b.png"])
@pytest.mark.parametrize("annotated", ["b.jpg", "b.png", "b"])
def test_joints_are_those_of_the_target(images, targets, name, annotated):
    write(images, name)
    write(targets, "b.png")
    joints = joints_of("a.jpg", annotated)
    found = TwoFolders().find(images, targets, joints)
    assert found.problems == []
    np.testing.assert_array_equal(found.pairs[0].joints, joints[annotated])


def test_the_annotation_of_the_equal_name_goes_first(images, targets):
    write(images, "b.png")
    write(targets, "b.png")
    joints = joints_of("b.jpg", "b.png")
    np.testing.assert_array_equal(TwoFolders().find(images, targets, joints).pairs[0].joints, joints["b.png"])


def test_a_target_without_annotation_is_a_problem_where_there_are_any(images, targets):
    write(images, "a_2_b.png", "b_2_a.png", "a_2_c.png")
    write(targets, "a.jpg", "b.jpg", "c.jpg")
    found = TwoFolders().find(images, targets, joints_of("a.jpg", "c.jpg", "c.png"))
    assert [pair.name for pair in found.pairs] == ["b_2_a.png"]
    assert found.problems == [
        f"{images / 'a_2_b.png'}: expected one annotation of its target b, got none",
        f"{images / 'a_2_c.png'}: expected one annotation of its target c, got c.jpg, c.png",
    ]
    assert TwoFolders().find(images, targets, {}).problems == []


def test_two_pictures_of_one_pair_are_both_left_out(images, targets):
    write(images, "a_2_b.png", "a.jpg___b.jpg_vis.jpg", "b_2_a.png")
    write(targets, "a.jpg", "b.jpg")
    found = TwoFolders().find(images, targets, {})
    assert [pair.name for pair in found.pairs] == ["b_2_a.png"]
    both = "a.jpg___b.jpg_vis.jpg, a_2_b.png"
    assert found.problems == [
        f"{images / 'a.jpg___b.jpg_vis.jpg'}: expected one picture of source a.jpg and target b.jpg, got {both}",
        f"{images / 'a_2_b.png'}: expected one picture of source a and target b, got {both}",
    ]


def test_two_folders_want_both(images, targets):
    write(images, "a.png")
    with pytest.raises(ValueError, match="targets: expected the folder of the true pictures, got none"):
        TwoFolders().find(images, None, {})
    with pytest.raises(ValueError, match="targets: expected another folder than that of the generated"):
        TwoFolders().find(images, images / ".." / "images", {})
    with pytest.raises(ValueError, match="targets: expected a folder of pictures, there is none"):
        TwoFolders().find(images, targets, {})


@pytest.mark.parametrize(
    ("layout", "colours"),
    [(STRIP3, ["red", "lime", "blue"]), (STRIP5, ["red", "black", "lime", "black", "blue"])],
)
@pytest.mark.parametrize("name", ["a.jpg___b.jpg_vis.jpg", "a.jpg_b.jpg.png", "a_2_b_vis.jpeg", "a_2_b.PNG"])
def test_a_strip_is_cut_into_the_true_and_the_generated_picture(images, layout, colours, name):
    write(images, name, size=(16, 16), colours=colours)
    found = layout.find(images, None, joints_of("b.jpg"))
    assert found.problems == []
    (pair,) = found.pairs
    assert (pair.name, Path(pair.source).stem, Path(pair.target).stem) == (name, "a", "b")
    np.testing.assert_array_equal(pair.joints, joints_of("b.jpg")["b.jpg"])
    for panel, colour in ((pair.true, (0, 255, 0)), (pair.generated, (0, 0, 255))):
        assert read_panel(panel).shape == (16, 16, 3)
        # JPEG mixes the colours of the outermost pixels with the next panel's.
        np.testing.assert_allclose(read_panel(panel)[:, 1:-1], np.broadcast_to(colour, (16, 14, 3)), atol=3)


def test_a_strip_whose_name_tells_no_pair_is_a_problem(images):
    write(images, "a.png", "a_2_b_2_c.png", "a_2_b.png", colours=["red"] * 3)
    found = STRIP3.find(images, None, {})
    assert [pair.name for pair in found.pairs] == ["a_2_b.png"]
    wrong = "expected a name that tells source and target in one way, such as A_2_B.png"
    assert found.problems == [f"{images / 'a.png'}: {wrong}", f"{images / 'a_2_b_2_c.png'}: {wrong}"]


def test_strips_tell_names_by_the_annotations_too(images):
    write(images, "a_2_b_2_c.png", colours=["red"] * 3)
    found = STRIP3.find(images, None, joints_of("a.jpg", "b_2_c.jpg"))
    assert [(pair.source, pair.target) for pair in found.pairs] == [("a", "b_2_c")]


def test_strips_of_one_pair_or_without_annotation_are_problems(images):
    write(images, "a_2_b.png", "a_2_b_vis.png", "b_2_a.png", "a_2_c.png", colours=["red"] * 3)
    found = STRIP3.find(images, None, joints_of("a", "b"))
    assert [pair.name for pair in found.pairs] == ["b_2_a.png"]
    assert found.problems == [
        f"{images / 'a_2_b.png'}: expected one picture of source a and target b, got a_2_b.png, a_2_b_vis.png",
        f"{images / 'a_2_b_vis.png'}: expected one picture of source a and target b, got a_2_b.png, a_2_b_vis.png",
        f"{images / 'a_2_c.png'}: expected one annotation of its target c, got none",
    ]


def test_strips_want_no_targets(images, targets):
    write(images, "a_2_b.png", colours=["red"] * 3)
    with pytest.raises(ValueError, match="targets: expected none, as strips hold the true pictures themselves, got"):
        STRIP3.find(images, targets, {})


@pytest.mark.parametrize("places", [(3, 1, 1), (3, 1, 3), (3, -1, 2), (1, 0, 0)])
def test_places_outside_the_strip_are_refused(places):
    with pytest.raises(ValueError, match="layout: expected two places of 0 to"):
        Strips(*places)


def test_files_that_are_no_pictures_are_left_out(images):
    write(images, "b.png", "a.JPG", "._b.png", ".a.jpeg")
    for name in ("pairs.csv", "notes.txt", "scores.json", "a.gif"):
        (images / name).touch()
    (images / "old.png").mkdir()
    assert picture_names(images) == ["a.JPG", "b.png"]


def test_a_link_to_nothing_is_not_passed_over(images):
    write(images, "b.png")
    (images / "a.png").symlink_to(images / "gone.png")
    assert picture_names(images) == ["a.png", "b.png"]


def test_a_folder_without_pictures_is_refused(images):
    with pytest.raises(ValueError, match="images: expected a folder of pictures, there is none"):
        STRIP3.find(images, None, {})
    images.mkdir()
    (images / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"images: expected pictures \(png, jpg or jpeg\), got none"):
        STRIP3.find(images, None, {})


@pytest.mark.parametrize(("option", "layout"), [("folders", TwoFolders()), ("strip3", STRIP3), ("strip5", STRIP5)])
def test_every_option_is_its_layout(option, layout):
    with initialize_config_dir(version_base="1.3", config_dir=CONF):
        assert instantiate(compose(overrides=[f"+layout={option}"]).layout) == layout
