import json
from collections.abc import Callable
from pathlib import Path

import pytest

from twostream.tables.results import NotComputed, Results, Value, read_bootstrap, read_run

AddRun = Callable[..., Path]
Collected = Callable[..., Results]
WEIGHTS = "weights.pth is missing:\n put it into x"


def test_run_and_bootstrap_are_read(add_run: AddRun):
    entry = {"value": 3, "interval": [2, 3.5], "splits_std": 0.5, "codec": "png", "sizes": [{"a": None}]}
    path = add_run(
        "full",
        {"inception_score": entry, "lpips/standard": 0.25},
        missing={"fid_test/standard": WEIGHTS},
        replicates={"inception_score": [3, 2.5]},
    )
    run = read_run(path)
    assert run.values == [
        Value("inception_score", "patn", 3.0, 64, [2.0, 3.5], 0.5, {"codec": "png", "sizes": [{"a": None}]}),
        Value("lpips", "standard", 0.25, 64),
    ]
    assert run.missing == [NotComputed("fid_test", "standard", WEIGHTS)]
    assert (run.name, run.identities, run.pairs_hash) == ("full/seed0", 12, "p1")
    bootstrap = read_bootstrap(path.with_name("bootstrap.json"))
    assert (bootstrap.seed, bootstrap.identities, bootstrap.pairs_hash) == (0, 12, "p1")
    assert {key: values.tolist() for key, values in bootstrap.replicates.items()} == {
        ("inception_score", "patn"): [3.0, 2.5]
    }


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("}", "", r"expected JSON, got: "),
        (
            '"format": 2',
            '"format": 1',
            r"format: expected 2, got 1; evaluate the run again: twostream-evaluate run=.*d0$",
        ),
        ('"iterations": 100', '"iterations": "many"', r"iterations: Value 'many' of type 'str' could not be converted"),
        ('"iterations": 100, ', "", r"iterations: .* missing mandatory value"),
        ('"value": 0.31', '"value": null', r"value: Incompatible value 'None' for field of type 'float'"),
        ('"pckh", "protocol"', '"ssim", "protocol"', r"values: expected each once, got 'ssim, patn' 2 times"),
        ('"fid"', '"ssim"', r"missing: expected each once, got 'ssim, patn' 2 times"),
        ('"reason"', '"why"', r"why: Key 'why' not in 'NotComputed'"),
        ('"identities": 12', '"identities": null', r"identities: Incompatible value 'None'"),
        ('"interval": null', '"interval": 0.3', r"interval: Invalid value assigned"),
        ('"interval": null', '"interval": [0.3]', r"interval: expected \[low, high\] or null, got \[0\.3\]"),
        ('"interval": null', '"interval": [0, "x"]', r"interval\[1\]: Value 'x' of type 'str' could not be converted"),
        ('"values": [{"metric"', '"values": [3, {"metric"', r"values\[0\]: Invalid type assigned: int"),
        ('"image_size": [64, 32]', '"image_size": [64]', r"image_size: expected \[height, width\], got \[64\]"),
        ('"reason": "no"', '"reason": "${oc.env:HOME}"', r"expected plain values, got an interpolation"),
    ],
)
def test_wrong_metrics_file_is_refused(add_run: AddRun, old: str, new: str, message: str):
    path = add_run("full", {"ssim": 0.31, "pckh": 0.9}, missing={"fid": "no"})
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ValueError, match=message) as error:
        read_run(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("}", "", r"expected JSON, got: "),
        ('"format": 1', '"format": 2', r"format: expected 1, got 2; evaluate"),
        ('"identities": 12', '"identities": "x"', r"identities: Value 'x' of type 'str' could not be converted"),
        ("0.9", '"x"', r"replicates: expected metric, protocol and numeric values, got ValueError"),
        ('"values"', '"value"', r"replicates: expected metric, protocol and numeric values, got KeyError\('values'\)"),
        ('"pckh"', '"ssim"', r"replicates: expected each once, got 'ssim, patn' 2 times"),
    ],
)
def test_wrong_bootstrap_file_is_refused(add_run: AddRun, collected: Collected, old: str, new: str, message: str):
    path = add_run("full", {"ssim": 0.31}, replicates={"ssim": [0.31], "pckh": [0.9]}).with_name("bootstrap.json")
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ValueError, match=message) as error:
        collected()
    assert str(error.value).startswith(f"{path}: ")


def test_values_are_returned_by_seed(collected: Collected, add_run: AddRun):
    add_run("full", {"ssim": 0.31, "pckh": 1}, seed=0)
    add_run("full", {"ssim": 0.33}, seed=2)
    results = collected((0, 2))
    full, ssim, pckh = results.spec.rows[0], *results.spec.columns
    assert {seed: value.value for seed, value in results.values(full, ssim).items()} == {0: 0.31, 2: 0.33}
    assert {seed: value.n for seed, value in results.values(full, pckh).items()} == {0: 64}
    assert results.values(results.spec.rows[1], ssim) == {}
    assert results.missing == {("no_at_module", 0): "not run", ("no_at_module", 2): "not run"}


FAILED = "failed: RuntimeError: bad thing (log: synthetic/smoke/full/seed0/train.log)"


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (None, "interrupted: no metrics.json"),
        ({"state": "done"}, "interrupted: no metrics.json"),
        ({"state": "running"}, "still running, or killed"),
        ({"state": "stopped", "reason": "SIGTERM"}, "stopped: SIGTERM"),
        ({"state": "failed", "reason": "RuntimeError:\n bad thing"}, FAILED),
        (["failed"], "run.json: expected a mapping, got ['failed']"),
    ],
)
def test_missing_run_has_its_reason(collected: Collected, runs: Path, state: object, reason: str):
    folder = runs / "synthetic/smoke/full/seed0"
    folder.mkdir(parents=True)
    if state:
        (folder / "run.json").write_text(json.dumps(state))
    assert collected().missing["full", 0].endswith(reason)


@pytest.mark.parametrize("state", ["failed", "running"])
def test_unfinished_run_hides_the_numbers_of_an_earlier_one(collected: Collected, add_run: AddRun, state: str):
    path = add_run("full", {"ssim": 0.31}).with_name("run.json")
    path.write_text(json.dumps({"state": state, "reason": "RuntimeError: bad thing"}))
    results = collected()
    assert results.runs == {}
    assert results.missing["full", 0] == (FAILED if state == "failed" else "still running, or killed")
    path.write_text('{"state": "fai')
    assert collected().missing["full", 0].startswith(f"{path}: expected JSON, got: ")


@pytest.mark.parametrize(("old", "new"), [('"seed": 0', '"seed": 1'), ('"variant": "full"', '"variant": "both_add"')])
def test_metrics_of_another_run_are_refused(collected: Collected, add_run: AddRun, old: str, new: str):
    path = add_run("full", {"ssim": 0.31})
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ValueError, match=r"seed0/metrics\.json: run: expected \('synthetic', .* as its folder, got \("):
        collected()


@pytest.mark.usefixtures("compared_path")
def test_more_columns_are_shown_where_a_run_has_a_value(collected: Collected, add_run: AddRun):
    add_run("full", {"ssim": 0.31})
    add_run("no_at_module", {"fid_test/standard": 3})
    results = collected()
    assert [column.label for column in results.more_columns()] == ["FID"]
    assert [column.label for column in results.shown_columns()] == ["SSIM", "PCKh", "FID"]


@pytest.mark.parametrize(("seeds", "message"), [([], "at least one"), ([0, 0], "each once, got '0'")])
def test_wrong_seeds_are_refused(collected: Collected, seeds: list[int], message: str):
    with pytest.raises(ValueError, match=f"seeds: expected {message}"):
        collected(seeds)
