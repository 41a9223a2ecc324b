import json

import pytest

from twostream.tables.results import NotComputed, Value, collect, read_run
from twostream.tables.spec import load_spec

WEIGHTS = "weights.pth is missing:\n put it into x"


def test_run_and_bootstrap_are_read(add_run):
    entry = {"value": 3, "interval": [2, 3.5], "splits_std": 0.5, "codec": "png", "sizes": [{"a": None}]}
    values, missing = {"inception_score": entry, "lpips/standard": 0.25}, {"fid_test/standard": WEIGHTS}
    path = add_run("full", values, missing=missing, replicates={"inception_score": [3, 2.5]})
    run = read_run(path.parent)
    assert run.values == [
        Value("inception_score", "patn", 3.0, 64, [2.0, 3.5], 0.5, {"codec": "png", "sizes": [{"a": None}]}),
        Value("lpips", "standard", 0.25, 64),
    ]
    assert run.missing == [NotComputed("fid_test", "standard", WEIGHTS)]
    assert (run.name, run.identities, run.pairs_hash) == ("full/seed0", 12, "p1")
    assert (run.bootstrap.seed, run.bootstrap.identities, run.bootstrap.pairs_hash) == (0, 12, "p1")
    replicates = {key: values.tolist() for key, values in run.bootstrap.replicates.items()}
    assert replicates == {("inception_score", "patn"): [3.0, 2.5]}


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("metrics", "}", "", r"expected JSON, got: "),
        (
            "metrics",
            '"format": 2',
            '"format": 1',
            r"format: expected 2, got 1; evaluate .*: twostream-evaluate run=.*d0$",
        ),
        (
            "metrics",
            '"iterations": 100',
            '"iterations": "many"',
            r"iterations: Value 'many' of type 'str' could not be",
        ),
        ("metrics", '"iterations": 100, ', "", r"iterations: .* missing mandatory value"),
        ("metrics", '"value": 0.31', '"value": null', r"value: Incompatible value 'None' for field of type 'float'"),
        (
            "metrics",
            '"pckh", "protocol"',
            '"ssim", "protocol"',
            r"values: expected each once, got 'ssim, patn' 2 times",
        ),
        ("metrics", '"fid"', '"ssim"', r"missing: expected each once, got 'ssim, patn' 2 times"),
        ("metrics", '"reason"', '"why"', r"why: Key 'why' not in 'NotComputed'"),
        ("metrics", '"interval": null', '"interval": [0.3]', r"interval: expected \[low, high\] or null, got \[0\.3\]"),
        ("metrics", '"interval": null', '"interval": [0, "x"]', r"interval\[1\]: Value 'x' of type 'str' could not be"),
        ("metrics", '"values": [{"metric"', '"values": [3, {"metric"', r"values\[0\]: Invalid type assigned: int"),
        ("metrics", "[64, 32]", "[64]", r"image_size: expected \[height, width\], got \[64\]"),
        ("metrics", '"reason": "no"', '"reason": "${oc.env:HOME}"', r"expected values, each written out, got "),
        (
            "metrics",
            '"seed": 0',
            '"seed": 1',
            r"run: expected \('synthetic', .*, 'full', 0\) as its folder, got \('syn",
        ),
        ("bootstrap", "}", "", r"expected JSON, got: "),
        ("bootstrap", '"format": 1', '"format": 2', r"format: expected 1, got 2; evaluate"),
        ("bootstrap", "0.9", '"x"', r"replicates: expected metric, protocol and numeric values, got ValueError"),
        ("bootstrap", '"values"', '"value"', r"replicates: expected metric, .* values, got KeyError\('values'\)"),
        ("bootstrap", '"pckh"', '"ssim"', r"replicates: expected each once, got 'ssim, patn' 2 times"),
    ],
)
def test_wrong_file_is_refused(add_run, collected, change, file, old, new, message):
    replicates = {"ssim": [0.31], "pckh": [0.9]}
    path = add_run("full", {"ssim": 0.31, "pckh": 0.9}, missing={"fid": "no"}, replicates=replicates)
    path = path.with_name(f"{file}.json")
    change(path, old, new)
    with pytest.raises(ValueError, match=message) as error:
        collected()
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


FAILED = {"state": "failed", "reason": "RuntimeError:\n bad thing"}
WHY_FAILED = "failed: RuntimeError: bad thing (log: synthetic/smoke/full/seed0/train.log)"


@pytest.mark.parametrize(
    ("state", "has_metrics", "reason"),
    [
        (None, False, "interrupted: no metrics.json"),
        ({"state": "done"}, False, "interrupted: no metrics.json"),
        ({"state": "stopped", "reason": "SIGTERM"}, False, "stopped: SIGTERM"),
        # The numbers are of an earlier run.
        ({"state": "running"}, True, "still running, or killed"),
        (FAILED, True, WHY_FAILED),
        (["failed"], True, 'run.json: expected a JSON object, got ["failed"]'),
        ('{"state": "fai', True, "run.json: expected JSON, got: "),
    ],
)
def test_missing_run_has_its_reason(collected, add_run, state, has_metrics, reason):
    path = add_run("full", {"ssim": 0.31})
    if not has_metrics:
        path.unlink()
    if state:
        path.with_name("run.json").write_text(state if isinstance(state, str) else json.dumps(state))
    results = collected()
    assert results.runs == {}
    assert reason in results.missing["full", 0]


@pytest.mark.usefixtures("compared_path")
def test_more_columns_are_shown_where_a_run_has_a_value(collected, add_run):
    add_run("full", {"ssim": 0.31})
    add_run("no_at_module", {"fid_test/standard": 3})
    assert [column.label for column in collected().shown_columns()] == ["SSIM", "PCKh", "FID"]


def test_results_on_validation_pairs_are_read_from_their_folder(spec_path, runs, add_run):
    def collect_validation():
        return collect(load_spec(spec_path), runs / "synthetic/smoke", [0], split="val")

    path = add_run("full", {"ssim": 0.31})
    path.with_name("run.json").write_text(json.dumps({"state": "done"}))
    reason = f"not evaluated: twostream-evaluate run={path.parent} split=val"
    assert collect_validation().missing["full", 0] == reason
    path.with_name("validation").mkdir()
    content = json.loads(path.read_text())
    content["values"][0]["value"] = 0.25
    (path.parent / "validation" / "metrics.json").write_text(json.dumps(content))
    (run,) = collect_validation().runs.values()
    assert run.values[0].value == 0.25


@pytest.mark.parametrize(("seeds", "message"), [([], "at least one"), ([0, 0], "each once, got '0'")])
def test_wrong_seeds_are_refused(collected, seeds, message):
    with pytest.raises(ValueError, match=f"seeds: expected {message}"):
        collected(seeds)
