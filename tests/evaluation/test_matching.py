import math
import shutil
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from tiny_run import PEOPLE
from twostream.data.dataset import PairDataset, to_pose_pair
from twostream.data.pose import gaussian_heatmaps
from twostream.evaluation.matching import correspondence_metrics, measure_correspondence
from twostream.metrics.correspondence import Surface, count_right, expected_right, true_matches
from twostream.nets.appearance_transfer import AppearanceTransfer, NoAppearanceTransfer
from twostream.nets.fusion import CatFusion
from twostream.nets.generator import TwoStreamGenerator

SIZE, MAP = PEOPLE["image_size"], (8, 4)
HEATMAPS = partial(gaussian_heatmaps, sigma=2.0)


class KnownMatches(TwoStreamGenerator):
    """Matches the pairs, in their order, as it is told: for each block `(pairs, positions)`."""

    def __init__(self, *by_block):
        nn.Module.__init__(self)
        self.by_block, self.given = [torch.from_numpy(matches) for matches in by_block], 0

    def matches(self, source_image, source_heatmaps, target_heatmaps):
        some = slice(self.given, self.given + len(source_image))
        self.given = some.stop
        return [matches[some] for matches in self.by_block]


@pytest.fixture(scope="module")
def dataset(people_folder):
    return PairDataset.of_split(people_folder, "test", SIZE)


@pytest.fixture(scope="module")
def surfaces(people_folder):
    return people_folder / "surface-test"


@pytest.fixture(scope="module")
def truths(dataset, surfaces):
    def read(name):
        with np.load(surfaces / name.replace(".jpg", ".npz")) as file:
            return Surface(file["part"], file["u"], file["v"])

    return [true_matches(read(source), read(target)) for source, target in dataset.pairs]


def measure(generator, dataset, surfaces, batch_size=4):
    return measure_correspondence(generator, dataset, surfaces, HEATMAPS, torch.device("cpu"), batch_size)


def make(at_module=AppearanceTransfer):
    torch.manual_seed(0)
    return TwoStreamGenerator(at_module, CatFusion, CatFusion, 2, 4, 18, dropout=0.5).eval()


def cell(pixel):
    return pixel[0] // 4 * 4 + pixel[1] // 4


def best_matching(truth):
    """For each position of the map the source position that the most of its pixels call right, by trying all."""
    right = np.zeros((32, 32))
    for target, source in zip(truth.target.tolist(), truth.source.tolist(), strict=True):
        for y, x in np.ndindex(MAP):
            right[cell(target), cell((4 * y, 4 * x))] += math.dist((4 * y + 1.5, 4 * x + 1.5), source) <= 3.2
    return right.argmax(axis=1), right.max(axis=1).sum()


def test_the_true_matching_finds_nearly_all(dataset, surfaces, truths):
    matchings, right = zip(*(best_matching(truth) for truth in truths), strict=True)
    columns = measure(KnownMatches(np.stack(matchings)), dataset, surfaces)
    assert columns["correspondence/block_1"].tolist() == list(right)
    share = columns["correspondence/block_1"].sum() / columns["correspondence/total"].sum()
    # A position of 4x4 pixels has one match, for whatever parts it shows.
    assert share > 0.85
    for baseline in ("same_place", "chance"):
        assert (columns["correspondence/block_1"] >= columns[f"correspondence/{baseline}"]).all()


def test_matching_the_same_place_is_that_baseline(dataset, surfaces):
    same = np.tile(np.arange(32), (len(dataset), 1))
    columns = measure(KnownMatches(same, same[:, ::-1].copy()), dataset, surfaces)
    np.testing.assert_array_equal(columns["correspondence/block_1"], columns["correspondence/same_place"])
    assert columns["correspondence/block_2"].sum() < columns["correspondence/same_place"].sum()


def test_baselines_and_totals_are_those_of_the_true_matches(dataset, surfaces, truths):
    columns = measure(make(), dataset, surfaces)
    assert columns["correspondence/total"].tolist() == [len(truth.target) for truth in truths]
    assert columns["correspondence/total"].sum() > 200
    near = [
        sum(
            math.dist(4 * np.floor_divide(target, 4) + 1.5, source) <= 3.2
            for target, source in zip(truth.target, truth.source, strict=True)
        )
        for truth in truths
    ]
    assert columns["correspondence/same_place"].tolist() == near
    assert columns["correspondence/chance"].tolist() == [expected_right(truth, MAP, SIZE) for truth in truths]


def test_a_generators_blocks_are_measured(dataset, surfaces, truths):
    generator = make()
    columns = measure(generator, dataset, surfaces)
    names = ["block_1", "block_2", "same_place", "chance", "total"]
    assert list(columns) == [f"correspondence/{name}" for name in names]
    assert all(column.shape == (len(dataset),) for column in columns.values())
    pair = to_pose_pair(dataset.batch([2]), HEATMAPS)
    for block, matches in enumerate(generator.matches(*pair[:3]), start=1):
        right = count_right(matches[0].numpy(), truths[2], MAP, SIZE)
        assert columns[f"correspondence/block_{block}"][2] == right


@pytest.mark.parametrize("batch_size", [1, 100])
def test_the_batch_size_does_not_matter(dataset, surfaces, batch_size):
    assert len(dataset) == 6
    expected = measure(make(), dataset, surfaces)
    columns = measure(make(), dataset, surfaces, batch_size)
    for name, column in columns.items():
        np.testing.assert_array_equal(column, expected[name])


def test_metrics_are_shares_of_the_true_matches(dataset, surfaces):
    columns = measure(make(), dataset, surfaces)
    metrics = correspondence_metrics(columns, (256, 176))
    names = ["block_1", "block_2", "same_place", "chance"]
    assert [metric.name for metric in metrics] == [f"correspondence_{name}" for name in names]
    for name, metric in zip(names, metrics, strict=True):
        assert metric.protocol == "pck@0.1"
        assert metric.details == {"version": 1, "map": "64x44", "threshold": "0.1 of the image height"}
        expected = columns[f"correspondence/{name}"].sum() / columns["correspondence/total"].sum()
        assert metric.statistic(columns, np.arange(len(dataset))) == pytest.approx(expected)
    metrics[0].details["map"] = "changed"
    assert metrics[1].details["map"] == "64x44"


def test_a_generator_without_at_modules_has_no_correspondence(dataset, surfaces):
    with pytest.raises(TypeError, match="expected an AT-module, got NoAppearanceTransfer"):
        measure(make(NoAppearanceTransfer), dataset, surfaces)


def npz_without_v(path):
    np.savez(path, part=np.zeros(SIZE, np.uint8), u=np.zeros(SIZE, np.float16))


def npz_of_objects(path):
    np.savez(path, part=np.array([{}], dtype=object), u=np.zeros(SIZE), v=np.zeros(SIZE))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"no arrays"),
        lambda path: path.write_bytes(path.read_bytes()[:100]),
        lambda path: path.write_bytes(path.read_bytes()[:60] + bytes(20) + path.read_bytes()[80:]),
        npz_without_v,
        npz_of_objects,
    ],
    ids=["missing", "empty", "text", "cut off", "overwritten", "without v", "objects"],
)
def test_surface_coordinates_that_can_not_be_read_are_named(dataset, surfaces, tmp_path, spoil):
    copy = shutil.copytree(surfaces, tmp_path / "surfaces")
    name = dataset.pairs[-1][0].replace(".jpg", ".npz")
    spoil(copy / name)
    with pytest.raises(ValueError, match=rf"surfaces/{name}: expected surface coordinates"):
        measure(make(), dataset, copy)


def test_the_true_matches_of_a_picture_with_itself_are_its_own_pixels(surfaces):
    for path in surfaces.iterdir():
        with np.load(path) as file:
            surface = Surface(file["part"], file["u"], file["v"])
        matches = true_matches(surface, surface)
        np.testing.assert_array_equal(matches.target, matches.source)
        assert len(matches.target) == (surface.part > 0).sum()
