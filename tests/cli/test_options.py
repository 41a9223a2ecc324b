"""A wrong override is one line that names its key, before anything is built."""

import pytest
import torch
from omegaconf import OmegaConf

from tiny_run import compose_config
from twostream.build import choose_device, evaluation_device
from twostream.cli.options import COMMANDS, check_options

# What only a command's start can give.
STARTED = {
    "train": ["run_dir=runs/x", "variant=x"],
    "status": ["ablations=[full]"],
    "evaluate": ["run=x"],
    "score": ["images=x"],
    "generate": ["source=x", "pose=walk"],
    "export": ["run=x", "out=y"],
    "annotate": ["images=x", "out=y"],
    "benchmark": ["out=x"],
}


def check(command, *overrides):
    check_options(command, compose_config(command, *STARTED.get(command, []), *overrides))


@pytest.mark.parametrize("command", COMMANDS)
def test_the_defaults_fit(command):
    check(command)


@pytest.mark.parametrize(
    "overrides",
    [
        ["ablation=warp", "scale=small", "logger=wandb", "averaging=ema", "trainer=ddp"],
        ["ablation=patn", "scale=paper", "data=market1501", "data/augmentation=full", "performance=gpu"],
        ["scale=medium", "data=own", "discriminators=none", "schedule=patn", "data.pairs_per_epoch=4000"],
        ["loss.l1_weight=1", "trainer.devices=[0,1]", "trainer.val_check_interval=0.5"],
        ["variant=0.5", "data.name=2"],
    ],
    ids=lambda overrides: overrides[0],
)
def test_the_options_of_training_fit(overrides):
    check("train", *overrides)


BAD = [
    ("train", "seed=null", "seed: "),
    ("train", "seed=1.5", r"seed: Value '1\.5' of type 'float' could not be converted to Integer"),
    ("train", "seed=-1", "seed: expected 0 to 4294967295, got -1"),
    ("train", "deterministic=maybe", "deterministic: Value 'maybe' is not a valid bool"),
    ("train", "+foo=1", r"foo: expected an option of twostream-train \(ablation, averaging, "),
    ("train", "+data.foo=1", r"data\.foo: expected an argument of PairDataModule \(name, label, "),
    ("train", "data.batch_size=1.5", r"data\.batch_size: expected int, got 1\.5"),
    ("train", "data.joint_size=nan", r"data\.joint_size: expected a finite number, got nan"),
    ("train", "data.image_size=64", r"data\.image_size: expected a list of int, got 64"),
    ("train", "data.pairs_per_epoch=many", r"data\.pairs_per_epoch: expected int or null, got 'many'"),
    ("train", "generator.width=abc", r"generator\.width: expected int, got 'abc'"),
    (
        "train",
        "generator.stream_conv.padding_mode=mirror",
        r"generator\.stream_conv\.padding_mode: expected zeros or reflect, got 'mirror'",
    ),
    ("train", "generator.dropout=true", r"generator\.dropout: expected float, got True"),
    ("train", "schedule.constant_iterations=1.5", r"schedule\.constant_iterations: expected int, got 1\.5"),
    ("train", "loss.l1_weight=null", r"loss\.l1_weight: expected float, got None"),
    ("train", "callbacks.sample_images.num_pairs=x", r"callbacks\.sample_images\.num_pairs: expected int, got 'x'"),
    ("evaluate", "scoring.metrics=null", r"scoring\.metrics: expected a list of str, got None"),
    ("evaluate", "num_sources=two", "num_sources: Value 'two' of type 'str' could not be converted to Integer"),
    ("status", "seeds=0", "seeds: "),
    ("table", "seeds=[a]", r"seeds\[0\]: Value 'a' of type 'str' could not be converted to Integer"),
    ("table", "specs=null", "specs: "),
    ("generate", "fps=abc", "fps: Value 'abc' of type 'str' could not be converted to Float"),
    ("generate", "pose_size=64", "pose_size: "),
    ("export", "onnx=perhaps", "onnx: Value 'perhaps' is not a valid bool"),
    ("evaluate", "~scoring.metrics", r"scoring\.metrics: expected a value, Scoring needs one$"),
    ("train", "data.root=null", r"data\.root: expected str or Path, got None"),
    ("train", "performance.compiler=x", r"performance\.compiler: expected Compiler or null, got 'x'"),
    ("evaluate", "weights.folder=[]", r"weights\.folder: expected"),
    ("prepare", "annotation_frame=wide", "annotation_frame: Value 'wide' of type 'str' could not be converted"),
]


@pytest.mark.parametrize(("command", "override", "message"), BAD, ids=lambda part: part[:40])
def test_a_wrong_override_is_one_line_with_its_key(command, override, message):
    with pytest.raises(ValueError, match=f"^{message}") as refusal:
        check(command, override)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("command", ["evaluate", "score", "generate", "export", "annotate"])
def test_an_option_without_a_value_is_named(command):
    cfg = compose_config(command)
    first = sorted(OmegaConf.missing_keys(cfg))[0]
    with pytest.raises(ValueError, match=f"^{first}: expected a value: twostream-{command} {first}=\\.\\.\\.$"):
        check_options(command, cfg)


@pytest.mark.parametrize("name", ["tpu", "cuda:99", ""])
def test_another_device_is_refused(name):
    with pytest.raises(ValueError, match=f"^device: expected .*, got '{name}'$"):
        choose_device(name)


@pytest.mark.parametrize(
    ("devices", "expected"), [("[3]", "cuda:3"), ("[2,3]", "cuda:2"), ("1", "cuda"), ("auto", "cuda")]
)
def test_a_run_is_evaluated_on_the_first_gpu_that_it_lists(devices, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    cfg = compose_config("train", f"trainer.devices={devices}")
    assert evaluation_device(cfg.trainer) == torch.device(expected)
