import copy
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from twostream.cli import CONF
from twostream.data.augment import Augmentation
from twostream.data.keypoints import FLIPPED
from twostream.data.pose import gaussian_heatmaps
from twostream.types import ImagePair

HEIGHT, WIDTH = 32, 24
SIZE = (HEIGHT, WIDTH)


SHIFT, FACTORS = [-0.1, 0.1], [0.6, 1.4]
FLIP = {"HorizontalFlip": {}}
AFFINE = {
    "Affine": {
        "scale": [0.8, 1.2],
        "translate_percent": {"x": SHIFT, "y": SHIFT},
        "rotate": [-30, 30],
        "keep_ratio": True,
        "border_mode": 1,
    }
}
COLOUR = {"ColorJitter": {"brightness": FACTORS, "contrast": FACTORS, "saturation": FACTORS, "hue": SHIFT}}


def augmentation_of(*transforms, p=1.0) -> Augmentation:
    """Apply each transform with probability `p`."""
    return Augmentation({name: {**settings, "p": p} for each in transforms for name, settings in each.items()})


FLIPS, MOVES, RECOLOURS = map(augmentation_of, (FLIP, AFFINE, COLOUR))
ALL = augmentation_of(FLIP, AFFINE, COLOUR, p=0.5)


def pair_of(seed: int) -> ImagePair:
    """Random images; joints inside, outside and missing."""
    random = torch.Generator().manual_seed(seed)

    def joints() -> torch.Tensor:
        points = (torch.rand(18, 2, generator=random) * torch.tensor(SIZE) * 2 - torch.tensor(SIZE) / 2).round()
        points[torch.rand(18, generator=random) < 0.3] = torch.nan
        return points

    def image() -> torch.Tensor:
        return torch.randint(0, 256, (3, HEIGHT, WIDTH), generator=random, dtype=torch.uint8)

    return ImagePair(image(), joints(), image(), joints())


PAIR = pair_of(0)


def equal(one: ImagePair, other: ImagePair) -> bool:
    return all(torch.equal(a.nan_to_num(1e6), b.nan_to_num(1e6)) for a, b in zip(one, other, strict=True))


def heatmaps(joints: torch.Tensor) -> torch.Tensor:
    return gaussian_heatmaps(joints[None], SIZE, sigma=3)[0]


def test_a_flip_mirrors_both_images_and_their_heatmaps():
    flipped = FLIPS(PAIR, 0, 0, 0)
    assert torch.equal(flipped.source_image, PAIR.source_image.flip(-1))
    assert torch.equal(flipped.target_image, PAIR.target_image.flip(-1))
    for name in ("source_joints", "target_joints"):
        expected = heatmaps(getattr(PAIR, name))[list(FLIPPED)].flip(-1)
        assert torch.equal(heatmaps(getattr(flipped, name)), expected)
    assert equal(FLIPS(flipped, 1, 2, 3), PAIR)


def brightest(image: torch.Tensor) -> list[int]:
    return list(divmod(int(image.float().sum(0).argmax()), image.shape[-1]))


@pytest.mark.parametrize("is_flipped", [False, True])
def test_a_bright_spot_moves_with_its_joint(is_flipped):
    augmentation = augmentation_of(*[FLIP] * is_flipped, AFFINE)
    distances = []
    for joint, (y, x) in enumerate(torch.randint(8, 16, (18, 2), generator=torch.Generator().manual_seed(1)).tolist()):
        image = torch.zeros(3, HEIGHT, WIDTH, dtype=torch.uint8)
        image[:, y - 1 : y + 2, x - 1 : x + 2] = 100
        image[:, y, x] = 255
        joints = torch.full((18, 2), torch.nan)
        joints[joint] = torch.tensor([y, x])
        for position in range(5):
            moved = augmentation(ImagePair(image, joints, image, joints), 0, 0, position)
            point = moved.source_joints[FLIPPED[joint] if is_flipped else joint]
            if ((point > 1) & (point < torch.tensor(SIZE) - 2)).all():
                distances.append((point - torch.tensor(brightest(moved.source_image))).abs().max().item())
                assert (point - torch.tensor([y, WIDTH - 1 - x if is_flipped else x])).abs().max() < 12
    assert len(distances) > 60
    assert max(distances) <= 1


def test_an_affine_map_is_one_similarity_for_both_images_and_all_joints():
    moved = MOVES(PAIR, 0, 0, 0)
    before = torch.cat([PAIR.source_joints, PAIR.target_joints]).double().numpy()
    after = torch.cat([moved.source_joints, moved.target_joints]).double().numpy()
    is_found = np.isfinite(before).all(1)
    points = np.column_stack([before[is_found], np.ones(is_found.sum())])
    matrix, *_ = np.linalg.lstsq(points, after[is_found], rcond=None)
    np.testing.assert_allclose(points @ matrix, after[is_found], atol=1e-4)
    linear = matrix[:2]
    np.testing.assert_allclose(linear @ linear.T, np.eye(2) * np.linalg.det(linear), atol=1e-4)
    assert 0.8 < np.linalg.det(linear) ** 0.5 < 1.2
    assert abs(linear[0, 1]) > 1e-3


def test_missing_joints_stay_missing_and_the_given_pair_unchanged():
    given = ImagePair(*(tensor.clone() for tensor in PAIR))
    for position in range(20):
        moved = MOVES(given, 0, 0, position)
        assert torch.equal(moved.source_joints.isnan(), PAIR.source_joints.isnan())
        assert torch.equal(moved.target_joints.isnan(), PAIR.target_joints.isnan())
        assert moved.source_joints.dtype == torch.float32
        ALL(given, 0, 0, position)
    assert equal(given, PAIR)
    nobody = torch.full((18, 2), torch.nan)
    moved = MOVES(PAIR._replace(source_joints=nobody, target_joints=nobody), 0, 0, 0)
    assert moved.source_joints.isnan().all()
    assert not torch.equal(moved.source_image, PAIR.source_image)


def test_colours_of_both_images_change_alike_and_joints_stay():
    pair = PAIR._replace(target_image=PAIR.source_image)
    for position in range(10):
        jittered = RECOLOURS(pair, 0, 0, position)
        assert torch.equal(jittered.source_image, jittered.target_image)
        assert not torch.equal(jittered.source_image, pair.source_image)
        assert equal(jittered._replace(source_image=pair.source_image, target_image=pair.target_image), pair)


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda a: pickle.loads(pickle.dumps(a)), lambda a: Augmentation(a.transforms)]
)
def test_the_draw_depends_on_seed_epoch_and_position_alone(copied):
    expected = ALL(PAIR, 3, 4, 5)
    ALL(PAIR, 0, 0, 0)
    assert equal(ALL(PAIR, 3, 4, 5), expected)
    assert equal(copied(ALL)(PAIR, 3, 4, 5), expected)
    for varied in range(3):
        drawn = [MOVES(PAIR, *[i if k == varied else 1 for k in range(3)]).source_image for i in range(20)]
        assert len({image.numpy().tobytes() for image in drawn}) == 20


def test_transforms_are_drawn_independently():
    grey = torch.full((3, HEIGHT, WIDTH), 90, dtype=torch.uint8)
    joints = torch.full((18, 2), torch.nan)
    joints[:2] = torch.tensor([[16, 4], [16, 20]])  # nose and neck, which a flip does not swap
    counts = np.zeros((2, 2, 2), dtype=int)
    for position in range(400):
        done = ALL(ImagePair(grey, joints, grey, joints), 0, 0, position)
        along = done.source_joints[1] - done.source_joints[0]
        is_flipped, is_moved = along[1] < 0, abs(along.norm() - 16) > 1e-3
        counts[int(is_flipped), int(is_moved), int(not torch.equal(done.source_image, grey))] += 1
    assert (abs(counts - 50) < 25).all()


@pytest.mark.parametrize(
    ("transforms", "message"),
    [
        ({"HorizontalFlip": {"p": 1.5}}, r"transforms\.HorizontalFlip: .* p Input should be less than or equal to 1"),
        ({"HorizontalFlip": {"q": 1}}, r"transforms\.HorizontalFlip: Argument\(s\) 'q' are not valid"),
        ({"ColorJitter": {"hue": [-1, 1]}}, r"transforms\.ColorJitter: .* must be within \[-0\.5, 0\.5\]"),
        ({"Flip": {}}, r"transforms: expected names of albumentations transforms, got 'Flip'"),
        ({"Compose": {"transforms": []}}, r"transforms: expected names of albumentations transforms, got 'Compose'"),
    ],
)
def test_unknown_and_wrong_transforms_are_refused_in_one_line(transforms, message):
    with pytest.raises(ValueError, match=rf"^data\.augmentation\.{message}[^\n]*$"):
        Augmentation(transforms)


def test_a_missing_package_is_named_only_if_it_is_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "albumentations", None)
    assert Augmentation({})(PAIR, 0, 0, 0) is PAIR
    with pytest.raises(ImportError, match=r"pip install 'twostream\[augment\]'"):
        Augmentation(FLIP)


@pytest.mark.slow
def test_the_import_asks_no_server():
    code = """
import socket, urllib.request
def refuse(*args, **kwargs): raise SystemExit("asked a server")
socket.getaddrinfo = urllib.request.OpenerDirector.open = refuse
from twostream.data.augment import Augmentation
Augmentation({"HorizontalFlip": {"p": 0.5}})
"""
    environment = {key: value for key, value in os.environ.items() if key != "NO_ALBUMENTATIONS_UPDATE"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("name", "changed"), [("none", 0), ("flip", 10), ("full", 17)])
def test_options_change_as_many_pairs_as_they_say(name, changed):
    augmentation = instantiate(OmegaConf.load(f"{CONF}/data/augmentation/{name}.yaml"))
    count = sum(not equal(augmentation(PAIR, 0, 0, position), PAIR) for position in range(20))
    assert abs(count - changed) <= 3
    assert augmentation.is_on == (changed > 0)
