import numpy as np
import pytest

from synthetic_people.backgrounds import NUM_CAMERAS, shoot_background
from synthetic_people.body import arms_are_free, build_figure, sample_shape
from synthetic_people.camera import frame_figure
from synthetic_people.clothes import sample_outfit
from synthetic_people.poses import Arm, Pose, sample_pose
from synthetic_people.primitives import FEET, Part, RoundCone
from synthetic_people.raycast import render_view, sample_light

SIZE = (128, 64)
NOSE, RIGHT_SHOULDER, LEFT_SHOULDER, RIGHT_EYE, LEFT_EYE = 0, 2, 5, 14, 15


def sample_person(seed):
    rng = np.random.default_rng(seed)
    return sample_outfit(rng, sample_shape(rng))


def shoot(seed, yaw, pose=None, size=SIZE, outfit=None):
    """Render one view; returns figure, camera and view."""
    rng = np.random.default_rng(seed)
    own_outfit, shape = sample_person(seed)
    figure = build_figure(shape, sample_pose(rng) if pose is None else pose)
    camera = frame_figure(figure, yaw, size, shape.height, rng)
    view = render_view(figure, outfit or own_outfit, camera, sample_light(rng), shoot_background(0, size, rng))
    return figure, camera, view


def seen_point(figure, view, y, x):
    """The point in metres of a pixel's part, u and v."""
    return figure.solids[Part(view.part[y, x])].surface_point(float(view.u[y, x]), float(view.v[y, x]))


@pytest.mark.parametrize(("seed", "size"), [*((seed, SIZE) for seed in range(8)), (0, (64, 32)), (1, (30, 41))])
def test_a_view_has_the_given_size_and_ranges(seed, size):
    _, _, view = shoot(seed, 45 * seed, size=size)
    assert view.image.shape == (*size, 3)
    assert view.image.dtype == np.uint8
    assert view.part.shape == view.u.shape == view.v.shape == view.depth.shape == size
    on_frame = (view.joints >= 0) & (view.joints < size)
    assert (on_frame | (view.joints == -1)).all()
    person = view.part > 0
    assert set(np.unique(view.part)) <= set(Part)
    assert (np.abs(view.u) <= 0.5).all()
    assert ((view.v >= 0) & (view.v <= 1)).all()
    assert np.isfinite(view.depth[person]).all()
    assert np.isinf(view.depth[~person]).all()
    assert not view.u[~person].any()
    assert not view.v[~person].any()


def test_visible_joints_are_on_the_body():
    hits = []
    for seed in range(30):
        _, _, view = shoot(seed, 36 * seed)
        found = view.joints[view.joints[:, 0] >= 0]
        hits.extend(view.part[found[:, 0], found[:, 1]] > 0)
    assert len(hits) > 30 * 9
    assert np.mean(hits) > 0.95


@pytest.mark.parametrize("seed", range(5))
def test_from_behind_shoulders_swap_sides_and_the_face_is_hidden(seed):
    _, _, front = shoot(seed, 0, Pose())
    _, _, back = shoot(seed, 180, Pose())
    assert front.joints[RIGHT_SHOULDER, 1] < front.joints[LEFT_SHOULDER, 1]
    assert back.joints[RIGHT_SHOULDER, 1] > back.joints[LEFT_SHOULDER, 1]
    face = [NOSE, RIGHT_EYE, LEFT_EYE]
    assert (front.joints[face] >= 0).all()
    assert (back.joints[face] == -1).all()


def test_far_eye_is_hidden_from_the_side():
    _, _, right = shoot(0, 90, Pose())
    assert right.joints[RIGHT_EYE, 0] >= 0
    assert (right.joints[LEFT_EYE] == -1).all()


def test_hand_behind_the_trunk_is_hidden():
    arm = Arm(swing=-10, spread=0, turn=0, elbow=0)
    forward = Arm(swing=50, spread=0, turn=40, elbow=95)
    figure, _, front = shoot(3, 0, Pose(arms=(forward, arm)))
    _, _, back = shoot(3, 180, Pose(arms=(forward, arm)))
    assert figure.joints[4, 1] > 0.2
    assert front.joints[4, 0] >= 0
    assert (back.joints[4] == -1).all()


def test_the_print_is_visible_from_the_front_only():
    outfit = next(outfit for outfit, _ in map(sample_person, range(100)) if outfit.print_cells.all())

    def near_print(yaw):
        _, _, view = shoot(1, yaw, Pose(), outfit=outfit)
        chest = view.image[view.part == Part.CHEST] / 255
        hues = [colour / np.linalg.norm(colour) for colour in (outfit.print_colour, outfit.upper.colours[0])]
        directions = chest / np.linalg.norm(chest, axis=1, keepdims=True)
        return np.mean(directions @ hues[0] > directions @ hues[1])

    assert near_print(0) > 0.15
    assert near_print(180) < 0.05


def test_surface_coordinates_give_back_the_seen_point():
    """The point of a pixel's (part, u, v) projects to the pixel at its depth."""
    figure, camera, view = shoot(5, 50)
    rows, columns = np.nonzero(view.part)
    points = [seen_point(figure, view, *pixel) for pixel in zip(rows, columns, strict=True)]
    projected = camera.project(np.array(points))
    error = np.abs(projected[:, :2] - np.stack([columns, rows], axis=1) - 0.5).max(1)
    assert np.quantile(error, 0.9) < 0.15
    assert np.quantile(np.abs(projected[:, 2] - view.depth[rows, columns]), 0.9) < 0.02


def test_two_views_agree_on_surface_coordinates():
    """Points that both cameras see have the same part, u and v in both surface maps."""
    figure, _, first = shoot(6, 20, Pose())
    _, other_camera, second = shoot(6, 50, Pose())
    gaps = []
    for here in zip(*np.nonzero(first.part), strict=True):
        column, row, depth = other_camera.project(seen_point(figure, first, *here)[None])[0]
        there = int(row), int(column)
        inside = 0 <= row < SIZE[0] and 0 <= column < SIZE[1]
        if inside and abs(second.depth[there] - depth) < 0.01 and second.part[there] == first.part[here]:
            around, along = figure.solids[Part(first.part[here])].span
            turn = abs(float(second.u[there]) - float(first.u[here]))
            gaps.append(min(turn, 1 - turn) * around + abs(float(second.v[there]) - float(first.v[here])) * along)
    assert len(gaps) > 500
    assert np.median(gaps) < 0.02  # metres: about one pixel


def test_solid_contains_its_axis_and_not_its_surroundings():
    solid = RoundCone(np.zeros(3), np.eye(3), 0.5, (0.1, 0.2), width=2.0)
    assert solid.contains(np.array([0.15, 0.0, 0.0]))
    assert not solid.contains(np.array([0.0, 0.15, 0.0]))
    assert solid.contains(np.array([0.0, 0.15, 0.0]), margin=0.1)
    assert solid.contains(solid.end)


def test_poses_stay_within_human_limits():
    rng = np.random.default_rng(0)
    for _ in range(300):
        pose = sample_pose(rng)
        assert all(0 <= arm.elbow <= 150 for arm in pose.arms)
        assert all(0 <= leg.knee <= 150 for leg in pose.legs)
        assert pose.tilt + pose.bend < 90


def test_feet_stand_on_the_ground_and_most_arms_are_free():
    rng = np.random.default_rng(0)
    _, shape = sample_person(0)
    figures = [build_figure(shape, sample_pose(rng)) for _ in range(50)]
    assert np.mean([arms_are_free(figure) for figure in figures]) > 0.5
    for figure in figures:
        feet = [figure.solids[part] for part in FEET]
        soles = [min(foot.start[2] - foot.radii[0], foot.end[2] - foot.radii[1]) for foot in feet]
        assert min(soles) == pytest.approx(0, abs=1e-9)


def test_each_camera_has_another_background():
    means = [shoot_background(camera, SIZE, np.random.default_rng(0)).mean((0, 1)) for camera in range(NUM_CAMERAS)]
    gaps = np.linalg.norm(np.array(means)[:, None] - np.array(means)[None], axis=2)
    assert (gaps + np.eye(NUM_CAMERAS) > 0.02).all()
