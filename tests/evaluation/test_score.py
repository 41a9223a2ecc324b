import csv
import hashlib
import json
import os
import traceback
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest
from PIL import Image

from twostream.data.keypoints import NUM_JOINTS
from twostream.data.pose import person_mask
from twostream.evaluation import score
from twostream.evaluation.measures import Metric
from twostream.evaluation.score import ScoreFiles, kept, measure_pairs, summarise, write_scores
from twostream.evaluation.scored_pairs import Panel, ScoredPair
from twostream.metrics.bootstrap import InceptionScore, Mean, Share, resample
from twostream.metrics.inception import inception_score

SIZE = (24, 16)
NUM_PAIRS = 8
# Python warns of it where the process has threads, as torch has.
FORKS = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")


@dataclass
class Difference:
    """Stands for what runs in the loader's processes, and says in which."""

    name: str = "difference"

    def __call__(self, pictures):
        difference = pictures.generated.astype(float) - pictures.true
        area = [0 if pictures.masks is None else mask.sum() for mask in pictures.masks]
        return {
            "difference": difference.mean(axis=(1, 2, 3)),
            "area": np.array(area),
            "process": np.array([os.getpid()] * len(difference)),
        }

    def metrics(self):
        return [Metric(self.name, "patn", Mean("difference"), {"version": 1})]


class Network:
    """Stands for a network, keeps the sizes of its batches and ends when it has seen too much."""

    def __init__(self, limit=NUM_PAIRS):
        self.limit = limit
        self.seen = []

    def __call__(self, pictures):
        if sum(self.seen) + len(pictures.generated) > self.limit:
            raise InterruptedError
        self.seen.append(len(pictures.generated))
        return {
            "features": pictures.generated.reshape(len(pictures.generated), -1)[:, :5].astype(np.float32),
            "joint": np.array([joints[0, 0] for joints in pictures.joints]),
        }

    def metrics(self):
        return [Metric("network", "standard", Mean("joint"), {"version": 1})]


def write_picture(path, seed):
    noise = np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


@pytest.fixture
def pairs(tmp_path):
    """Two pictures of each of four people; the names' order is not that of the joints."""
    made = []
    for i in range(NUM_PAIRS):
        source, target = f"000{i // 2}_a.png", f"000{i // 2}_{i}.png"
        generated = write_picture(tmp_path / f"generated_{i}.png", i)
        true = write_picture(tmp_path / target, 100 + i)
        joints = np.full((NUM_JOINTS, 2), (7 * i) % 10)
        made.append(ScoredPair(generated.name, source, target, Panel(generated), Panel(true), joints))
    return made


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def read(monkeypatch):
    """Names of the generated and true pictures that are read, in order."""
    names = []
    read_panel = score.read_panel
    monkeypatch.setattr(score, "read_panel", lambda panel: names.append(panel.path.name) or read_panel(panel))
    return names


def measure(pairs, cache, network=None, batch_size=3, num_workers=0, similarity=None):
    return measure_pairs(pairs, similarity or Difference(), [network or Network()], cache, batch_size, num_workers)


def expected_columns(pairs):
    pictures = [[np.asarray(Image.open(panel.path)).astype(float) for panel in (p.generated, p.true)] for p in pairs]
    return {
        "difference": [(generated - true).mean() for generated, true in pictures],
        "area": [person_mask(pair.joints, SIZE).sum() for pair in pairs],
        "features": [generated.reshape(-1)[:5] for generated, _ in pictures],
        "joint": [pair.joints[0, 0] for pair in pairs],
    }


def assert_equal(columns, expected):
    assert set(columns) - {"process"} == set(expected)
    for name, column in expected.items():
        np.testing.assert_allclose(columns[name], column, err_msg=name)


@FORKS
@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize(("batch_size", "batches"), [(1, [1] * 8), (3, [3, 3, 2]), (100, [8])])
def test_columns_depend_neither_on_batches_nor_on_processes(pairs, cache, num_workers, batch_size, batches):
    network = Network()
    columns = measure(pairs, cache, network, batch_size, num_workers)
    assert_equal(columns, expected_columns(pairs))
    assert network.seen == batches
    processes = set(columns["process"].tolist())
    # So few pictures that a batch or two hold them all are not worth a process.
    assert processes == {os.getpid()} if num_workers == 0 or batch_size == 100 else os.getpid() not in processes


def test_unknown_joints_of_one_picture_take_the_masks_from_all(pairs, cache):
    shown = []

    class Look(Difference):
        def __call__(self, pictures):
            shown.append((pictures.masks, pictures.joints[0]))
            return {"none": np.zeros(1)}

    pairs[3] = replace(pairs[3], joints=None)
    measure_pairs(pairs, Look(), [], cache, 3, 0)
    assert [masks for masks, _ in shown] == [None] * NUM_PAIRS
    assert [joints is None for _, joints in shown] == [i == 3 for i in range(NUM_PAIRS)]


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(score, "SHARD", 3)


def interrupt(pairs, cache, after):
    with pytest.raises(InterruptedError):
        measure(pairs, cache, Network(limit=after), batch_size=2)


@pytest.mark.parametrize(("after", "num_kept"), [(2, 0), (4, 4), (6, 4)])
def test_what_was_cut_off_goes_on_after_its_last_shard(pairs, cache, small_shards, read, after, num_kept):
    interrupt(pairs, cache, after)
    read.clear()
    network = Network()
    columns = measure(pairs, cache, network, batch_size=2)
    assert_equal(columns, expected_columns(pairs))
    rest = pairs[num_kept:]
    assert read == [panel.path.name for pair in rest for panel in (pair.generated, pair.true)]
    assert sum(network.seen) == len(rest)


def test_what_was_cut_off_at_the_end_is_not_measured_again(pairs, cache, small_shards, read):
    measure(pairs, cache, batch_size=2)
    read.clear()
    columns = measure(pairs, cache, Network(limit=0), batch_size=2)
    assert read == []
    assert_equal(columns, expected_columns(pairs))


def test_it_goes_on_with_batches_of_another_size(pairs, cache, small_shards):
    interrupt(pairs, cache, after=4)
    network = Network()
    assert_equal(measure(pairs, cache, network, batch_size=3), expected_columns(pairs))
    assert network.seen == [3, 1]


def test_a_bar_that_does_not_count_changes_nothing(pairs, cache, monkeypatch):
    # As with TQDM_DISABLE=1.
    monkeypatch.setattr(score, "tqdm", partial(score.tqdm, disable=True))
    assert_equal(measure(pairs, cache), expected_columns(pairs))


def test_other_files_beside_the_parts_are_not_taken_for_parts(pairs, cache, small_shards):
    interrupt(pairs, cache, after=4)
    (cache / ".00000006.123.npz").write_bytes(b"half-written by a process that was killed")
    matched = kept(cache / "correspondence.npz", lambda: {"right": np.arange(NUM_PAIRS)})
    assert_equal(measure(pairs, cache, batch_size=2), expected_columns(pairs))
    assert matched["right"].tolist() == list(range(NUM_PAIRS))
    # The same files lie there when all parts are whole.
    assert_equal(measure(pairs, cache, Network(limit=0), batch_size=2), expected_columns(pairs))


def test_nothing_to_measure_is_no_error(pairs, cache, small_shards):
    class Nothing(Difference):
        def __call__(self, pictures):
            return {}

    for _ in range(2):
        assert measure_pairs(pairs, Nothing(), [], cache, 2, 0) == {}


def change_picture(pairs, kind):
    path = getattr(pairs[0], kind).path
    stamp = path.stat().st_mtime_ns
    write_picture(path, 77)
    os.utime(path, ns=(stamp + 10**9, stamp + 10**9))
    return pairs, Difference()


CHANGES = {
    "a pair less": lambda pairs: (pairs[1:], Difference()),
    "another order": lambda pairs: (pairs[::-1], Difference()),
    "a generated picture": lambda pairs: change_picture(pairs, "generated"),
    "a true picture": lambda pairs: change_picture(pairs, "true"),
    "joints": lambda pairs: ([replace(pairs[0], joints=pairs[0].joints + 5), *pairs[1:]], Difference()),
    "another metric": lambda pairs: (pairs, Difference(name="other")),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_other_pictures_joints_or_metrics_are_measured_anew(pairs, cache, small_shards, change):
    interrupt(pairs, cache, after=6)
    pairs, similarity = change(pairs)
    network = Network()
    columns = measure(pairs, cache, network, batch_size=2, similarity=similarity)
    assert sum(network.seen) == len(pairs)
    assert_equal(columns, expected_columns(pairs))


def test_another_panel_of_the_same_file_is_another_picture(tmp_path, cache):
    strip = write_picture(tmp_path / "strip.png", 0)
    pairs = [ScoredPair("strip.png", "a", "b", Panel(strip, 0, 2), Panel(strip, 1, 2), joints=None)]
    turned = [replace(pairs[0], generated=pairs[0].true, true=pairs[0].generated)]

    def mean(pictures):
        return {"difference": (pictures.generated.astype(float) - pictures.true).mean(axis=(1, 2, 3))}

    mean.metrics = list
    first, second = (measure_pairs(some, mean, [], cache, 1, 0)["difference"] for some in (pairs, turned))
    assert first == pytest.approx(-second)
    assert abs(first[0]) > 0.1


@FORKS
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_picture_of_another_size_than_the_true_one_is_named(pairs, cache, num_workers):
    Image.new("RGB", (16, 25)).save(pairs[5].generated.path)
    message = r"generated_5\.png: expected a picture of shape \(24, 16, 3\), got \(25, 16, 3\)"
    with pytest.raises(ValueError, match=message) as error:
        measure(pairs, cache, num_workers=num_workers)
    # Lets go of the loader at once; its processes would keep the garbage collector waiting for 10 seconds.
    traceback.clear_frames(error.tb)


@pytest.mark.parametrize("kind", ["generated", "true"])
def test_an_unreadable_picture_is_named(pairs, cache, kind):
    path = getattr(pairs[5], kind).path
    path.write_bytes(b"no picture")
    with pytest.raises(ValueError, match=f"{path}: expected a picture: "):
        measure(pairs, cache)


def test_columns_are_kept_in_a_file(tmp_path):
    path = tmp_path / "deep" / "columns.npz"
    calls = []

    def compute():
        calls.append(1)
        return {"a": np.arange(3), "b/c": np.eye(3)}

    for _ in range(2):
        columns = kept(path, compute)
        assert columns["a"].tolist() == [0, 1, 2]
        np.testing.assert_array_equal(columns["b/c"], np.eye(3))
    assert len(calls) == 1


@pytest.fixture
def files(tmp_path):
    return ScoreFiles.of_run(tmp_path / "run")


@pytest.fixture
def columns():
    random = np.random.default_rng(0)
    return {
        "ssim/patn": random.uniform(size=NUM_PAIRS),
        "lpips/standard": random.uniform(size=NUM_PAIRS).astype(np.float32),
        "logits": random.normal(size=(NUM_PAIRS, 4)),
        "right": np.arange(NUM_PAIRS),
        "nothing": np.zeros(NUM_PAIRS, dtype=int),
    }


SSIM = Metric("ssim", "patn", Mean("ssim/patn"), {"version": 1, "codec": "png"})
IS = Metric("inception_score", "standard", InceptionScore("logits"), {"splits": 10})
PCKH = Metric("pckh", "patn", Share("right", "nothing"), {})
LACKING = [{"metric": "fid_test", "protocol": "standard", "reason": "no weights"}]


def test_a_run_has_three_files(tmp_path):
    files = ScoreFiles.of_run(tmp_path)
    assert [files.values, files.rows, files.bootstrap] == [
        tmp_path / name for name in ("metrics.json", "scores.csv", "bootstrap.json")
    ]


def test_the_values_are_written_with_all_that_belongs_beside_them(files, pairs, columns):
    content = write_scores(files, {"seed": 3}, pairs, columns, [SSIM], LACKING)
    assert json.loads(files.values.read_text()) == content
    listed = "\n".join(f"{pair.source},{pair.target}" for pair in pairs)
    digest = hashlib.sha256(listed.encode()).hexdigest()
    assert content["format"] == 2
    assert content["run"] == {"seed": 3}
    assert set(content["scored_by"]) == {"commit", "dirty"}
    assert content["test"] == {"identities": 4, "pairs_hash": digest}
    assert content["missing"] == LACKING
    (entry,) = content["values"]
    low, high = entry.pop("interval")
    value = columns["ssim/patn"].mean()
    assert entry == {
        "metric": "ssim",
        "protocol": "patn",
        "value": pytest.approx(value),
        "n": NUM_PAIRS,
        "version": 1,
        "codec": "png",
    }
    assert low < value < high
    assert (low + high) / 2 == pytest.approx(value)


def test_the_rows_are_those_of_the_images(files, pairs, columns):
    write_scores(files, {}, pairs, columns, [SSIM], [])
    rows = list(csv.DictReader(files.rows.read_text().splitlines()))
    assert list(rows[0]) == ["image", "source", "target", "ssim/patn", "lpips/standard", "right", "nothing"]
    for i, (row, pair) in enumerate(zip(rows, pairs, strict=True)):
        assert (row["image"], row["source"], row["target"]) == (pair.name, pair.source, pair.target)
        assert float(row["ssim/patn"]) == columns["ssim/patn"][i]
        assert np.float32(row["lpips/standard"]) == columns["lpips/standard"][i]
        assert row["right"] == str(i)


def test_the_resamples_behind_the_intervals_are_kept(files, pairs, columns):
    content = write_scores(files, {}, pairs, columns, [SSIM], [])
    bootstrap = json.loads(files.bootstrap.read_text())
    (entry,) = bootstrap.pop("replicates")
    assert bootstrap == {"format": 1, "seed": 0, **content["test"]}
    assert (entry["metric"], entry["protocol"]) == ("ssim", "patn")
    identities = [pair.target[:4] for pair in pairs]
    resampled = resample(SSIM.statistic, columns, identities, content["values"][0]["value"])
    assert len(entry["values"]) == 1000
    assert entry["values"] == pytest.approx(resampled.replicates, rel=1e-6)
    assert content["values"][0]["interval"] == pytest.approx(resampled.interval)
    # Each is the mean of four draws of a person's two pictures.
    people = columns["ssim/patn"].reshape(4, 2).mean(axis=1)
    means = people[np.indices((4,) * 4).reshape(4, -1)].mean(axis=0)
    assert np.abs(np.array(entry["values"])[:, None] - means).min(axis=1).max() < 1e-6


def test_one_identity_has_no_interval_and_no_resamples(files, pairs, columns):
    content = write_scores(files, {}, pairs[:2], {k: v[:2] for k, v in columns.items()}, [SSIM], [])
    assert content["values"][0]["interval"] is None
    assert content["values"][0]["n"] == 2
    assert json.loads(files.bootstrap.read_text())["replicates"] == []


def test_metrics_without_a_value_are_listed_and_the_others_come(files, pairs, columns, caplog):
    content = write_scores(files, {}, pairs, columns, [IS, SSIM, PCKH], LACKING)
    assert [entry["metric"] for entry in content["values"]] == ["ssim"]
    splits = "expected 1 to 8 splits for 8 images, got 10"
    nothing = "expected something to count, nothing is 0 in each of 8 pictures"
    assert content["missing"] == [
        *LACKING,
        {"metric": "inception_score", "protocol": "standard", "reason": splits},
        {"metric": "pckh", "protocol": "patn", "reason": nothing},
    ]
    assert f"not computed: inception_score (standard): {splits}" in caplog.messages


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_json_can_not_hold_is_listed_as_missing(columns, value):
    columns["ssim/patn"][3] = value
    values, replicates, undefined = summarise([SSIM], columns, ["a", "b"] * 4)
    assert (values, replicates) == ([], [])
    assert undefined == [
        {"metric": "ssim", "protocol": "patn", "reason": f"expected a finite number, got {float(value)}"}
    ]


def test_an_inception_score_comes_with_the_deviation_over_its_splits(columns):
    logits = np.random.default_rng(1).normal(size=(30, 4))
    (entry,), _, _ = summarise([IS], {"logits": logits}, ["a", "b", "c"] * 10)
    assert (entry["value"], entry["splits_std"]) == pytest.approx(inception_score(logits))
    assert entry["splits"] == 10


@pytest.mark.parametrize("failing", ["scores.csv", "bootstrap.json", "metrics.json"])
def test_values_are_there_only_where_all_is(files, pairs, columns, monkeypatch, failing):
    write_scores(files, {"state": "old"}, pairs, columns, [SSIM], [])
    order = []

    def fail(write):
        def track_status(path, *content):
            order.append(path.name)
            if path.name == failing:
                raise OSError("disk full")
            write(path, *content)

        return track_status

    for name in ("write_text", "write_json"):
        monkeypatch.setattr(score, name, fail(getattr(score, name)))
    with pytest.raises(OSError, match="disk full"):
        write_scores(files, {"state": "new"}, pairs, columns, [SSIM], [])
    assert order == ["scores.csv", "bootstrap.json", "metrics.json"][: len(order)]
    assert order[-1] == failing
    assert not files.values.exists()
    monkeypatch.undo()
    write_scores(files, {"state": "new"}, pairs, columns, [SSIM], [])
    assert json.loads(files.values.read_text())["run"] == {"state": "new"}
