import re
from pathlib import Path

import pytest

from twostream.data.keypoints import ANY_FRAME, FLIPPED, JOINT_NAMES, LIMBS, JointFrame, found, read_annotations

HEADER = "name:keypoints_y:keypoints_x"
ROW = "0001_c1s1_000001_01.jpg: " + str([0, 5] + [-1] * 16) + ": " + str([0, -7] + [-1] * 16)


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def other_side(name: str) -> str:
    side, _, body_part = name.partition(" ")
    return {"right": f"left {body_part}", "left": f"right {body_part}"}.get(side, name)


def test_a_flip_swaps_left_and_right():
    assert [JOINT_NAMES[i] for i in FLIPPED] == [other_side(name) for name in JOINT_NAMES]
    assert {frozenset(FLIPPED[i] for i in limb) for limb in LIMBS} == {frozenset(limb) for limb in LIMBS}


def test_y_is_before_x_and_only_minus_one_is_missing(tmp_path):
    joints = read_annotations(write(tmp_path / "a.csv", HEADER, ROW), ANY_FRAME)["0001_c1s1_000001_01.jpg"]
    assert joints[:3].tolist() == [[0, 0], [5, -7], [-1, -1]]
    assert found(joints)[:3].tolist() == [True, True, False]


@pytest.mark.parametrize("header", [HEADER, HEADER + "," * 34])
@pytest.mark.parametrize("row", [ROW, ROW.replace(": ", ":")])
def test_variants_in_use_are_read(tmp_path, header, row):
    name = "fashion/WOMEN/Shorts/id_00000748/01_2_side.jpg"
    other = row.replace("0001_c1s1_000001_01.jpg", name)
    assert list(read_annotations(write(tmp_path / "a.csv", header, row, other), ANY_FRAME)) == [
        "0001_c1s1_000001_01.jpg",
        name,
    ]
    assert read_annotations(write(tmp_path / "a.csv", header, ""), ANY_FRAME) == {}


JOINTS = f"{[1] * 18}"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([""], r"a\.csv:1: expected the header .*got ''"),
        (["name;y;x"], r"a\.csv:1: expected the header .*got 'name;y;x'"),
        ([HEADER, ROW, "x.jpg: [1]"], r"a\.csv:3: expected 3 fields separated by ':', got 2: 'x\.jpg: \[1\]'"),
        ([HEADER, f" : {JOINTS}: {JOINTS}"], r"a\.csv:2: expected an image name, got none"),
        ([HEADER, f"x.jpg: {[1] * 17}: {[1] * 17}"], r"a\.csv:2: expected 18 joints .*, got 17"),
        ([HEADER, ROW, "", f"x.jpg: []: {JOINTS}"], r"a\.csv:4: expected as many y as x, got 0 y and 18 x"),
        ([HEADER, f"x.jpg: {[0.5] * 18}: {JOINTS}"], r"a\.csv:2: expected a JSON list of 18 integers, got '\[0\.5, "),
        ([HEADER, f"x.jpg: {[2**15] * 18}: {JOINTS}"], r"a\.csv:2: expected a JSON list of 18 integers"),
        ([HEADER, f"x.jpg: {JOINTS}: [true]"], r"a\.csv:2: expected a JSON list of 18 integers, got '\[true\]'"),
        ([HEADER, f"x.jpg: [1, 2: {JOINTS}"], r"a\.csv:2: expected a JSON list of 18 integers, got '\[1, 2'"),
        ([HEADER, f"x.jpg: 5: {JOINTS}"], r"a\.csv:2: expected a JSON list of 18 integers, got '5'"),
        ([HEADER, f"x.jpg: [{'1' * 5000}]: {JOINTS}"], r"a\.csv:2: expected a JSON list of 18 integers, got '\[11"),
        ([HEADER, f"x.jpg: {'[' * 100_000}: {JOINTS}"], r"a\.csv:2: expected a JSON list of 18 integers, got '\[\["),
        ([HEADER, ROW, ROW], r"a\.csv:3: '0001_c1s1_000001_01.jpg' is annotated twice"),
    ],
)
def test_malformed_files_are_refused_with_file_and_line(tmp_path, lines, message):
    with pytest.raises(ValueError, match=message):
        read_annotations(write(tmp_path / "a.csv", *lines), ANY_FRAME)


def test_bytes_that_are_not_text_are_refused_with_the_file(tmp_path):
    (tmp_path / "a.csv").write_bytes(HEADER.encode() + b"\n\xff")
    with pytest.raises(ValueError, match=r"a\.csv: expected UTF-8 text, got byte 0xff at offset 29"):
        read_annotations(tmp_path / "a.csv", ANY_FRAME)


def test_missing_joints_written_as_zero_are_refused(tmp_path):
    zeros = f"x.jpg: {[0, 0, *range(2, 18)]}: {[0, 0, *range(2, 18)]}"
    complete = f"y.jpg: {JOINTS}: {JOINTS}"
    with pytest.raises(
        ValueError, match=r"a\.csv:4: 2 joints are at \(0, 0\), and no joint of the file is -1: expected -1 for both"
    ):
        read_annotations(write(tmp_path / "a.csv", HEADER, complete, "", zeros), ANY_FRAME)
    assert len(read_annotations(write(tmp_path / "a.csv", HEADER, zeros, ROW), ANY_FRAME)) == 2
    one_corner = f"x.jpg: {[0, *range(1, 18)]}: {[0, *range(1, 18)]}"
    assert found(read_annotations(write(tmp_path / "a.csv", HEADER, one_corner), ANY_FRAME)["x.jpg"]).all()


def rows_of(*xs: int) -> list[str]:
    """An image for each x, with two joints: one in the middle, one at x."""
    missing = [-1] * 16
    return [HEADER, *(f"{i}.jpg: {[50, 60, *missing]}: {[88, x, *missing]}" for i, x in enumerate(xs))]


@pytest.mark.parametrize(
    ("width", "xs"),
    [
        (176, (-31, 205)),
        (176, (-40, 215)),
        (256, (9, 245)),
        (256, (0, 255)),
        (256, (-20, 250)),  # not of width 176, where x ends at 215
        (256, (-5, 200)),
        (200, (-31, 200)),
        (None, (-3000, 3000)),
    ],
)
def test_joints_outside_the_image_are_read(tmp_path, width, xs):
    joints = read_annotations(write(tmp_path / "a.csv", *rows_of(*xs)), JointFrame(None, width))
    assert [array[1].tolist() for array in joints.values()] == [[60, x] for x in xs]


@pytest.mark.parametrize(
    ("width", "xs", "message"),
    [
        (176, (30, 216, 245), "a.csv:3: x = 216 belongs to another frame: expected -40 to 215"),
        (176, (-41,), "a.csv:2: x = -41 belongs to another frame: expected -40 to 215"),
        (256, (100, 215, -31), "a.csv:4: x = -31 belongs to another frame: expected 0 to 255"),
        (64, (100,), "a.csv:2: x = 88 belongs to another frame: expected -14 to 77"),
    ],
)
def test_x_of_another_frame_is_refused_with_file_line_and_value(tmp_path, width, xs, message):
    with pytest.raises(ValueError, match=rf"{re.escape(message)} for images of width {width}; use the annotations"):
        read_annotations(write(tmp_path / "a.csv", *rows_of(*xs)), JointFrame(None, width))


def test_y_of_another_frame_is_refused_with_file_line_and_value(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(f"{HEADER}\na.jpg: {[0] * 17 + [157]}: {[9] * 18}\nb.jpg: {[0] * 17 + [30_000]}: {[9] * 18}\n")
    message = r"a\.csv:3: y = 30000 belongs to another frame: expected -29 to 156 for images of height 128"
    with pytest.raises(ValueError, match=message.replace("a\\.csv:3: y = 30000", r"a\.csv:2: y = 157")):
        read_annotations(path, JointFrame(128, 64))
    path.write_text(path.read_text().replace("157", "156"))
    with pytest.raises(ValueError, match=message):
        read_annotations(path, JointFrame(128, 64))
    assert len(read_annotations(path, JointFrame(None, 64))) == 2


def test_joints_of_images_of_half_the_size_are_refused(tmp_path):
    rows = [f"{i}.jpg: {[20 + i] * 18}: {[12 + i] * 18}" for i in range(10)]
    path = write(tmp_path / "a.csv", HEADER, *rows)
    assert len(read_annotations(path, JointFrame(64, 32))) == 10
    message = "the mean joint is at y = 24, x = 16: expected about the middle of images of 128x64"
    with pytest.raises(ValueError, match=rf"^{path}: {message}"):
        read_annotations(path, JointFrame(128, 64))


@pytest.mark.parametrize("width", [64, 176, 256])
def test_missing_joints_are_in_every_frame(tmp_path, width):
    rows = [f"{i}.jpg: {[-1] * 18}: {[-1] * 18}" for i in range(2)]
    assert len(read_annotations(write(tmp_path / "a.csv", HEADER, *rows), JointFrame(None, width))) == 2


@pytest.mark.parametrize("row", ["{}", "{}:1:2:3", "{}: [1]: [1]", "a.jpg: {}: [1]", "a.jpg: [{}]: [1]"])
def test_a_long_line_is_quoted_by_its_beginning(tmp_path, row):
    path = tmp_path / "a.csv"
    long = "1" * 1_000_000
    for lines in ([HEADER, row.format(long)], [long, ROW]):
        with pytest.raises(ValueError, match=r"a\.csv:\d: expected .*\.\.\. \(1,000,0\d\d characters\)$") as error:
            read_annotations(write(path, *lines), ANY_FRAME)
        assert len(str(error.value)) < len(str(path)) + 250


@pytest.mark.parametrize("name", ["../a.jpg", "/etc/a.jpg", "b/../../a.jpg", "a\0.jpg", "a" * 252 + ".jpg"])
def test_names_that_are_not_in_the_folder_are_refused_with_file_and_line(tmp_path, name):
    path = write(tmp_path / "a.csv", HEADER, f"{name}: {JOINTS}: {JOINTS}")
    with pytest.raises(ValueError, match=r"a\.csv:2: expected the name of an image in the folder of images, got '"):
        read_annotations(path, ANY_FRAME)
