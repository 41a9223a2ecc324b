import math

import numpy as np
import pytest

from twostream.metrics.correspondence import (
    THRESHOLD,
    TOLERANCE,
    Surface,
    TrueMatches,
    count_right,
    expected_right,
    position_centres,
    positions_of,
    true_matches,
)


def surface(size, **parts):
    """A background with rectangles of parts, given as `part5=(top, left, u, v)` with (rows, columns) of u and v."""
    part, u, v = np.zeros(size, np.uint8), np.zeros(size, np.float16), np.zeros(size, np.float16)
    for name, (top, left, some_u, some_v) in parts.items():
        rows, columns = np.shape(some_u)
        place = slice(top, top + rows), slice(left, left + columns)
        part[place], u[place], v[place] = int(name.removeprefix("part")), some_u, some_v
    return Surface(part, u, v)


def patch(rows, columns, first_u=-0.2):
    """Coordinates a 36th apart: of which no two pixels have the same, and three steps are within the tolerance."""
    v, u = np.mgrid[:rows, :columns] / 36
    return first_u + u, v


def pixel(*u_and_v):
    u, v = u_and_v
    return np.array([[u]]), np.array([[v]])


def as_dict(matches):
    return dict(zip(map(tuple, matches.target.tolist()), map(tuple, matches.source.tolist()), strict=True))


def test_a_shifted_part_is_found_where_it_is():
    source, target = surface((32, 16), part3=(4, 2, *patch(16, 8))), surface((32, 16), part3=(9, 5, *patch(16, 8)))
    matches = true_matches(source, target)
    assert len(matches.target) == 16 * 8
    assert (target.part[tuple(matches.target.T)] == 3).all()
    assert (matches.target - matches.source == (5, 3)).all()


def test_every_part_is_matched_with_itself():
    u, v = patch(4, 3)
    source = surface((16, 16), part1=(0, 0, u, v), part2=(8, 0, u, v))
    target = surface((16, 16), part2=(0, 8, u, v), part1=(8, 8, u, v))
    matches = as_dict(true_matches(source, target))
    assert len(matches) == 24
    assert matches[0, 8] == (8, 0)
    assert matches[8, 8] == (0, 0)


@pytest.mark.parametrize(("here", "there"), [(-0.48, 0.48), (0.5, -0.5), (0.44, -0.49), (-0.02, 0.03)])
def test_u_goes_round(here, there):
    source = surface((4, 4), part1=(1, 1, *pixel(there, 0.5)))
    target = surface((4, 4), part1=(2, 3, *pixel(here, 0.5)))
    assert as_dict(true_matches(source, target)) == {(2, 3): (1, 1)}


def test_the_nearest_place_round_the_seam_wins():
    u, v = np.array([[-0.45, 0.35]]), np.array([[0.5, 0.5]])
    source, target = surface((4, 4), part1=(0, 0, u, v)), surface((4, 4), part1=(3, 3, *pixel(0.47, 0.5)))
    assert as_dict(true_matches(source, target)) == {(3, 3): (0, 0)}


@pytest.mark.parametrize(
    ("u", "v", "is_seen"),
    [
        (0.09, 0.5, True),
        (0.11, 0.5, False),
        (0.0, 0.59, True),
        (0.0, 0.61, False),
        (0.06, 0.56, True),
        (0.08, 0.58, False),
        (0.5, 0.5, False),
    ],
)
def test_a_pixel_without_a_near_place_is_hidden(u, v, is_seen):
    source, target = (surface((2, 2), part4=(0, 1, *pixel(*place))) for place in ((0.0, 0.5), (u, v)))
    assert is_seen == (math.hypot(u, v - 0.5) <= TOLERANCE)
    assert len(true_matches(source, target).target) == is_seen


def test_hidden_pixels_are_left_out():
    # The source shows the left half of what the target shows.
    source, target = surface((32, 32), part1=(0, 0, *patch(8, 8))), surface((32, 32), part1=(8, 8, *patch(8, 16)))
    matches = as_dict(true_matches(source, target))
    assert len(matches) == 8 * (8 + 3)
    assert all(x < 8 + 8 + 3 for _, x in matches)
    assert matches[8, 18] == (0, 7)


@pytest.mark.parametrize("other", [{}, {"part2": (0, 0, *patch(3, 3))}])
def test_without_a_part_in_common_there_is_no_match(other):
    source, target = surface((8, 8), part1=(0, 0, *patch(3, 3))), surface((8, 8), **other)
    for matches in (true_matches(source, target), true_matches(target, source)):
        assert matches.target.shape == matches.source.shape == (0, 2)
        assert count_right(np.arange(4), matches, (2, 2), (8, 8)) == 0
        assert expected_right(matches, (2, 2), (8, 8)) == 0


def test_equals_the_definition_by_loops():
    random = np.random.default_rng(0)
    part, u, v = random.integers(0, 3, (2, 6, 5)), random.uniform(-0.5, 0.5, (2, 6, 5)), random.uniform(0, 1, (2, 6, 5))
    source, target = (Surface(p.astype(np.uint8), *some) for p, *some in zip(part, u, v, strict=True))
    expected = {}
    for y, x in np.ndindex(6, 5):
        distances = {}
        for place in np.ndindex(6, 5):
            if target.part[y, x] == source.part[place] > 0:
                turn = abs(target.u[y, x] - source.u[place])
                distances[place] = math.hypot(min(turn, 1 - turn), target.v[y, x] - source.v[place])
        if distances and min(distances.values()) <= TOLERANCE:
            expected[y, x] = min(distances, key=distances.get)
    assert 3 < len(expected) < 20
    assert as_dict(true_matches(source, target)) == expected


def test_positions_of_pixels_in_a_map_of_4_pixel_cells():
    pixels = np.array([[0, 0], [3, 3], [3, 4], [4, 3], [31, 15], [16, 8]])
    assert positions_of(pixels, (8, 4), (32, 16)).tolist() == [0, 0, 1, 4, 31, 18]


def test_positions_of_pixels_in_cells_that_are_not_whole_pixels():
    # Rows of 2.5 pixels: 0 to 2, then 3 and 4; a pixel belongs to the cell in which its upper edge lies.
    pixels = np.array([[y, 0] for y in range(5)])
    assert positions_of(pixels, (2, 1), (5, 1)).tolist() == [0, 0, 0, 1, 1]


def test_centres_of_positions():
    assert position_centres((2, 2), (8, 4)).tolist() == [[1.5, 0.5], [1.5, 2.5], [5.5, 0.5], [5.5, 2.5]]
    assert position_centres((2, 1), (5, 1)).tolist() == [[0.75, 0], [3.25, 0]]
    assert position_centres((3, 2), (3, 2)).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1], [2, 0], [2, 1]]


def test_a_centre_is_the_mean_of_the_positions_pixels():
    pixels = np.argwhere(np.ones((32, 24)))
    own = positions_of(pixels, (8, 6), (32, 24))
    means = [pixels[own == position].mean(axis=0).tolist() for position in range(48)]
    assert position_centres((8, 6), (32, 24)).tolist() == means


SIZE, MAP = (64, 32), (16, 8)


@pytest.fixture
def shifted():
    """All pixels of the target's lower right, which lie 8 higher and 4 further left in the source: 2 cells and 1."""
    target = np.argwhere(np.ones(SIZE)).reshape(*SIZE, 2)[8:, 4:].reshape(-1, 2)
    return TrueMatches(target, target - (8, 4))


def test_a_perfect_matching_finds_all(shifted):
    # The middle of a 4x4 cell is 2.1 pixels from its corners, a third of the 6.4 that are allowed.
    perfect = (np.arange(16 * 8) - 2 * 8 - 1).clip(min=0)
    assert count_right(perfect, shifted, MAP, SIZE) == len(shifted.target)


def test_a_wrong_matching_finds_none(shifted):
    # Half the map away, in rows that go round.
    wrong = (np.arange(16 * 8) + 6 * 8 - 1) % (16 * 8)
    assert count_right(wrong, shifted, MAP, SIZE) == 0


def test_a_match_may_be_a_tenth_of_the_height_away():
    # The matched middles lie at (1.5, 1.5) and (1.5, 5.5); 0.1 x 20 pixels = 2.
    truth = TrueMatches(np.array([[0, 0]] * 4), np.array([[1, 2], [3, 2], [1, 4], [3, 3]]))
    distances = [math.dist((1.5, 1.5), source) for source in truth.source.tolist()]
    assert [distance <= THRESHOLD * 20 for distance in distances] == [True, True, False, False]
    assert count_right(np.array([0] * 10), truth, (5, 2), (20, 8)) == 2


def test_a_pixel_takes_the_match_of_its_position():
    truth = TrueMatches(np.array([[0, 0], [0, 4], [19, 7]]), np.array([[1, 1], [1, 5], [1, 5]]))
    matches = np.arange(10)
    assert count_right(matches, truth, (5, 2), (20, 8)) == 2
    matches[9] = 1
    assert count_right(matches, truth, (5, 2), (20, 8)) == 3
    matches[0] = 1
    assert count_right(matches, truth, (5, 2), (20, 8)) == 2


def test_chance_is_the_share_of_positions_within_reach(shifted):
    near = 0
    centres = [(4 * row + 1.5, 4 * column + 1.5) for row in range(16) for column in range(8)]
    some = TrueMatches(shifted.target[::37], shifted.source[::37])
    for source in some.source.tolist():
        near += sum(math.dist(centre, source) <= 6.4 for centre in centres)
    assert expected_right(some, MAP, SIZE) == pytest.approx(near / 128)


def test_chance_is_the_mean_over_random_matchings(shifted):
    random = np.random.default_rng(0)
    right = [count_right(random.integers(128, size=128), shifted, MAP, SIZE) for _ in range(400)]
    standard_error = np.std(right) / np.sqrt(400)
    assert np.mean(right) == pytest.approx(expected_right(shifted, MAP, SIZE), abs=3 * standard_error)
