import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch.utils.data import DataLoader, Dataset

from twostream.cli import CONF
from twostream.data import augment
from twostream.data.augment import Augmentation
from twostream.data.keypoints import FLIPPED
from twostream.data.pose import gaussian_heatmaps
from twostream.types import ImagePair

HEIGHT, WIDTH = 32, 24
SIZE = (HEIGHT, WIDTH)
FLIP = Augmentation(flip_probability=1)
AFFINE = Augmentation(affine_probability=1, scale=0.2, shift=0.1, rotation=30)
COLOUR = Augmentation(colour_probability=1, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
FULL = Augmentation(0.5, 0.5, 0.1, 0.1, 10, 0.5, 0.3, 0.3, 0.3, 0.1)


def pair_of(seed: int) -> ImagePair:
    """Random pictures; joints inside, outside and missing."""
    random = torch.Generator().manual_seed(seed)

    def joints() -> torch.Tensor:
        places = torch.rand(18, 2, generator=random) * torch.tensor([HEIGHT, WIDTH]) * 2 - torch.tensor(SIZE) / 2
        places = places.round()
        places[torch.rand(18, generator=random) < 0.3] = torch.nan
        return places

    def picture() -> torch.Tensor:
        return torch.randint(0, 256, (3, HEIGHT, WIDTH), generator=random, dtype=torch.uint8)

    return ImagePair(picture(), joints(), picture(), joints())


PAIR = pair_of(0)


def equal(one: ImagePair, other: ImagePair) -> bool:
    return all(torch.equal(a.nan_to_num(1e6), b.nan_to_num(1e6)) for a, b in zip(one, other, strict=True))


def heatmaps(joints: torch.Tensor) -> torch.Tensor:
    return gaussian_heatmaps(joints[None], SIZE, sigma=3)[0]


def test_the_fixture_has_joints_inside_outside_and_missing():
    joints = torch.cat([PAIR.source_joints, PAIR.target_joints])
    is_inside = ((joints >= 0) & (joints < torch.tensor(SIZE))).all(-1)
    is_missing = joints.isnan().any(-1)
    assert min(is_inside.sum(), is_missing.sum(), (~is_inside & ~is_missing).sum()) > 3


def test_a_flip_mirrors_both_pictures_and_their_heatmaps():
    flipped = FLIP(PAIR, 0, 0, 0)
    assert torch.equal(flipped.source_image, PAIR.source_image.flip(-1))
    assert torch.equal(flipped.target_image, PAIR.target_image.flip(-1))
    for name in ("source_joints", "target_joints"):
        expected = heatmaps(getattr(PAIR, name))[list(FLIPPED)].flip(-1)
        assert torch.equal(heatmaps(getattr(flipped, name)), expected)


def test_flipping_twice_changes_nothing():
    assert equal(FLIP(FLIP(PAIR, 0, 0, 0), 1, 2, 3), PAIR)


def brightest(picture: torch.Tensor) -> list[int]:
    return list(divmod(int(picture.float().sum(0).argmax()), picture.shape[-1]))


@pytest.mark.parametrize("flip", [0, 1])
def test_a_lit_spot_moves_with_its_joint(flip):
    augmentation = Augmentation(flip, affine_probability=1, scale=0.2, shift=0.1, rotation=30)
    distances = []
    for joint, (y, x) in enumerate(torch.randint(8, 16, (18, 2), generator=torch.Generator().manual_seed(1)).tolist()):
        picture = torch.zeros(3, HEIGHT, WIDTH, dtype=torch.uint8)
        picture[:, y - 1 : y + 2, x - 1 : x + 2] = 100
        picture[:, y, x] = 255
        joints = torch.full((18, 2), torch.nan)
        joints[joint] = torch.tensor([y, x])
        for index in range(5):
            moved = augmentation(ImagePair(picture, joints, picture, joints), 0, 0, index)
            place = moved.source_joints[FLIPPED[joint] if flip else joint]
            if ((place > 1) & (place < torch.tensor(SIZE) - 2)).all():
                distances.append((place - torch.tensor(brightest(moved.source_image))).abs().max().item())
                assert (place - torch.tensor([y, WIDTH - 1 - x if flip else x])).abs().max() < 12
    assert len(distances) > 60
    assert max(distances) <= 1


def test_an_affine_map_is_one_similarity_for_both_pictures_and_all_joints():
    moved = AFFINE(PAIR, 0, 0, 0)
    before = torch.cat([PAIR.source_joints, PAIR.target_joints]).double().numpy()
    after = torch.cat([moved.source_joints, moved.target_joints]).double().numpy()
    is_found = np.isfinite(before).all(1)
    places = np.column_stack([before[is_found], np.ones(is_found.sum())])
    matrix, *_ = np.linalg.lstsq(places, after[is_found], rcond=None)
    np.testing.assert_allclose(places @ matrix, after[is_found], atol=1e-4)
    linear = matrix[:2]
    np.testing.assert_allclose(linear @ linear.T, np.eye(2) * np.linalg.det(linear), atol=1e-4)
    assert 0.8 < np.linalg.det(linear) ** 0.5 < 1.2
    assert abs(linear[0, 1]) > 1e-3


def test_the_border_is_repeated_into_what_comes_in():
    picture = torch.full((3, HEIGHT, WIDTH), 77, dtype=torch.uint8)
    pair = ImagePair(picture, PAIR.source_joints, picture, PAIR.target_joints)
    assert all((AFFINE(pair, 0, 0, index).source_image == 77).all() for index in range(5))


def test_joints_keep_their_places_missing_and_outside_ones_too():
    for index in range(20):
        moved = AFFINE(PAIR, 0, 0, index)
        assert torch.equal(moved.source_joints.isnan(), PAIR.source_joints.isnan())
        assert torch.equal(moved.target_joints.isnan(), PAIR.target_joints.isnan())
        assert moved.source_joints.dtype == torch.float32


def test_a_pair_without_any_joint_stays_without():
    nobody = torch.full((18, 2), torch.nan)
    moved = Augmentation(1, 1, 0.1, 0.1, 10)(PAIR._replace(source_joints=nobody, target_joints=nobody), 0, 0, 0)
    assert moved.source_joints.isnan().all()
    assert not torch.equal(moved.source_image, PAIR.source_image)


def test_colour_changes_alike_in_both_pictures_and_moves_nothing():
    pair = PAIR._replace(target_image=PAIR.source_image)
    for index in range(10):
        jittered = COLOUR(pair, 0, 0, index)
        assert torch.equal(jittered.source_image, jittered.target_image)
        assert not torch.equal(jittered.source_image, pair.source_image)
        assert equal(jittered._replace(source_image=pair.source_image, target_image=pair.target_image), pair)


def test_the_pair_that_is_given_is_not_changed():
    pair = ImagePair(*(tensor.clone() for tensor in PAIR))
    for index in range(10):
        FULL(pair, 0, 0, index)
    assert equal(pair, PAIR)


def test_the_draw_is_of_seed_epoch_and_index_alone():
    expected = FULL(PAIR, 3, 4, 5)
    for index in range(5):
        FULL(PAIR, 0, 0, index)
    again = Augmentation(0.5, 0.5, 0.1, 0.1, 10, 0.5, 0.3, 0.3, 0.3, 0.1)
    assert equal(FULL(PAIR, 3, 4, 5), expected)
    assert equal(again(PAIR, 3, 4, 5), expected)
    assert again == FULL


@pytest.mark.parametrize("vary", [0, 1, 2])
def test_another_seed_epoch_or_index_is_another_draw(vary):
    numbers = [[7 if place == vary else 1 for place in range(3)], [1, 1, 1]]
    assert not equal(AFFINE(PAIR, *numbers[0]), AFFINE(PAIR, *numbers[1]))
    firsts = [AFFINE(PAIR, *[i if place == vary else 1 for place in range(3)]).source_image for i in range(20)]
    assert len({picture.numpy().tobytes() for picture in firsts}) == 20


def test_the_parts_are_drawn_independently():
    augmentation = Augmentation(0.5, 0.5, 0.2, 0, 20, 0.5, 0.5)
    grey = torch.full((3, HEIGHT, WIDTH), 90, dtype=torch.uint8)
    joints = torch.full((18, 2), torch.nan)
    joints[:2] = torch.tensor([[16, 4], [16, 20]])  # nose and neck, which no flip swaps
    counts = np.zeros((2, 2, 2), dtype=int)
    for index in range(400):
        done = augmentation(ImagePair(grey, joints, grey, joints), 0, 0, index)
        along = done.source_joints[1] - done.source_joints[0]
        is_flipped, is_moved = along[1] < 0, abs(along.norm() - 16) > 1e-3
        counts[int(is_flipped), int(is_moved), int(not torch.equal(done.source_image, grey))] += 1
    assert (abs(counts - 50) < 25).all()


class Augmented(Dataset):
    """What a loader's workers run."""

    def __init__(self, augmentation):
        self.augmentation = augmentation

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return self.augmentation(pair_of(index), 5, 2, index)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_workers_give_the_same_as_this_process():
    here = [FULL(pair_of(index), 5, 2, index) for index in range(8)]
    loader = DataLoader(Augmented(FULL), batch_size=None, num_workers=2)
    for _ in range(2):
        for expected, got in zip(here, loader, strict=True):
            assert equal(got, expected)
    assert len({pair.source_image.numpy().tobytes() for pair in here}) == 8


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda augmentation: pickle.loads(pickle.dumps(augmentation))])
def test_a_copy_gives_the_same(twin):
    assert equal(twin(FULL)(PAIR, 1, 2, 3), FULL(PAIR, 1, 2, 3))


@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(),
        Augmentation(scale=0.2, shift=0.1, rotation=10, brightness=0.5, hue=0.5),
        Augmentation(affine_probability=1),
        Augmentation(colour_probability=1),
    ],
)
def test_without_probability_or_range_nothing_changes(augmentation):
    for index in range(10):
        assert equal(augmentation(PAIR, 0, 0, index), PAIR)


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("flip_probability", 1.5, "flip_probability: expected 0 to 1, got 1.5"),
        ("colour_probability", -0.1, "colour_probability: expected 0 to 1, got -0.1"),
        ("scale", 0.6, "scale: expected 0 to 0.5, got 0.6"),
        ("rotation", -10, "rotation: expected 0 to 180, got -10"),
        ("hue", 1, "hue: expected 0 to 0.5, got 1"),
    ],
)
def test_settings_out_of_range_are_refused(setting, value, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(**{setting: value})


def test_a_missing_package_is_named_only_where_it_is_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "albumentations", None)
    assert Augmentation()(PAIR, 0, 0, 0) is PAIR
    with pytest.raises(ImportError, match=r"pip install 'twostream\[augment\]'"):
        Augmentation(flip_probability=0.5)


def test_albumentations_is_told_to_ask_no_server(monkeypatch):
    monkeypatch.delenv("NO_ALBUMENTATIONS_UPDATE")
    FLIP(PAIR, 0, 0, 0)
    assert "NO_ALBUMENTATIONS_UPDATE" not in os.environ
    Augmentation(flip_probability=0.5)
    assert os.environ["NO_ALBUMENTATIONS_UPDATE"] == "1"


@pytest.mark.slow
def test_the_import_asks_no_server():
    code = """
import socket, urllib.request
def refuse(*args, **kwargs): raise SystemExit("asked a server")
socket.getaddrinfo = urllib.request.OpenerDirector.open = refuse
from twostream.data.augment import Augmentation
Augmentation(flip_probability=0.5)
"""
    environment = {key: value for key, value in os.environ.items() if key != "NO_ALBUMENTATIONS_UPDATE"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


PRESETS = {path.stem: path for path in Path(CONF, "data/augmentation").glob("*.yaml")}


def test_presets():
    presets = {name: instantiate(OmegaConf.load(path)) for name, path in PRESETS.items()}
    assert presets.keys() == {"none", "flip", "full"}
    assert presets["none"] == Augmentation()
    assert presets["flip"] == Augmentation(flip_probability=0.5)
    assert all(getattr(presets["full"], setting) > 0 for setting in augment.LIMITS)


def test_every_preset_names_every_setting():
    for path in PRESETS.values():
        assert OmegaConf.load(path).keys() == {"_target_", *augment.LIMITS}
