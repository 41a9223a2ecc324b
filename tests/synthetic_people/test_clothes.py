import dataclasses

import numpy as np
import pytest

from synthetic_people import SyntheticPeople, people
from synthetic_people.body import BodyShape
from synthetic_people.clothes import _CLOTH_COLOURS as CLOTH_COLOURS
from synthetic_people.clothes import GARMENT_CLASSES, LEGWEAR, Cloth, Outfit, garment_classes
from synthetic_people.primitives import NUM_PARTS, Part
from twostream.data.keypoints import ANY_FRAME, read_annotations
from twostream.data.pairs import identity_of

RED = (190 / 255, 30 / 255, 40 / 255)
TROUSERS, SHORTS, SKIRT = range(3)


def dress(ground=RED, pattern="solid", legwear="trousers") -> tuple[Outfit, BodyShape]:
    """An outfit whose lower garment is like the upper one."""
    cloth = Cloth(pattern, np.array([ground, (0.5, 0.5, 0.5)], np.float32), 0.2)
    lower_end = np.zeros(NUM_PARTS, np.float32)
    lower_end[[Part.RIGHT_CALF, Part.LEFT_CALF]] = 0.95 if legwear == "trousers" else 0.0
    none = np.zeros(NUM_PARTS, np.float32)
    base, no_print = np.zeros((NUM_PARTS, 3), np.float32), np.zeros((5, 5), np.bool_)
    outfit = Outfit(cloth, cloth, none, lower_end, base, no_print, np.zeros(3, np.float32), None, 0.05)
    return outfit, BodyShape(1.7, 1.0, 1.0, 1.0, 1.0, skirt=0.5 if legwear == "skirt" else 0.0)


def equal(first, second) -> bool:
    """Compare two records field by field; their arrays too."""
    if dataclasses.is_dataclass(first):
        names = [field.name for field in dataclasses.fields(first)]
        return all(equal(getattr(first, name), getattr(second, name)) for name in names)
    return np.array_equal(first, second)


def test_classes_of_hand_made_outfits():
    assert garment_classes(*dress()) == (3, 0, TROUSERS)
    assert garment_classes(*dress((0.1, 0.1, 0.12), "dots", "shorts")) == (0, 5, SHORTS)
    assert garment_classes(*dress((0.93, 0.93, 0.9), "rings", "skirt")) == (1, 1, SKIRT)
    assert LEGWEAR == ("trousers", "shorts", "skirt")


@pytest.mark.parametrize("shift", [-0.05, 0.0, 0.05])
def test_a_varied_colour_keeps_its_class(shift):
    varied = np.clip(CLOTH_COLOURS + np.float32(shift), 0.02, 0.98)
    assert [garment_classes(*dress(colour))[0] for colour in varied] == list(range(GARMENT_CLASSES[0]))


def test_every_class_is_drawn_and_its_colour_is_near_the_cloth():
    drawn = SyntheticPeople((32, 16), 400, 1, 2, 1)
    found = []
    for identity in range(400):
        _, outfit, shape, _ = drawn.draw("train", identity)
        found.append(garment_classes(outfit, shape))
        # A drawn colour is the class's colour plus normal noise of 0.025 a channel.
        assert np.abs(outfit.upper.colours[0] - CLOTH_COLOURS[found[-1][0]]).max() < 5 * 0.025
    for classes, count in zip(zip(*found, strict=True), GARMENT_CLASSES, strict=True):
        assert set(classes) == set(range(count))


def test_the_drawn_person_is_the_rendered_one(tmp_path, monkeypatch):
    settings = SyntheticPeople((32, 16), 3, 2, 2, 1, num_workers=1)
    rendered = []

    def remember(figure, outfit, *others):
        rendered.append(outfit)
        return render(figure, outfit, *others)

    render = people.render_view
    monkeypatch.setattr(people, "render_view", remember)
    root = settings.prepare(tmp_path)
    drawn = [("train", 0), ("train", 1), ("train", 2), ("test", 0), ("test", 1)]
    names = [name for split in people.SPLITS for name in read_annotations(root / f"annotation-{split}.csv", ANY_FRAME)]
    # Two views a person, in the persons' order.
    for i, (split, identity) in enumerate(drawn):
        name, outfit, *_ = settings.draw(split, identity)
        assert [identity_of(file) for file in names[2 * i : 2 * i + 2]] == [name, name]
        assert all(equal(seen, outfit) for seen in rendered[2 * i : 2 * i + 2])
    assert len(rendered) == len(names) == 10
    assert not any(equal(first, second) for first, second in zip(rendered[::2], rendered[2::2], strict=False))


def test_drawing_twice_gives_the_same_person_and_generator():
    settings = SyntheticPeople((32, 16), 3, 2, 2, 1)
    first, second = (settings.draw("test", 1) for _ in range(2))
    assert first[0] == second[0] == "0005"
    assert equal(first[1], second[1])
    assert first[2] == second[2]
    assert first[3].integers(1000, size=5).tolist() == second[3].integers(1000, size=5).tolist()


def test_print_is_on_the_chest_and_not_on_the_back():
    covered, full_print = np.full(NUM_PARTS, 2, np.float32), np.ones((5, 5), np.bool_)
    white = np.ones(3, np.float32)
    outfit = dataclasses.replace(dress()[0], upper_end=covered, print_cells=full_print, print_colour=white)
    chest = np.full(400, Part.CHEST, np.uint8)
    u = np.repeat(np.linspace(-0.09, 0.09, 20), 20).astype(np.float32)
    v = np.tile(np.linspace(0.35, 0.6, 20), 20).astype(np.float32)
    span = np.tile(np.array([[0.9, 0.45]], np.float32), (400, 1))
    front = outfit.albedo(chest, u, v, span)
    back = outfit.albedo(chest, np.where(u < 0, u + 0.5, u - 0.5).astype(np.float32), v, span)
    assert np.allclose(front, white)
    assert np.allclose(back, RED)


@pytest.mark.parametrize("pattern", ["rings", "stripes", "diagonal", "checks", "dots", "blocks"])
def test_patterns_show_both_colours(pattern):
    cloth = Cloth(pattern, np.array([[0, 0, 0], [1, 1, 1]], np.float32), 0.2)
    across, along = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 500)).astype(np.float32)
    assert 0.1 < cloth.colour(across, along)[:, 0].mean() < 0.9
