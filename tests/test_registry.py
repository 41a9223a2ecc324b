"""A checkpoint says by names what it holds; nothing in a file is imported or called."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tiny_run import leaves
from twostream.build import build_datamodule, build_module, build_scoring, check
from twostream.evaluation.run_evaluation import evaluate_run
from twostream.registry import NAME, build, build_as, model_config, registered_options


@pytest.mark.parametrize("overrides", [[], ["generator=patn"], ["generator/at_module=off", "averaging=ema"]], ids=str)
def test_a_description_builds_what_the_config_builds(tiny_config, overrides):
    cfg = tiny_config(*overrides)
    description = model_config(cfg)
    # Not OmegaConf's containers.
    assert description == json.loads(json.dumps(description))
    assert not any("twostream." in str(leaf) for _, leaf in leaves(description))
    torch.manual_seed(0)
    generator = build(description["generator"])
    torch.manual_seed(0)
    expected = build_module(cfg).generator
    assert type(generator) is type(expected)
    torch.testing.assert_close(dict(generator.state_dict()), dict(expected.state_dict()), rtol=0, atol=0)
    data, same = build(description["data"]), build_datamodule(cfg)
    assert (data.image_size, data.source) == (same.image_size, same.source)
    assert build(description["schedule"]) == build_module(cfg).schedule


@pytest.mark.parametrize("description", [{}, {"width": 4}, 5, None, {NAME: "delta_heatmaps"}])
def test_an_object_of_another_kind_is_refused(description):
    with pytest.raises(ValueError, match=r"^x\.ckpt: generator: expected the description of a Module, got that of a "):
        build_as(torch.nn.Module, description, "x.ckpt: generator")
    assert callable(build_as(Callable, {NAME: "delta_heatmaps"}, "x"))


def test_names_of_options_are_unique():
    targets = [option.target for option in registered_options().values()]
    assert len(targets) == len(set(targets)) > 15
    assert all(target.startswith(("twostream.", "synthetic_people.")) for target in targets)


# What ran when a checkpoint named it as a `_target_`, and the forms in which a file could name it.
CALLABLES = [
    *("pathlib.Path.write_text", "builtins.open", "torch.load", "torch.hub.load", "shutil.copyfile", "os.mkdir"),
    *("twostream.files.write_text", "twostream.runs.clear_outputs", "subprocess.Popen", "write_text", "Path"),
]


@pytest.mark.parametrize("name", CALLABLES)
def test_no_other_name_is_looked_up(tiny_config, name, tmp_path):
    generator = model_config(tiny_config())["generator"]
    with pytest.raises(ValueError, match=r"generator: expected the name of an option \(.*TwoStreamGenerator.*got"):
        build({**generator, NAME: name}, "generator")
    with pytest.raises(ValueError, match=r"generator\.at_module: expected the name of an option"):
        build({**generator, "at_module": {NAME: name, "path": str(tmp_path)}}, "generator")


@pytest.mark.parametrize("value", [{"_target_": "os.mkdir", "path": "x"}, [{"_target_": "os.mkdir", "path": "x"}]])
def test_a_target_in_a_value_is_refused(tiny_config, value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"data\.root(\[0\])?: expected"):
        build({**model_config(tiny_config())["data"], "root": value}, "data")
    assert not Path("x").exists()


def test_what_no_checkpoint_could_build_is_refused_before_the_training(tiny_config):
    for override, message in (
        ("generator.stream_conv._target_=torch.nn.Identity", r"generator\.stream_conv: expected the name of an option"),
        ("+generator.more=[{3:true}]", r"generator\.more\[0\]: expected names of options .*, got the key 3"),
    ):
        with pytest.raises(ValueError, match=rf"^config\.{message}"):
            check(tiny_config(override))
    criterion, number = build([{NAME: "CrossEntropy"}, 3], "x")
    assert (type(criterion).__name__, number) == ("CrossEntropy", 3)


@pytest.mark.parametrize("group", ["generator", "data"])
@pytest.mark.parametrize("key", ["_target_", NAME])
def test_a_checkpoint_that_names_another_callable_is_not_evaluated(finished_run, tmp_path, monkeypatch, group, key):
    run_dir = shutil.copytree(finished_run[1], tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    path = run_dir / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["hyper_parameters"][group] = {key: "os.mkdir", "path": "made"}
    path.unlink()
    torch.save(checkpoint, path)
    with pytest.raises(ValueError, match=rf"last\.ckpt: hyper_parameters\.{group}: expected "):
        evaluate_run(run_dir, build_scoring(finished_run[0]), torch.device("cpu"))
    assert not Path("made").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"widht": 4}, r"checkpoint\.widht: expected an argument of TwoStreamGenerator \(.*, width, "),
        ({"width": "4"}, r"checkpoint\.width: expected int, got '4'"),
        ({"width": True}, r"checkpoint\.width: expected int, got True"),
        ({"num_blocks": None}, r"checkpoint\.num_blocks: expected int, got None"),
        ({"dropout": math.nan}, r"checkpoint\.dropout: expected a finite number, got nan"),
        ({"dropout": torch.zeros(1)}, r"checkpoint\.dropout: expected a number, a string, .* got Tensor"),
        ({NAME: 3}, "checkpoint: expected the name of an option"),
    ],
)
def test_a_wrong_description_is_refused(tiny_config, change, message):
    with pytest.raises(ValueError, match=message):
        build(model_config(tiny_config())["generator"] | change)


def test_a_missing_argument_is_refused(tiny_config):
    description = model_config(tiny_config())["generator"]
    del description["width"]
    with pytest.raises(ValueError, match=r"^checkpoint\.width: expected a value, TwoStreamGenerator needs one$"):
        build(description)
