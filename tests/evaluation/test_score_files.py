"""What `write_scores` writes: metrics.json, scores.csv and bootstrap.json."""

import csv
import hashlib
import json

import numpy as np
import pytest

from stand_ins import Corner, FewFeatures
from twostream.evaluation import measurement
from twostream.evaluation.measurement import ScoreFiles, summarise, write_scores
from twostream.metrics.bootstrap import resample
from twostream.metrics.inception import FeatureColumns, InceptionScore, inception_score
from twostream.metrics.metric import Panel, ScoredPair
from twostream.metrics.pckh import PCKh
from twostream.metrics.protocols import PATN, STANDARD
from twostream.metrics.ssim import SSIM

NUM_PAIRS = 8
SIZE = (24, 16)
SHARED = FeatureColumns(FewFeatures(), STANDARD, SIZE)
MISSING = [{"metric": "fid_test", "protocol": "standard", "reason": "no weights"}]


@pytest.fixture
def pairs(tmp_path):
    """Two images of each of four people."""
    names = [f"000{i // 2}_{i}.png" for i in range(NUM_PAIRS)]
    return [ScoredPair(f"g_{n}", "0000_a.png", n, Panel(tmp_path / n), Panel(tmp_path / n), None) for n in names]


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
