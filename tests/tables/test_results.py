import json
from collections.abc import Callable
from pathlib import Path

import pytest

from twostream.tables.results import Bootstrap, Value, read_run

AddRun = Callable[..., Path]
WEIGHTS = "weights.pth is missing:\n put it into x"


def test_run_is_read_with_its_bootstrap(add_run: AddRun):
    entry = {"value": 3, "interval": [2, 3.5], "splits_std": 0.5, "codec": "png"}
    path = add_run(
        "full",
        {"inception_score": entry, "lpips/standard": 0.25},
        missing={"fid_test/standard": WEIGHTS},
        replicates={"inception_score": [3, 2.5]},
    )
    run = read_run(path)
    assert run.values == (
        Value("inception_score", "patn", 3.0, 64, (2.0, 3.5), 0.5, {"codec": "png"}),
        Value("lpips", "standard", 0.25, 64, None, None, {}),
    )
    assert run.missing == {("fid_test", "standard"): "weights.pth is missing: put it into x"}
    assert (run.identities, run.pairs_hash) == (12, "p1")
    assert run.bootstrap == Bootstrap(0, 12, "p1", {("inception_score", "patn"): (3.0, 2.5)})


def test_run_without_bootstrap_is_read(add_run: AddRun):
    assert read_run(add_run("full", {"ssim": 0.31})).bootstrap is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"format": 2', '"format": 1', r"seed0/metrics\.json: key 'format': expected 2, got 1; evaluate the run again"),
        ('"iterations": 100', '"iterations": "100"', r"run: key 'iterations': expected int, got '100'"),
        ('"value": 0.31', '"value": null', r"values\[0\]: key 'value': expected float, got None"),
        ('"pckh", "protocol"', '"ssim", "protocol"', r"key 'values': expected each once, got 'ssim, patn' 2 times"),
        ('"fid"', '"ssim"', r"metrics\.json: missing: expected each once, got 'ssim, patn' 2 times"),
        ('"reason"', '"why"', r"missing\[0\]: expected the key 'reason', got metric, protocol, why"),
        ('"identities": 12', '"identities": null', r"test: key 'identities': expected int, got None"),
        ('"interval": null', '"interval": 0.3', r"values\[0\]: key 'interval': expected list, got 0\.3"),
        ('"interval": null', '"interval": [0.3]', r"'interval': expected \[low, high\] or null, got \[0\.3\]"),
        ('"interval": null', '"interval": [0, "1"]', r"values\[0\]: interval\[1\]: expected a number, got '1'"),
        ('"values": [{"metric"', '"values": [3, {"metric"', r"values\[0\]: expected a mapping, got 3"),
    ],
)
def test_wrong_metrics_file_is_refused(add_run: AddRun, old: str, new: str, message: str):
    path = add_run("full", {"ssim": 0.31, "pckh": 0.9}, missing={"fid": "no"})
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ValueError, match=message):
        read_run(path)


def test_old_format_names_the_command_that_renews_it(add_run: AddRun):
    path = add_run("full", {})
    path.write_text(json.dumps({"format": 1}))
    with pytest.raises(ValueError, match=f"twostream-evaluate run={path.parent}$"):
        read_run(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("}", "", r"seed0/bootstrap\.json: expected JSON, got: "),
        ('"format": 1', '"format": 2', r"seed0/bootstrap\.json: key 'format': expected 1, got 2; evaluate"),
        ('"pairs_hash": "p1"', '"pairs_hash": 1', r"bootstrap\.json: key 'pairs_hash': expected str, got 1"),
        ("0.9", "true", r"replicates\[1\]: values\[0\]: expected a number, got True"),
        ('"pckh"', '"ssim"', r"key 'replicates': expected each once, got 'ssim, patn' 2 times"),
    ],
)
def test_wrong_bootstrap_file_is_refused(add_run: AddRun, old: str, new: str, message: str):
    path = add_run("full", {"ssim": 0.31}, replicates={"ssim": [0.31], "pckh": [0.9]}).with_name("bootstrap.json")
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ValueError, match=message):
        read_run(path.with_name("metrics.json"))
