import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from twostream.evaluation.check import check_pictures, usable_pairs
from twostream.evaluation.folders import Found
from twostream.evaluation.scored_pairs import Panel, ScoredPair


def write(path: Path, size=(16, 12)) -> Path:
    """Noise, so that a file is long enough to be cut anywhere."""
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def write_pair(folder: Path, name: str, size=(16, 12), true_size=None, num_panels=1) -> ScoredPair:
    """A generated picture and a true one in PNG and JPEG, or as two panels of one strip."""
    generated = write(folder / name, size)
    true = write(folder / f"true_{name}.jpg", true_size or size) if num_panels == 1 else generated
    panels = Panel(generated, num_panels - 1, num_panels), Panel(true, 0, num_panels)
    return ScoredPair(name, name, name, *panels, joints=np.zeros((18, 2), dtype=np.int64))


def problems_of(pairs, num_workers=0):
    return [(pair.name, line) for pair, line in check_pictures(pairs, progress=False, num_workers=num_workers)]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_good_pictures_pass_and_each_bad_one_is_named_once_in_order(tmp_path, num_workers):
    pairs = [write_pair(tmp_path, f"{number:02d}.png") for number in range(40)]
    for number in (3, 17, 38):
        (tmp_path / f"{number:02d}.png").write_bytes(b"no picture")
    problems = problems_of(pairs, num_workers)
    assert [name for name, _ in problems] == ["03.png", "17.png", "38.png"]
    assert all(line.startswith(f"{tmp_path / name}: expected a picture: ") for name, line in problems)


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_a_truncated_picture_is_found(tmp_path, name):
    pair = write_pair(tmp_path, name, size=(64, 48))
    content = (tmp_path / name).read_bytes()
    for share in (0.5, 0.95):
        (tmp_path / name).write_bytes(content[: int(share * len(content))])
        with Image.open(tmp_path / name) as file:
            assert file.size == (48, 64)  # the head alone looks whole
        ((_, line),) = problems_of([pair])
        assert line.startswith(f"{tmp_path / name}: expected a picture: ")
        assert "truncated" in line


def test_a_broken_true_picture_is_named_with_its_pair(tmp_path):
    pair = write_pair(tmp_path, "a.png")
    pair.true.path.write_bytes(b"")
    ((_, line),) = problems_of([pair])
    assert line.startswith(f"{tmp_path / 'a.png'}: its true picture {pair.true.path}: expected a picture: ")


def test_a_missing_picture_is_found(tmp_path):
    pair = write_pair(tmp_path, "a.png")
    pair.generated.path.unlink()
    assert "No such file" in problems_of([pair])[0][1]


def test_whatever_pillow_raises_is_a_line(tmp_path):
    """A wrong length of a chunk raises SyntaxError, one of the header ValueError."""
    pairs = [write_pair(tmp_path, name) for name in ("a.png", "b.png")]
    for name, chunk, length in (("a.png", b"IDAT", 99), ("b.png", b"IHDR", 5)):
        content = bytearray((tmp_path / name).read_bytes())
        start = content.index(chunk)
        content[start - 4 : start] = length.to_bytes(4, "big")
        (tmp_path / name).write_bytes(content)
    problems = problems_of(pairs)
    assert [name for name, _ in problems] == ["a.png", "b.png"]
    for name, line in problems:
        assert line.startswith(f"{tmp_path / name}: ")
        assert "\n" not in line


def test_a_width_that_does_not_divide_is_found(tmp_path):
    pairs = [
        write_pair(tmp_path, "a.png", size=(16, 36), num_panels=3),
        write_pair(tmp_path, "b.png", size=(16, 37), num_panels=3),
    ]
    assert problems_of(pairs) == [
        ("b.png", f"{tmp_path / 'b.png'}: expected 3 panels of equal width, got a width of 37")
    ]


def test_a_generated_picture_of_another_size_than_the_true_one_is_found(tmp_path):
    pair = write_pair(tmp_path, "a.png", size=(16, 12), true_size=(20, 14))
    assert problems_of([pair]) == [
        ("a.png", f"{tmp_path / 'a.png'}: expected height x width 20x14, as {pair.true.path} has, got 16x12")
    ]


@pytest.mark.parametrize(("size", "is_fine"), [((10, 12), False), ((12, 10), False), ((11, 11), True)])
def test_a_picture_under_the_window_is_found(tmp_path, size, is_fine):
    pair = write_pair(tmp_path, "a.png", size=size)
    line = f"{tmp_path / 'a.png'}: expected a picture over 10x10, got {size[0]}x{size[1]}"
    assert problems_of([pair]) == ([] if is_fine else [("a.png", line)])


def test_the_panel_not_the_strip_is_measured_against_the_window(tmp_path):
    pair = write_pair(tmp_path, "a.png", size=(16, 30), num_panels=3)
    assert problems_of([pair]) == [("a.png", f"{tmp_path / 'a.png'}: expected a picture over 10x10, got 16x10")]


def test_the_size_of_most_pairs_is_the_right_one(tmp_path):
    sizes = [(20, 14), (16, 12), (16, 12), (14, 20)]
    pairs = [write_pair(tmp_path, f"{index}.png", size) for index, size in enumerate(sizes)]
    assert problems_of(pairs) == [
        (f"{index}.png", f"{tmp_path / f'{index}.png'}: expected height x width 16x12, as most pairs have, got {got}")
        for index, got in ((0, "20x14"), (3, "14x20"))
    ]


def test_no_pairs_have_no_problems():
    assert problems_of([]) == []


def test_the_bar_counts_the_pairs(tmp_path, capsys):
    pairs = [write_pair(tmp_path, f"{index}.png") for index in range(20)]
    check_pictures(pairs)
    assert "20/20" in capsys.readouterr().err
    check_pictures(pairs, progress=False)
    assert capsys.readouterr().err == ""


@pytest.fixture
def mixed(tmp_path) -> Found:
    """Two good pairs, one broken, and a picture that made no pair."""
    pairs = [write_pair(tmp_path, name) for name in ("a.png", "b.png", "c.png")]
    (tmp_path / "b.png").write_bytes(b"no picture")
    return Found(pairs, ["x.png: of no pair"])


def test_good_pairs_are_all_returned(tmp_path, caplog):
    pairs = [write_pair(tmp_path, name) for name in ("a.png", "b.png")]
    usable, num_left_out = usable_pairs(Found(pairs, []), strict=True, progress=False)
    assert ([pair.name for pair in usable], num_left_out, caplog.records) == (["a.png", "b.png"], 0, [])


def test_strict_refuses_all_where_one_is_wrong(mixed, tmp_path):
    with pytest.raises(ValueError, match="2 problems in 4 pictures; strict=false scores the rest:") as error:
        usable_pairs(mixed, strict=True, progress=False)
    lines = str(error.value).splitlines()
    assert lines[1] == "x.png: of no pair"
    assert lines[2].startswith(f"{tmp_path / 'b.png'}: expected a picture")
    assert len(lines) == 3


def test_without_strict_the_rest_is_returned_and_each_problem_logged(mixed, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        usable, num_left_out = usable_pairs(mixed, strict=False, progress=False)
    assert ([pair.name for pair in usable], num_left_out) == (["a.png", "c.png"], 2)
    assert caplog.messages[0] == "x.png: of no pair"
    assert caplog.messages[1].startswith(f"{tmp_path / 'b.png'}: ")
    assert {record.name for record in caplog.records} == {"twostream.evaluation.check"}


def test_the_log_holds_every_problem_and_the_error_the_first_20(mixed, caplog):
    found = Found(mixed.pairs, [f"x{number}.png: of no pair 100%" for number in range(25)])
    with pytest.raises(ValueError, match="26 problems in 28 pictures") as error:
        usable_pairs(found, strict=True, progress=False)
    lines = str(error.value).splitlines()
    assert lines[1:21] == found.problems[:20]
    assert lines[21:] == ["and 6 more"]
    assert usable_pairs(found, strict=False, progress=False)[1] == len(caplog.messages) == 26


@pytest.mark.parametrize("strict", [True, False])
def test_nothing_left_is_refused_either_way(mixed, strict):
    found = Found(mixed.pairs[1:2], mixed.problems)
    with pytest.raises(ValueError, match=r"2 problems in 2 pictures; none is left to score:\nx\.png: of no pair\n"):
        usable_pairs(found, strict, progress=False)
