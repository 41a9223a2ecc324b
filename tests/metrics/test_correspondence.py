import math
import shutil

import numpy as np
import pytest

from stand_ins import draw_batch, without_joints
from tiny_run import PEOPLE
from twostream.data.pairs import read_pairs
from twostream.metrics.correspondence import (
    THRESHOLD,
    TOLERANCE,
    Correspondence,
    CorrespondenceColumns,
    Surface,
    TrueMatches,
    count_correct,
    expected_correct,
    position_centres,
    positions_of,
    read_surface,
    true_matches,
)
from twostream.metrics.metric import update_all


def surface(size, **parts):
    """A background with rectangles of body parts, given as `part5=(top, left, u, v)`."""
    part, u, v = np.zeros(size, np.uint8), np.zeros(size, np.float16), np.zeros(size, np.float16)
    for name, (top, left, some_u, some_v) in parts.items():
        rows, columns = np.shape(some_u)
        area = slice(top, top + rows), slice(left, left + columns)
        part[area], u[area], v[area] = int(name.removeprefix("part")), some_u, some_v
    return Surface(part, u, v)


def patch(rows, columns, first_u=-0.2):
    """Coordinates in steps of 1/36, all different; three steps are within the tolerance."""
    v, u = np.mgrid[:rows, :columns] / 36
    return first_u + u, v


def pixel(*u_and_v):
    u, v = u_and_v
    return np.array([[u]]), np.array([[v]])


def as_dict(matches):
    return dict(zip(map(tuple, matches.target.tolist()), map(tuple, matches.source.tolist()), strict=True))


def test_a_shifted_part_is_found():
    source, target = surface((32, 16), part3=(4, 2, *patch(16, 8))), surface((32, 16), part3=(9, 5, *patch(16, 8)))
    matches = true_matches(source, target)
    assert len(matches.target) == 16 * 8
    assert (target.part[tuple(matches.target.T)] == 3).all()
    assert (matches.target - matches.source == (5, 3)).all()


@pytest.mark.parametrize(("u_target", "u_source"), [(-0.48, 0.48), (0.5, -0.5), (0.44, -0.49), (-0.02, 0.03)])
def test_u_wraps_around(u_target, u_source):
    source = surface((4, 4), part1=(1, 1, *pixel(u_source, 0.5)))
    target = surface((4, 4), part1=(2, 3, *pixel(u_target, 0.5)))
    assert as_dict(true_matches(source, target)) == {(2, 3): (1, 1)}


@pytest.mark.parametrize("other", [{}, {"part2": (0, 0, *patch(3, 3))}])
def test_without_a_common_part_there_is_no_match(other):
    source, target = surface((8, 8), part1=(0, 0, *patch(3, 3))), surface((8, 8), **other)
    for matches in (true_matches(source, target), true_matches(target, source)):
        assert matches.target.shape == matches.source.shape == (0, 2)
        assert count_correct(np.arange(4), matches, (8, 8), (2, 2)) == 0
        assert expected_correct(matches, (8, 8)) == 0


def test_equals_the_definition_by_loops(agree):
    random = np.random.default_rng(0)
    part, u, v = random.integers(0, 3, (2, 6, 5)), random.uniform(-0.5, 0.5, (2, 6, 5)), random.uniform(0, 1, (2, 6, 5))
    source, target = (Surface(p.astype(np.uint8), *some) for p, *some in zip(part, u, v, strict=True))
    expected = {}
    for y, x in np.ndindex(6, 5):
        distances = {}
        for point in np.ndindex(6, 5):
            if target.part[y, x] == source.part[point] > 0:
                turn = abs(target.u[y, x] - source.u[point])
                distances[point] = math.hypot(min(turn, 1 - turn), target.v[y, x] - source.v[point])
        if distances and min(distances.values()) <= TOLERANCE:
            expected[y, x] = min(distances, key=distances.get)
    assert 3 < len(expected) < 20
    found = sorted(as_dict(true_matches(source, target)).items())
    agree(
        "Metrics", "true matches of synthetic people", "loops over pairs of pixels", found, sorted(expected.items()), 0
    )


def test_positions_of_pixels():
    pixels = np.array([[0, 0], [3, 3], [3, 4], [4, 3], [31, 15], [16, 8]])
    assert positions_of(pixels, (32, 16), (8, 4)).tolist() == [0, 0, 1, 4, 31, 18]
    assert positions_of(pixels[:0], (32, 16), (8, 4)).tolist() == []


def test_centres_of_positions():
    assert position_centres((8, 8), (2, 2)).tolist() == [[1.5, 1.5], [1.5, 5.5], [5.5, 1.5], [5.5, 5.5]]
    pixels = np.argwhere(np.ones((32, 24)))
    own = positions_of(pixels, (32, 24), (8, 6))
    means = [pixels[own == position].mean(axis=0).tolist() for position in range(48)]
    assert position_centres((32, 24), (8, 6)).tolist() == means


SIZE = (64, 32)


@pytest.fixture
def shifted():
    """All pixels of the target's lower right; in the source they are 8 higher and 4 further left: 2 cells and 1."""
    target = np.argwhere(np.ones(SIZE)).reshape(*SIZE, 2)[8:, 4:].reshape(-1, 2)
    return TrueMatches(target, target - (8, 4))


def test_a_perfect_matching_finds_all_and_a_wrong_one_none(shifted):
    # The centre of a 4x4 cell is 2.1 pixels from its corners, a third of the allowed 6.4.
    perfect = (np.arange(16 * 8) - 2 * 8 - 1).clip(min=0)
    assert count_correct(perfect, shifted, SIZE, (16, 8)) == len(shifted.target)
    # Half a map away, in rows that wrap around.
    wrong = (np.arange(16 * 8) + 6 * 8 - 1) % (16 * 8)
    assert count_correct(wrong, shifted, SIZE, (16, 8)) == 0


def test_a_match_may_be_off_by_a_tenth_of_the_height():
    # The matched centres are (1.5, 1.5) and (1.5, 5.5); 0.1 x 20 pixels = 2.
    truth = TrueMatches(np.array([[0, 0]] * 4), np.array([[1, 2], [3, 2], [1, 4], [3, 3]]))
    distances = [math.dist((1.5, 1.5), source) for source in truth.source.tolist()]
    assert [distance <= THRESHOLD * 20 for distance in distances] == [True, True, False, False]
    assert count_correct(np.array([0] * 10), truth, (20, 8), (5, 2)) == 2


def test_a_pixel_has_the_match_of_its_position():
    truth = TrueMatches(np.array([[0, 0], [0, 4], [19, 7]]), np.array([[1, 1], [1, 5], [1, 5]]))
    matches = np.arange(10)
    assert count_correct(matches, truth, (20, 8), (5, 2)) == 2
    matches[9] = 1
    assert count_correct(matches, truth, (20, 8), (5, 2)) == 3
    matches[0] = 1
    assert count_correct(matches, truth, (20, 8), (5, 2)) == 2


def test_chance_is_the_mean_over_all_positions(shifted):
    centres = [(4 * row + 1.5, 4 * column + 1.5) for row in range(16) for column in range(8)]
    some = TrueMatches(shifted.target[::37], shifted.source[::37])
    near = sum(math.dist(centre, source) <= 6.4 for centre in centres for source in some.source.tolist())
    assert expected_correct(some, SIZE) == pytest.approx(near / 128)


PEOPLE_SIZE, PEOPLE_MAP = PEOPLE["image_size"], (8, 4)


@pytest.fixture(scope="module")
def pairs(people_folder):
    return read_pairs(people_folder / "pairs-test.csv")


@pytest.fixture(scope="module")
def surfaces(people_folder):
    return people_folder / "surface-test"


@pytest.fixture(scope="module")
def truths(pairs, surfaces):
    return [true_matches(*(read_surface(surfaces / name.replace(".jpg", ".npz")) for name in pair)) for pair in pairs]


def measure(by_block, pairs, surfaces):
    """The metrics and columns of given matches, for each block `(pairs, positions)`."""
    found = {f"block_{k}": np.asarray(block) for k, block in enumerate(by_block, start=1)}
    shared = CorrespondenceColumns(lambda _: found, dict.fromkeys(found, PEOPLE_MAP), surfaces, PEOPLE_SIZE)
    metrics = [Correspondence(matching, shared) for matching in shared.maps]
    return metrics, update_all(metrics, without_joints(draw_batch(PEOPLE_SIZE, len(pairs)))._replace(pairs=pairs))


def cell(pixel):
    return pixel[0] // 4 * 4 + pixel[1] // 4


def best_matching(truth):
    """The source position that most pixels of each target position agree with, by trying all, and their number."""
    correct = np.zeros((32, 32))
    for target, source in zip(truth.target.tolist(), truth.source.tolist(), strict=True):
        for y, x in np.ndindex(PEOPLE_MAP):
            correct[cell(target), cell((4 * y, 4 * x))] += math.dist((4 * y + 1.5, 4 * x + 1.5), source) <= 3.2
    return correct.argmax(axis=1), correct.max(axis=1).sum()


def test_blocks_baselines_and_totals_are_counted_for_each_pair(pairs, surfaces, truths):
    best, counts = zip(*map(best_matching, truths), strict=True)
    same = np.tile(np.arange(32), (len(pairs), 1))
    metrics, columns = measure([best, same, same[:, ::-1]], pairs, surfaces)
    names = ["block_1", "block_2", "block_3", "same_place", "chance", "total"]
    assert list(columns) == [f"correspondence/{name}" for name in names]
    block_1, block_2, block_3, same_place, chance, total = columns.values()
    assert block_1.tolist() == list(counts)
    assert block_2.tolist() == same_place.tolist()
    assert block_3.sum() < same_place.sum()
    assert chance.tolist() == [expected_correct(truth, PEOPLE_SIZE) for truth in truths]
    assert total.tolist() == [len(truth.target) for truth in truths]
    assert total.sum() > 200
    near = [
        sum(
            math.dist(4 * np.floor_divide(target, 4) + 1.5, source) <= 3.2
            for target, source in zip(truth.target, truth.source, strict=True)
        )
        for truth in truths
    ]
    assert same_place.tolist() == near
    # A position of 4x4 pixels has one match for all body parts in it, so that not all are found.
    assert block_1.sum() / total.sum() > 0.85
    assert (block_1 >= np.maximum(same_place, chance)).all()
    for metric, name in zip(metrics, names, strict=False):
        assert (metric.name, metric.protocol) == (f"correspondence_{name}", "pck@0.1")
        assert metric.details == {"version": 1, "map": "8x4", "threshold": "0.1 of the image height"}
        rows = np.array([0, 2, 2])
        fraction = columns[f"correspondence/{name}"][rows].sum() / total[rows].sum()
        assert metric.compute(columns, rows) == pytest.approx(fraction)


def test_without_visible_pixels_the_metric_is_undefined(pairs, surfaces):
    (metric, *_), columns = measure([], pairs, surfaces)
    with pytest.raises(ValueError, match="visible in their sources, got none"):
        metric.compute({name: np.zeros(6) for name in columns}, np.arange(6))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:100]),
        lambda path: path.write_bytes(path.read_bytes()[:60] + bytes(20) + path.read_bytes()[80:]),
        lambda path: np.savez(path, part=np.zeros(SIZE, np.uint8), u=np.zeros(SIZE, np.float16)),
        lambda path: np.savez(path, part=np.array([{}], dtype=object), u=np.zeros(SIZE), v=np.zeros(SIZE)),
    ],
    ids=["missing", "empty", "truncated", "overwritten", "without v", "objects"],
)
def test_unreadable_surface_coordinates_are_named(pairs, surfaces, tmp_path, spoil):
    copy = shutil.copytree(surfaces, tmp_path / "surfaces")
    name = pairs[-1][0].replace(".jpg", ".npz")
    spoil(copy / name)
    with pytest.raises(ValueError, match=rf"surfaces/{name}: expected surface coordinates"):
        measure([], pairs, copy)


def test_the_true_matches_of_an_image_with_itself_are_its_own_pixels(surfaces):
    for path in surfaces.iterdir():
        surface = read_surface(path)
        matches = true_matches(surface, surface)
        np.testing.assert_array_equal(matches.target, matches.source)
        assert len(matches.target) == (surface.part > 0).sum()
