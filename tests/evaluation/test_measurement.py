"""The measurement of image files: batches, processes, shards. What is written is tested in `test_score_files.py`."""

import os
import traceback
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from PIL import Image

from stand_ins import FewFeatures, save_image
from twostream.data.keypoints import NUM_JOINTS
from twostream.data.pose import person_mask
from twostream.evaluation import measurement
from twostream.evaluation.measurement import measure, reference_moments
from twostream.metrics.inception import FeatureColumns, moments
from twostream.metrics.metric import Metric, Panel, ScoredPair
from twostream.metrics.protocols import STANDARD

SIZE = (24, 16)
NUM_PAIRS = 8
# Python warns of it in processes with threads, which torch has.
FORKS = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")


class Difference(Metric):
    """A metric of the worker processes, which records its process."""

    runs_in_workers = True

    def __init__(self, name="difference"):
        super().__init__(name, "patn", {"version": 1}, ["difference", "area", "process"])

    def update(self, images):
        difference = images.generated.astype(float) - images.true
        return {
            "difference": difference.mean(axis=(1, 2, 3)),
            "area": np.array([mask.sum() for mask in images.masks]),
            "process": np.array([os.getpid()] * len(difference)),
        }

    def compute(self, columns, rows):
        raise NotImplementedError


class Network(Metric):
    """A metric with a network, which records its batches and fails after `limit` images."""

    def __init__(self, limit=NUM_PAIRS):
        super().__init__("network", "standard", {"version": 1}, ["features", "joint"])
        self.limit = limit
        self.batches = []

    def update(self, images):
        if sum(self.batches) + len(images.generated) > self.limit:
            raise InterruptedError
        self.batches.append(len(images.generated))
        return {
            "features": images.generated.reshape(len(images.generated), -1)[:, :5].astype(np.float32),
            "joint": np.array([joints[0, 0] for joints in images.joints]),
        }

    def compute(self, columns, rows):
        raise NotImplementedError


@pytest.fixture
def pairs(tmp_path):
    """Two images of each of four people; the order of the names is not that of the joints."""
    made = []
    for i in range(NUM_PAIRS):
        source, target = f"000{i // 2}_a.png", f"000{i // 2}_{i}.png"
        generated = save_image(tmp_path / f"generated_{i}.png", i, SIZE)
        true = save_image(tmp_path / target, 100 + i, SIZE)
        joints = np.full((NUM_JOINTS, 2), (7 * i) % 10)
        made.append(ScoredPair(generated.path.name, source, target, generated, true, joints))
    return made


@pytest.fixture
def run(tmp_path):
    """Measures pairs and returns the columns."""

    def run(pairs, network=None, batch_size=2, num_workers=0, difference=None):
        metrics = [difference or Difference(), network or Network()]
        return measure(pairs, metrics, tmp_path / "cache", batch_size, num_workers)

    return run


@pytest.fixture
def read(monkeypatch):
    """Names of the files that are read, in order."""
    names = []
    original = Panel.read
    monkeypatch.setattr(Panel, "read", lambda self, *size: names.append(self.path.name) or original(self, *size))
    return names


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(measurement, "SHARD_SIZE", 3)


def check(columns, pairs):
    """Check the columns of pairs by their files."""
    images = [[np.asarray(Image.open(panel.path)).astype(float) for panel in (p.generated, p.true)] for p in pairs]
    expected = {
        "difference": [(generated - true).mean() for generated, true in images],
        "area": [person_mask(pair.joints, SIZE).sum() for pair in pairs],
        "features": [generated.reshape(-1)[:5] for generated, _ in images],
        "joint": [pair.joints[0, 0] for pair in pairs],
    }
    assert set(columns) - {"process"} == set(expected)
    for name, column in expected.items():
        np.testing.assert_allclose(columns[name], column, err_msg=name)


def interrupt(run, pairs, after):
    with pytest.raises(InterruptedError):
        run(pairs, Network(limit=after))


@FORKS
@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize(("batch_size", "batches"), [(1, [1] * 8), (3, [3, 3, 2]), (100, [8])])
def test_columns_do_not_depend_on_batches_and_processes(run, pairs, num_workers, batch_size, batches):
    network = Network()
    columns = run(pairs, network, batch_size, num_workers)
    check(columns, pairs)
    assert network.batches == batches
    processes = set(columns["process"].tolist())
    # One or two batches are not worth a process.
    assert processes == {os.getpid()} if num_workers == 0 or batch_size == 100 else os.getpid() not in processes


def test_if_the_joints_of_one_image_are_unknown_no_image_has_a_mask(pairs, tmp_path):
    batches = []

    class Recorder(Difference):
        def update(self, images):
            batches.append(images)
            return {"none": np.zeros(1)}

    pairs[3] = replace(pairs[3], joints=None)
    measure(pairs, [Recorder()], tmp_path / "cache", 1, 0)
    assert [images.masks for images in batches] == [None] * NUM_PAIRS
    assert [images.joints[0] is None for images in batches] == [i == 3 for i in range(NUM_PAIRS)]
    assert [images.pairs[0] for images in batches] == [(pair.source, pair.target) for pair in pairs]


@pytest.mark.parametrize(("after", "num_stored"), [(2, 0), (4, 4), (6, 4), (8, 8)])
def test_an_interrupted_measurement_resumes_after_its_last_shard(run, pairs, small_shards, read, after, num_stored):
    if after < NUM_PAIRS:
        interrupt(run, pairs, after)
    else:
        run(pairs)
    read.clear()
    network = Network()
    check(run(pairs, network, batch_size=3), pairs)
    rest = pairs[num_stored:]
    assert sorted(read) == sorted(panel.path.name for pair in rest for panel in (pair.generated, pair.true))
    assert sum(network.batches) == len(rest)


def test_a_disabled_progress_bar_changes_nothing(run, pairs, monkeypatch):
    # As with TQDM_DISABLE=1.
    monkeypatch.setattr(measurement, "tqdm", partial(measurement.tqdm, disable=True))
    check(run(pairs), pairs)


def test_a_half_written_shard_is_ignored(run, pairs, small_shards, tmp_path):
    interrupt(run, pairs, after=4)
    (tmp_path / "cache" / ".00000006.123.npz").write_bytes(b"half-written by a process that was killed")
    check(run(pairs), pairs)


def test_without_columns_there_is_nothing_to_measure(pairs, small_shards, tmp_path):
    for _ in range(2):
        assert measure(pairs, [], tmp_path / "cache", 2, 0) == {}


def change_image(pairs, kind):
    path = getattr(pairs[0], kind).path
    stamp = path.stat().st_mtime_ns
    save_image(path, 77, SIZE)
    os.utime(path, ns=(stamp + 10**9, stamp + 10**9))
    return pairs, Difference()


CHANGES = {
    "a pair less": lambda pairs: (pairs[1:], Difference()),
    "another order": lambda pairs: (pairs[::-1], Difference()),
    "a generated image": lambda pairs: change_image(pairs, "generated"),
    "a true image": lambda pairs: change_image(pairs, "true"),
    "joints": lambda pairs: ([replace(pairs[0], joints=pairs[0].joints + 5), *pairs[1:]], Difference()),
    "another metric": lambda pairs: (pairs, Difference("other")),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_shards_of_other_images_joints_or_metrics_are_discarded(run, pairs, small_shards, change):
    interrupt(run, pairs, after=6)
    pairs, difference = change(pairs)
    network = Network()
    columns = run(pairs, network, difference=difference)
    assert sum(network.batches) == len(pairs)
    check(columns, pairs)


def test_shards_of_another_panel_of_the_same_file_are_discarded(tmp_path):
    strip = save_image(tmp_path / "strip.png", 0, SIZE).path
    joints = np.full((NUM_JOINTS, 2), 5)
    pair = ScoredPair("strip.png", "a", "b", Panel(strip, 0, 2), Panel(strip, 1, 2), joints)
    swapped = replace(pair, generated=pair.true, true=pair.generated)
    first, second = (
        measure([some], [Difference()], tmp_path / "cache", 1, 0)["difference"] for some in (pair, swapped)
    )
    assert first == pytest.approx(-second)
    assert abs(first[0]) > 0.1


@FORKS
@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_image_of_another_size_than_the_true_one_is_named(run, pairs, num_workers):
    Image.new("RGB", (16, 25)).save(pairs[5].generated.path)
    message = r"generated_5\.png: expected an image of height x width 24x16, got 25x16"
    with pytest.raises(ValueError, match=message) as error:
        run(pairs, num_workers=num_workers)
    # Frees the loader at once; its processes would block the garbage collector for 10 seconds.
    traceback.clear_frames(error.tb)


@pytest.mark.parametrize("kind", ["generated", "true"])
def test_an_unreadable_image_is_named(run, pairs, kind):
    path = getattr(pairs[5], kind).path
    path.write_bytes(b"not an image")
    with pytest.raises(ValueError, match=f"{path}: expected an image: "):
        run(pairs)


def test_reference_moments_are_stored_for_each_network_and_set_of_files(tmp_path):
    net = FewFeatures()
    panels = [save_image(tmp_path / "true" / f"{i}.png", i, SIZE) for i in range(5)]

    def compute(panels, size=SIZE):
        net.inputs.clear()
        shared = FeatureColumns(net, STANDARD, size)
        return reference_moments(panels, size, shared, tmp_path / "cache", 2), net.num_inputs

    first, num_inputs = compute(panels)
    expected = moments(np.stack([panel.read().mean(axis=(0, 1)) for panel in panels]))
    np.testing.assert_allclose(first.mean, expected.mean, rtol=1e-5)
    np.testing.assert_allclose(first.covariance, expected.covariance, rtol=1e-3)
    assert (first.n, num_inputs) == (5, 5)
    again, num_inputs = compute(panels)
    assert (again.mean.tolist(), again.n, num_inputs) == (first.mean.tolist(), 5, 0)
    assert compute(panels[1:])[1] == 4
    for index in (0, 1):
        halves = [Panel(panel.path, index, 2) for panel in panels]
        assert compute(halves, (24, 8))[1] == 5
    stamp = panels[0].path.stat().st_mtime_ns + 10**9
    save_image(panels[0].path, 77, SIZE)
    os.utime(panels[0].path, ns=(stamp, stamp))
    changed, num_inputs = compute(panels)
    assert num_inputs == 5
    assert changed.mean.tolist() != first.mean.tolist()
    net.weights_hash = "another"
    assert compute(panels)[1] == 5
    assert len(list((tmp_path / "cache").iterdir())) == 6
