"""Which pairs are found in folders of images, and what is reported about the other images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from twostream.data.keypoints import NUM_JOINTS, write_annotations
from twostream.evaluation.external import (
    FoundPairs,
    NameIndex,
    Strips,
    TwoFolders,
    check_images,
    find_pairs,
    image_names,
    source_and_target,
    stem_of,
    usable_pairs,
)
from twostream.metrics.metric import Panel, ScoredPair

STRIP3, STRIP5 = Strips(3, 1, 2), Strips(5, 2, 4)
AMBIGUOUS = "expected an unambiguous name of source and target, as A_2_B.png"
A, B = "0002_c1s1_000451_03", "0002_c2s1_000301_01"
BLOUSE, BACK = "fashionWOMENBlouses_Shirtsid0000069302_2side", "fashionWOMENBlouses_Shirtsid0000069302_3back"


@pytest.mark.parametrize(
    ("name", "source", "target"),
    [
        (f"{A}.jpg___{B}.jpg_vis.jpg", f"{A}.jpg", f"{B}.jpg"),
        (f"{A}___{B}.png", A, B),
        (f"{A}.jpg_{B}.jpg_vis.png", f"{A}.jpg", f"{B}.jpg"),
        (f"{BLOUSE}.jpg_{BACK}.jpg.png", f"{BLOUSE}.jpg", f"{BACK}.jpg"),
        (f"{A}.JPG_{B}.JPEG.PNG", f"{A}.JPG", f"{B}.JPEG"),
        (f"{A}_2_{B}_vis.JPEG", A, B),
        (f"{BLOUSE}_2_{BACK}.png", BLOUSE, BACK),
        (f"{A}.jpg_2_{B}_vis.png", f"{A}.jpg", B),
        ("me_2_a.jpg_you_2_b.jpg.png", "me_2_a.jpg", "you_2_b.jpg"),
        ("me_2_a.jpg___you_2_b.jpg_vis.jpg", "me_2_a.jpg", "you_2_b.jpg"),
        ("v1.5_2_v1.6.png", "v1.5", "v1.6"),
    ],
)
def test_source_and_target_are_read_from_every_form(name, source, target):
    for known in ([], ["c"]):
        assert source_and_target(name, NameIndex(known)) == (source, target)


@pytest.mark.parametrize(
    "name",
    [
        *(f"{A}.jpg", f"{A}_vis.jpg", f"{BLOUSE}.jpg", "a_b.png", "a.jpg_b.png", "_2_b.png", "a_2_.png", "a_2_vis.png"),
        *("a_2_b_2_c.png", "a_2_2_b.png", "a___b___c.png", "a___b_2_c.png"),
    ],
)
@pytest.mark.parametrize("known", [[], ["a", "b", "c"]])
def test_a_name_of_no_form_and_an_ambiguous_one_are_not_parsed(name, known):
    assert source_and_target(name, NameIndex(known)) is None


@pytest.mark.parametrize(
    ("name", "known", "pair"),
    [
        ("a_2_b_2_c.png", ["a.jpg", "b_2_c.jpg", "c.jpg"], ("a", "b_2_c")),
        ("a_2_b_2_c.png", ["a", "b_2_c", "a_2_b", "c"], None),
        ("a_2_b_2_c_vis.jpg", ["a.jpg", "a_2_b.jpg", "c.jpg"], ("a_2_b", "c")),
        ("a_2_2_b.png", ["a_2", "b", "a"], ("a_2", "b")),
        ("a___b_2_c.png", ["a___b", "c"], ("a___b", "c")),
    ],
)
def test_an_ambiguous_name_is_split_into_known_names_if_that_is_possible_in_one_way(name, known, pair):
    assert source_and_target(name, NameIndex(known)) == pair


def test_only_the_extension_of_an_image_is_removed():
    names = ["a.jpg", "a.JPeG", "a.b.png", "v1.5", "a.jpg_b", "a.png.txt"]
    assert [stem_of(name) for name in names] == ["a", "a", "a.b", "v1.5", "a.jpg_b", "a.png.txt"]


def test_an_equal_name_is_found_before_those_of_equal_stem():
    names = NameIndex(["a.jpg", "a.png", "b.jpg"])
    assert names.find("a.png") == ["a.png"]
    assert names.find("a") == names.find("a.jpeg") == ["a.jpg", "a.png"]
    assert names.find("b") == names.find("b.PNG") == ["b.jpg"]
    assert names.find("c.jpg") == []


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


def test_the_folder_of_the_true_images_is_required(tmp_path):
    images = touch(tmp_path / "images", "a.png")
    with pytest.raises(ValueError, match="targets: expected the folder of the true images, got none"):
        TwoFolders().find(images, None, {})
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


def test_without_annotations_a_strip_needs_no_names(find):
    pairs, problems = find(["00047.png", "00048.png"], None, [], STRIP3)
    assert (pairs, problems) == ([(name, name, name, name) for name in ("00047.png", "00048.png")], [])


def test_true_images_can_be_scored_against_themselves(tmp_path):
    images = touch(tmp_path / "images", "a.png", "b.png")
    found = TwoFolders().find(images, images, joints_of("a.png", "b.png"))
    assert [(pair.generated, pair.target, pair.joints[0, 0]) for pair in found.pairs] == [
        (pair.true, pair.name, i) for i, pair in enumerate(found.pairs)
    ]
    assert found.problems == []


# Persons in the middle of images of both widths of DeepFashion.
@pytest.mark.parametrize(("width", "made_for"), [(176, 256), (256, 176)])
def test_joints_of_another_frame_than_the_images_are_refused(tmp_path, width, made_for):
    images, annotations = tmp_path / "images", tmp_path / "joints.csv"
    images.mkdir()
    for i in range(12):
        Image.new("RGB", (width, 256)).save(images / f"fashionWOMENTeesid{i:08d}01_1front.jpg")
    Image.new("RGB", (300, 300)).save(images / "another.jpg")
    around = np.random.default_rng(0).integers(-20, 20, (12, NUM_JOINTS, 2))

    def find(x):
        # Names as paths, as in some copies of the published files.
        joints = {f"fashion/WOMEN/Tees/id_{i:08d}/01_1_front.jpg": around[i] + [128, x] for i in range(12)}
        write_annotations(annotations, joints)
        return find_pairs(TwoFolders(), images, images, annotations)

    with pytest.raises(
        ValueError, match=rf"joints\.csv: the mean x of 12 persons is \d+, the middle of .* {made_for}: "
    ):
        find(made_for // 2)
    assert len(find(width // 2).pairs) == 12


def test_an_image_that_is_annotated_in_two_spellings_is_refused(tmp_path):
    annotations = tmp_path / "joints.csv"
    images = touch(tmp_path / "images")
    Image.new("RGB", (16, 32)).save(images / (name := "fashionWOMENTeesid0000000101_1front.jpg"))
    joints = np.full((NUM_JOINTS, 2), 8)
    write_annotations(annotations, {name: joints, "fashion/WOMEN/Tees/id_00000001/01_1_front.jpg": joints})
    with pytest.raises(ValueError, match=f"^{annotations}: 1 images are annotated twice, in two spellings$"):
        find_pairs(TwoFolders(), images, images, annotations)


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
    with pytest.raises(ValueError, match=r"images: expected images \(.png, .jpg, .jpeg, .webp\), got none"):
        image_names(images)
    touch(images, "b.png", "a.JPG")
    (images / "c.png").symlink_to(images / "gone.png")
    assert image_names(images) == ["a.JPG", "b.png", "c.png"]


def write(path: Path, size=(16, 12)) -> Path:
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def write_pair(folder: Path, name: str, size=(16, 12), true_size=None, num_panels=1) -> ScoredPair:
    """A generated image and a true one, PNG and JPEG, or two panels of one strip."""
    generated = write(folder / name, size)
    true = write(folder / f"true_{name}.jpg", true_size or size) if num_panels == 1 else generated
    panels = Panel(generated, num_panels - 1, num_panels), Panel(true, 0, num_panels)
    return ScoredPair(name, name, name, *panels, joints=np.zeros((18, 2), dtype=np.int64))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_good_images_pass_and_each_bad_one_is_named_once_in_order(tmp_path, num_workers):
    pairs = [write_pair(tmp_path, f"{number:02d}.png") for number in range(40)]
    for number in (3, 17, 38):
        (tmp_path / f"{number:02d}.png").write_bytes(b"not an image")
    problems = check_images(pairs, num_workers)
    assert list(problems) == ["03.png", "17.png", "38.png"]
    assert all(line.startswith(f"{tmp_path / name}: expected an image: ") for name, line in problems.items())


def test_each_kind_of_problem_has_its_line(tmp_path):
    truncated_true, missing = (write_pair(tmp_path, name) for name in ("a.png", "b.png"))
    path = truncated_true.true.path
    path.write_bytes(path.read_bytes()[:-50])
    missing.generated.path.unlink()
    indivisible = write_pair(tmp_path, "c.png", size=(16, 37), num_panels=3)
    other_size = write_pair(tmp_path, "d.png", size=(16, 12), true_size=(20, 14))
    small_panel = write_pair(tmp_path, "e.png", size=(16, 30), num_panels=3)
    low, narrow = write_pair(tmp_path, "f.png", size=(10, 12)), write_pair(tmp_path, "g.png", size=(12, 10))
    fine = write_pair(tmp_path, "h.png", size=(11, 11))
    pairs = [truncated_true, missing, indivisible, other_size, small_panel, low, narrow, fine]
    lines = {name: line.removeprefix(f"{tmp_path / name}: ") for name, line in check_images(pairs).items()}
    assert lines.pop("a.png").startswith(f"its true image {path}: expected an image: ")
    assert lines == {
        "b.png": "file not found",
        "c.png": "expected 3 panels of equal width, got a width of 37",
        "d.png": f"expected height x width 20x14, as of {other_size.true.path}, got 16x12",
        "e.png": "expected an image over 10x10, got 16x10",
        "f.png": "expected an image over 10x10, got 10x12",
        "g.png": "expected an image over 10x10, got 12x10",
    }


def test_another_size_than_that_of_most_pairs_is_found(tmp_path):
    sizes = [(20, 14), (16, 12), (16, 12), (14, 20)]
    pairs = [write_pair(tmp_path, f"{index}.png", size) for index, size in enumerate(sizes)]
    assert check_images(pairs) == {
        name: f"{tmp_path / name}: expected height x width 16x12, as of most pairs, got {got}"
        for name, got in (("0.png", "20x14"), ("3.png", "14x20"))
    }
    assert check_images([]) == {}


@pytest.fixture
def mixed(tmp_path) -> FoundPairs:
    """Two good pairs, one broken, and an image without a pair."""
    pairs = [write_pair(tmp_path, name) for name in ("a.png", "b.png", "c.png")]
    (tmp_path / "b.png").write_bytes(b"not an image")
    return FoundPairs(pairs, ["x.png: of no pair"])


def test_the_log_contains_every_problem_and_the_error_the_first_20(mixed, caplog):
    found = FoundPairs(mixed.pairs, [f"x{number}.png: of no pair 100%" for number in range(25)])
    with pytest.raises(ValueError, match="26 problems in 28 images") as error:
        usable_pairs(found, strict=True)
    lines = str(error.value).splitlines()
    assert lines[1:21] == found.problems[:20]
    assert lines[21:] == ["and 6 more"]
    assert usable_pairs(found, strict=False)[1] == len(caplog.messages) == 26


@pytest.mark.parametrize("strict", [True, False])
def test_no_usable_pair_is_an_error(mixed, strict):
    found = FoundPairs(mixed.pairs[1:2], mixed.problems)
    with pytest.raises(ValueError, match=r"2 problems in 2 images; none can be scored:\nx\.png: of no pair\n"):
        usable_pairs(found, strict)
