"""The measurement of image files (batches, processes, shards), and the files of its results."""

import csv
import hashlib
import json
import os
import traceback
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from PIL import Image

from stand_ins import Corner, FewFeatures, save_image
from twostream.data.keypoints import NUM_JOINTS
from twostream.data.pose import person_mask
from twostream.evaluation import measurement
from twostream.evaluation.measurement import (
    ScoreFiles,
    discard_if_stale,
    measure,
    reference_moments,
    summarise,
    write_scores,
)
from twostream.files import read_rows
from twostream.metrics.bootstrap import resample
from twostream.metrics.inception import FeatureColumns, InceptionScore, inception_score, moments
from twostream.metrics.metric import Metric, Panel, ScoredPair
from twostream.metrics.pckh import PCKh
from twostream.metrics.protocols import PATN, STANDARD
from twostream.metrics.ssim import SSIM

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
            "area": np.array([mask.sum() for mask in images.masks(STANDARD)]),
            "process": np.array([os.getpid()] * len(difference)),
        }


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


def test_joints_of_an_image_may_be_unknown(pairs, tmp_path):
    batches = []

    class Recorder(Difference):
        def update(self, images):
            batches.append(images)
            return {"none": np.zeros(1)}

    pairs[3] = replace(pairs[3], joints=None)
    measure(pairs, [Recorder()], tmp_path / "cache", 1, 0)
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


SHARED = FeatureColumns(FewFeatures(), STANDARD, SIZE)
MISSING = [{"metric": "fid_test", "protocol": "standard", "reason": "no weights"}]


@pytest.fixture
def files(tmp_path):
    return ScoreFiles(*(tmp_path / "run" / name for name in ("metrics.json", "scores.csv", "bootstrap.json", "cache")))


@pytest.fixture
def columns():
    random = np.random.default_rng(0)
    return {
        "ssim/patn": random.uniform(size=NUM_PAIRS),
        "lpips/standard": random.uniform(size=NUM_PAIRS).astype(np.float32),
        SHARED.logits: random.normal(size=(NUM_PAIRS, 4)),
        "pckh_right/patn": np.arange(NUM_PAIRS),
        "pckh_total/patn": np.zeros(NUM_PAIRS, dtype=int),
    }


@pytest.fixture
def ssim():
    return SSIM(PATN, SIZE)


def test_values_are_written_with_their_details(files, pairs, columns, ssim):
    content = write_scores(files, {"seed": 3}, pairs, columns, [ssim], MISSING)
    assert json.loads(files.values.read_text()) == content
    listed = "\n".join(f"{pair.source},{pair.target}" for pair in pairs)
    assert content["format"] == 2
    assert content["run"] == {"seed": 3}
    assert set(content["scored_by"]) == {"commit", "dirty"}
    assert content["test"] == {"identities": 4, "pairs_hash": hashlib.sha256(listed.encode()).hexdigest()}
    assert content["missing"] == MISSING
    (entry,) = content["values"]
    low, high = entry.pop("interval")
    value = columns["ssim/patn"].mean()
    expected = {"metric": "ssim", "protocol": "patn", "value": pytest.approx(value), "n": NUM_PAIRS}
    assert entry == expected | ssim.details
    assert low < value < high
    assert (low + high) / 2 == pytest.approx(value)


def test_there_is_one_row_per_image(files, pairs, columns, ssim):
    write_scores(files, {}, pairs, columns, [ssim], [])
    rows = list(csv.DictReader(files.rows.read_text().splitlines()))
    counts = ["pckh_right/patn", "pckh_total/patn"]
    assert list(rows[0]) == ["image", "source", "target", "ssim/patn", "lpips/standard", *counts]
    for i, (row, pair) in enumerate(zip(rows, pairs, strict=True)):
        assert (row["image"], row["source"], row["target"]) == (pair.name, pair.source, pair.target)
        assert float(row["ssim/patn"]) == columns["ssim/patn"][i]
        assert np.float32(row["lpips/standard"]) == columns["lpips/standard"][i]
        assert row["pckh_right/patn"] == str(i)


def test_a_name_that_a_spreadsheet_would_compute_is_text_and_read_as_it_is(files, pairs, columns, ssim):
    pairs = [replace(pair, name=f"=1+{i}", source=f"@{i}") for i, pair in enumerate(pairs)]
    write_scores(files, {}, pairs, columns, [ssim], [])
    assert "\n'=1+0,'@0," in files.rows.read_text()
    assert [(row["image"], row["source"]) for row in read_rows(files.rows)[1]] == [(p.name, p.source) for p in pairs]


def test_the_replicates_behind_the_intervals_are_written(files, pairs, columns, ssim):
    content = write_scores(files, {}, pairs, columns, [ssim], [])
    bootstrap = json.loads(files.bootstrap.read_text())
    (entry,) = bootstrap.pop("replicates")
    assert bootstrap == {"format": 1, "seed": 0, **content["test"]}
    assert (entry["metric"], entry["protocol"]) == ("ssim", "patn")
    identities = [pair.target[:4] for pair in pairs]
    resampled = resample(ssim, columns, identities, content["values"][0]["value"])
    assert len(entry["values"]) == 1000
    assert entry["values"] == pytest.approx(resampled.replicates, rel=1e-6)
    assert content["values"][0]["interval"] == pytest.approx(resampled.interval)
    # Each is the mean over four draws of a person's two images.
    people = columns["ssim/patn"].reshape(4, 2).mean(axis=1)
    means = people[np.indices((4,) * 4).reshape(4, -1)].mean(axis=0)
    assert np.abs(np.array(entry["values"])[:, None] - means).min(axis=1).max() < 1e-6


def test_one_identity_has_no_interval_and_no_replicates(files, pairs, columns, ssim):
    content = write_scores(files, {}, pairs[:2], {k: v[:2] for k, v in columns.items()}, [ssim], [])
    assert content["values"][0]["interval"] is None
    assert content["values"][0]["n"] == 2
    assert json.loads(files.bootstrap.read_text())["replicates"] == []


def test_undefined_metrics_are_listed_and_the_others_written(files, pairs, columns, ssim, caplog):
    metrics = [InceptionScore(SHARED), ssim, PCKh(PATN, SIZE, Corner())]
    content = write_scores(files, {}, pairs, columns, metrics, MISSING)
    assert [entry["metric"] for entry in content["values"]] == ["ssim"]
    splits = "expected 1 to 8 splits for 8 images, got 10"
    no_head = "PCKh: expected a target with two found joints of the head, got 8 without"
    assert content["missing"] == [
        *MISSING,
        {"metric": "inception_score", "protocol": "standard", "reason": splits},
        {"metric": "pckh", "protocol": "patn", "reason": no_head},
    ]
    assert f"not computed: inception_score (standard): {splits}" in caplog.messages


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_listed_as_missing(columns, ssim, value):
    columns["ssim/patn"][3] = value
    reason = f"expected a finite number, got {float(value)}"
    missing = [{"metric": "ssim", "protocol": "patn", "reason": reason}]
    assert summarise([ssim], columns, ["a", "b"] * 4) == ([], [], missing)


def test_an_inception_score_is_written_with_the_deviation_over_its_splits():
    logits = np.random.default_rng(1).normal(size=(30, 4))
    (entry,), _, _ = summarise([InceptionScore(SHARED)], {SHARED.logits: logits}, ["a", "b", "c"] * 10)
    assert (entry["value"], entry["splits_std"]) == pytest.approx(inception_score(logits))
    assert entry["splits"] == 10


@pytest.mark.parametrize("failing", ["scores.csv", "bootstrap.json", "metrics.json"])
def test_values_exist_only_together_with_the_other_files(files, pairs, columns, ssim, monkeypatch, failing):
    write_scores(files, {"state": "old"}, pairs, columns, [ssim], [])
    order = []

    def failing_write(write):
        def wrapped(path, *content):
            order.append(path.name)
            if path.name == failing:
                raise OSError("disk full")
            write(path, *content)

        return wrapped

    for name in ("write_text", "write_json"):
        monkeypatch.setattr(measurement, name, failing_write(getattr(measurement, name)))
    with pytest.raises(OSError, match="disk full"):
        write_scores(files, {"state": "new"}, pairs, columns, [ssim], [])
    assert order == ["scores.csv", "bootstrap.json", "metrics.json"][: len(order)]
    assert order[-1] == failing
    assert not files.values.exists()
    monkeypatch.undo()
    write_scores(files, {"state": "new"}, pairs, columns, [ssim], [])
    assert json.loads(files.values.read_text())["run"] == {"state": "new"}


@pytest.mark.parametrize("content", [b"", b"\x80", b"null", b"other\n", None])
def test_intermediate_results_of_an_unknown_key_are_discarded(tmp_path, content):
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "a.png").touch()
    if content is not None:
        (folder / "key").write_bytes(content)
    discard_if_stale(folder, "key", "abc")
    assert [path.name for path in folder.iterdir()] == ["key"]
    (folder / "a.png").touch()
    discard_if_stale(folder, "key", "abc")
    assert (folder / "a.png").exists()


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_a_damaged_file_of_measurements_is_named(tmp_path, content):
    (tmp_path / "00000008.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"00000008\.npz: expected stored measurements, got: .*; remove the file"):
        measurement._load(tmp_path / "00000008.npz")
