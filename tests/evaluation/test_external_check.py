import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from twostream.evaluation.external import FoundPairs, check_images, usable_pairs
from twostream.metrics.metric import Panel, ScoredPair


def write(path: Path, size=(16, 12)) -> Path:
    """Noise, so that a file is long enough to be truncated anywhere."""
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def write_pair(folder: Path, name: str, size=(16, 12), true_size=None, num_panels=1) -> ScoredPair:
    """A generated image and a true one, PNG and JPEG, or two panels of one strip."""
    generated = write(folder / name, size)
    true = write(folder / f"true_{name}.jpg", true_size or size) if num_panels == 1 else generated
    panels = Panel(generated, num_panels - 1, num_panels), Panel(true, 0, num_panels)
    return ScoredPair(name, name, name, *panels, joints=np.zeros((18, 2), dtype=np.int64))


def problems_of(pairs, num_workers=0):
    return [(pair.name, line) for pair, line in check_images(pairs, num_workers)]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_good_images_pass_and_each_bad_one_is_named_once_in_order(tmp_path, num_workers):
    pairs = [write_pair(tmp_path, f"{number:02d}.png") for number in range(40)]
    for number in (3, 17, 38):
        (tmp_path / f"{number:02d}.png").write_bytes(b"not an image")
    problems = problems_of(pairs, num_workers)
    assert [name for name, _ in problems] == ["03.png", "17.png", "38.png"]
    assert all(line.startswith(f"{tmp_path / name}: expected an image: ") for name, line in problems)


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_a_truncated_image_is_found(tmp_path, name):
    pair = write_pair(tmp_path, name, size=(64, 48))
    content = (tmp_path / name).read_bytes()
    for fraction in (0.5, 0.95):
        (tmp_path / name).write_bytes(content[: int(fraction * len(content))])
        with Image.open(tmp_path / name) as file:
            assert file.size == (48, 64)  # the header is intact
        ((_, line),) = problems_of([pair])
        assert line.startswith(f"{tmp_path / name}: expected an image: ")
        assert "truncated" in line


def test_each_kind_of_problem_has_its_line(tmp_path):
    broken_true, missing = (write_pair(tmp_path, name) for name in ("a.png", "b.png"))
    broken_true.true.path.write_bytes(b"")
    missing.generated.path.unlink()
    indivisible = write_pair(tmp_path, "c.png", size=(16, 37), num_panels=3)
    other_size = write_pair(tmp_path, "d.png", size=(16, 12), true_size=(20, 14))
    small_panel = write_pair(tmp_path, "e.png", size=(16, 30), num_panels=3)
    low, narrow = write_pair(tmp_path, "f.png", size=(10, 12)), write_pair(tmp_path, "g.png", size=(12, 10))
    fine = write_pair(tmp_path, "h.png", size=(11, 11))
    pairs = [broken_true, missing, indivisible, other_size, small_panel, low, narrow, fine]
    lines = {name: line.removeprefix(f"{tmp_path / name}: ") for name, line in problems_of(pairs)}
    assert lines.pop("a.png").startswith(f"its true image {broken_true.true.path}: expected an image: ")
    assert lines == {
        "b.png": "file not found",
        "c.png": "expected 3 panels of equal width, got a width of 37",
        "d.png": f"expected height x width 20x14, as of {other_size.true.path}, got 16x12",
        "e.png": "expected an image over 10x10, got 16x10",
        "f.png": "expected an image over 10x10, got 10x12",
        "g.png": "expected an image over 10x10, got 12x10",
    }


def test_every_error_of_pillow_is_one_line(tmp_path):
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


def test_another_size_than_that_of_most_pairs_is_found(tmp_path):
    sizes = [(20, 14), (16, 12), (16, 12), (14, 20)]
    pairs = [write_pair(tmp_path, f"{index}.png", size) for index, size in enumerate(sizes)]
    assert problems_of(pairs) == [
        (f"{index}.png", f"{tmp_path / f'{index}.png'}: expected height x width 16x12, as of most pairs, got {got}")
        for index, got in ((0, "20x14"), (3, "14x20"))
    ]


def test_no_pairs_have_no_problem():
    assert check_images([]) == []


@pytest.fixture
def mixed(tmp_path) -> FoundPairs:
    """Two good pairs, one broken, and an image without a pair."""
    pairs = [write_pair(tmp_path, name) for name in ("a.png", "b.png", "c.png")]
    (tmp_path / "b.png").write_bytes(b"not an image")
    return FoundPairs(pairs, ["x.png: of no pair"])


def test_strict_refuses_all_if_one_is_wrong(mixed, tmp_path):
    with pytest.raises(ValueError, match="2 problems in 4 images; strict=false scores the rest:") as error:
        usable_pairs(mixed, strict=True)
    lines = str(error.value).splitlines()
    assert lines[1] == "x.png: of no pair"
    assert lines[2].startswith(f"{tmp_path / 'b.png'}: expected an image")
    assert len(lines) == 3


def test_without_strict_the_rest_is_returned_and_each_problem_logged(mixed, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        usable, num_left_out = usable_pairs(mixed, strict=False)
    assert ([pair.name for pair in usable], num_left_out) == (["a.png", "c.png"], 2)
    assert caplog.messages[0] == "x.png: of no pair"
    assert caplog.messages[1].startswith(f"{tmp_path / 'b.png'}: ")


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
