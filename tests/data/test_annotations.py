from pathlib import Path

import numpy as np
import pytest

from twostream.data.annotations import found, read_annotations, write_annotations

HEADER = "name:keypoints_y:keypoints_x"
ROW = "0001_c1s1_000001_01.jpg: " + str([0, 5] + [-1] * 16) + ": " + str([0, -7] + [-1] * 16)


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_reads_y_before_x(tmp_path):
    joints = read_annotations(write(tmp_path / "a.csv", HEADER, ROW))["0001_c1s1_000001_01.jpg"]
    assert joints[:3].tolist() == [[0, 0], [5, -7], [-1, -1]]


def test_zero_is_a_joint_and_only_minus_one_is_missing(tmp_path):
    joints = read_annotations(write(tmp_path / "a.csv", HEADER, ROW))["0001_c1s1_000001_01.jpg"]
    assert found(joints)[:3].tolist() == [True, True, False]


@pytest.mark.parametrize("header", [HEADER, HEADER + "," * 34])
@pytest.mark.parametrize("row", [ROW, ROW.replace(": ", ":")])
def test_copies_of_the_field_are_read(tmp_path, header, row):
    assert len(read_annotations(write(tmp_path / "a.csv", header, row))) == 1


def test_round_trip(tmp_path):
    joints = {f"{i}.jpg": np.random.default_rng(i).integers(-1, 128, (18, 2)) for i in range(3)}
    write_annotations(tmp_path / "a.csv", joints)
    again = read_annotations(tmp_path / "a.csv")
    assert list(again) == list(joints)
    assert all((again[name] == joints[name]).all() for name in joints)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["name;y;x"], r"a\.csv:1: expected the header .*got 'name;y;x'"),
        ([HEADER, ROW, "x.jpg: [1]"], r"a\.csv:3: expected 3 fields separated by ':', got 2"),
        ([HEADER, "x.jpg: [1, 2]: [1, 2]"], r"a\.csv:2: expected a JSON list of 18 integers, got '\[1, 2\]'"),
        ([HEADER, f"x.jpg: {[0.5] * 18}: {[1] * 18}"], r"a\.csv:2: expected a JSON list of 18 integers"),
        ([HEADER, f"x.jpg: [1, 2: {[1] * 18}"], r"a\.csv:2: expected a JSON list of 18 integers, got '\[1, 2'"),
        ([HEADER, ROW, ROW], r"a\.csv:3: '0001_c1s1_000001_01.jpg' is annotated twice"),
    ],
)
def test_malformed_files_are_refused_with_file_and_line(tmp_path, lines, message):
    with pytest.raises(ValueError, match=message):
        read_annotations(write(tmp_path / "a.csv", *lines))
