"""Any file loads or is refused with a ValueError that names the file and, if there is one, the line."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twostream.data.keypoints import ANY_FRAME, HEADER, JointFrame, read_annotations, write_annotations
from twostream.data.pairs import read_pairs

NAMES = [f"{identity:04d}_c1s1_000001_{box:02d}.jpg" for identity in (1, 2) for box in (1, 2)]
PAIRS = "from,to\n" + "".join(f"{a},{b}\n" for a, b in zip(NAMES, reversed(NAMES), strict=True))
LISTS = [str(list(range(18))), str([-1] * 18), str([*range(17), -31]), str([5] * 18)]
ANNOTATIONS = (
    HEADER + "\n" + "".join(f"{name}: {y}: {x}\n" for name, y, x in zip(NAMES, LISTS, LISTS[::-1], strict=True))
)

# Tokens of such files, to pass the first checks.
TOKENS = st.sampled_from(
    [*"[]{}:,\"'\\\n\r\t .-+0159eE", "-1", "NaN", "true", "null", "\x00", "\u2028", "\ufeff", "é", *LISTS]
)
LINES = st.lists(TOKENS, max_size=12).map("".join)
RUNS = settings(max_examples=150, deadline=None, derandomize=True, database=None)


@st.composite
def near_misses(draw, valid):
    """A valid file with pieces removed, doubled or inserted."""
    text = valid
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 40)))
        middle = draw(st.sampled_from(["", text[start:end] * 2]) | TOKENS)
        text = text[:start] + middle + text[end:]
    return text.encode()


def files(valid, header):
    texts = st.text() | st.lists(LINES, max_size=4).map(lambda lines: "\n".join([header, *lines]))
    return st.binary() | texts.map(lambda text: text.encode(errors="surrogatepass")) | near_misses(valid)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def load(path, content, read):
    """Return what `read` returns, None if it refuses the file by name and line."""
    path.write_bytes(content)
    try:
        return read(path)
    except ValueError as error:
        if not is_placed(str(error), path, content):
            raise
        return None


def is_placed(message, path, content):
    """Whether a message begins with the file and one of its lines, or is about the entire file."""
    if message.startswith((f"{path}: expected UTF-8 text, got ", f"{path}: expected at least one pose pair, got none")):
        return True
    where = re.match(rf"{re.escape(str(path))}:(\d+): ", message)
    return where is not None and 1 <= int(where[1]) <= max(1, len(content.decode().splitlines()))


@RUNS
@given(content=files(ANNOTATIONS, HEADER), width=st.sampled_from([None, 64, 176, 256]))
def test_any_annotation_file_loads_or_is_refused_by_name(folder, content, width):
    joints = load(folder / "annotation.csv", content, lambda path: read_annotations(path, JointFrame(None, width)))
    for name, array in (joints or {}).items():
        assert name.strip()
        assert array.shape == (18, 2)
        assert np.issubdtype(array.dtype, np.integer)
    if joints:
        write_annotations(folder / "again.csv", joints)
        again = read_annotations(folder / "again.csv", JointFrame(None, width))
        assert list(again) == list(joints)
        assert all(np.array_equal(again[name], joints[name]) for name in joints)


@RUNS
@given(content=files(PAIRS, "from,to"), known=st.sampled_from([None, NAMES]))
def test_any_pairs_file_loads_or_is_refused_by_name(folder, content, known):
    pairs = load(folder / "pairs.csv", content, lambda path: read_pairs(path, known))
    if pairs is not None:
        assert pairs
        assert all(name if known is None else name in known for pair in pairs for name in pair)


def test_the_files_are_neither_all_valid_nor_all_refused(folder):
    assert len(load(folder / "pairs.csv", PAIRS.encode(), lambda path: read_pairs(path, NAMES))) == 4
    outcomes = set()

    @RUNS
    @given(content=near_misses(ANNOTATIONS))
    def collect(content):
        outcomes.add(load(folder / "annotation.csv", content, lambda path: read_annotations(path, ANY_FRAME)) is None)

    collect()
    assert outcomes == {True, False}
