"""Every file of every config group composes and builds; a misspelt key fails here."""

import re
from pathlib import Path

import pytest
import torch
from hydra.errors import ConfigCompositionException
from hydra.utils import instantiate
from omegaconf import OmegaConf

from tiny_run import compose_config
from twostream.build import build_module, build_scoring, build_trainer, check
from twostream.cli import CONF
from twostream.cli.jobs import register_resolvers
from twostream.cli.train import train_and_evaluate
from twostream.registry import model_config
from twostream.weights import WeightStore

# A fast test can't have VGG's weights.
ALWAYS = ["loss/perceptual=random", "run_dir=somewhere", "variant=full"]
# Not of `train`, or chosen with another group; ablations are built at the paper's scale.
OTHER_GROUPS = ("layout", "pose_estimator", "preparation", "data_scale", "hydra", "ablation")
OPTIONS = sorted(
    (path.parent.relative_to(CONF).as_posix(), path.stem)
    for path in Path(CONF).rglob("*.yaml")
    if path.parent != Path(CONF) and path.parent.name not in OTHER_GROUPS and not path.name.startswith("_")
)
ABLATIONS = {path.stem for path in Path(CONF, "ablation").glob("*.yaml")}
# The run folder is made of these names.
NAMES = {"scale": "scale", "data": "data.name"}
WARPS = re.findall(r"^\| `(warp\w*)` \|.*\| ([\d,]+)", Path(CONF, "../docs/warp.md").read_text(), re.MULTILINE)
FULL, PATN = 43_281_292, 41_358_019
PER_BLOCK = 2 * 1_180_160 + 82_369 + 2 * 1_179_904
# Of the generator at scale `paper`, by overrides.
PARAMETERS = {
    "ablation=full": FULL,
    "ablation=no_at_module": FULL - 9 * 82_369,
    "ablation=target_add": FULL - 9 * 1_179_904,
    "ablation=source_add": FULL - 8 * 1_179_904,
    "ablation=both_add": FULL - 17 * 1_179_904,
    **{f"ablation=blocks_{blocks}": FULL + (blocks - 9) * PER_BLOCK for blocks in (5, 7, 11, 13)},
    # The open points of the paper.
    "generator.at_module.bias=false": FULL - 9 * (32 + 32 + 128 + 256),
    "generator.stream_conv.num_layers=1": FULL - 18 * 590_080,
    "generator.target_fusion.norm=true generator.source_fusion.norm=true": FULL,
    "generator.at_module.sigma=0.1": FULL,
    **{f"ablation=patn generator/blocks='{n}'": PATN + (n - 9) * (1_180_160 + 3_539_712) for n in (5, 9, 13)},
    **{f"ablation={name}": int(count.replace(",", "")) for name, count in WARPS},
}


def compose_train(*overrides: str):
    return compose_config("train", *ALWAYS, *overrides)


register_resolvers()


def build_on_meta(cfg):
    with torch.device("meta"):
        return build_module(cfg)


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes_and_builds(group, option, tmp_path):
    if (group, option) == ("loss/perceptual", "vgg19"):
        states = {"features.0.weight": (64, 3, 3, 3), "features.0.bias": (64,)}
        states |= {"features.2.weight": (64, 64, 3, 3), "features.2.bias": (64,)}
        torch.save({name: torch.zeros(shape) for name, shape in states.items()}, tmp_path / "vgg19.pth")
        overrides = ["loss/perceptual=vgg19", f"weights.vgg19={tmp_path / 'vgg19.pth'}"]
    else:
        overrides = [f"{group}='{option}'"]
    cfg = compose_train(*overrides, "generator.num_blocks=1")
    check(cfg)
    assert group not in NAMES or OmegaConf.select(cfg, NAMES[group]) == option
    if group != "loss/perceptual":
        build_on_meta(cfg)
    instantiate(cfg.loss)
    instantiate(cfg.data)
    build_scoring(cfg)
    for node in cfg.callbacks.values():
        instantiate(node)
    for name, node in cfg.logger.items():
        if name != "wandb":
            instantiate(node)
    if group == "trainer" and option not in ("gpu", "ddp"):
        instantiate(cfg.trainer, logger=False)


@pytest.mark.parametrize(("overrides", "parameters"), PARAMETERS.items(), ids=PARAMETERS.keys())
def test_parameters_at_the_papers_scale(overrides, parameters):
    cfg = compose_train("scale=paper", *overrides.split())
    check(cfg)
    assert "ablation=" not in overrides or f"ablation={cfg.ablation}" in overrides.split()
    generator = build_on_meta(cfg).generator
    assert sum(parameter.numel() for parameter in generator.parameters()) == parameters


def test_the_parameters_of_every_ablation_are_known():
    """Those of the warp are documented."""
    assert {override.split()[0].removeprefix("ablation=") for override in PARAMETERS} >= ABLATIONS
    assert {name for name, _ in WARPS} == {name for name in ABLATIONS if name.startswith("warp")}


@pytest.mark.parametrize(("option", "all_drawn"), [("paper", True), ("patn", False)])
def test_initial_weights(option, all_drawn):
    torch.manual_seed(0)
    module = build_module(compose_train("generator.num_blocks=1", "generator.width=64", f"init={option}"))
    conv, head = module.generator.blocks[0].target_conv[0], module.discriminators["shape"].net[0][1]
    assert conv.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert bool(conv.bias.any()) is not all_drawn
    # PyTorch's default is uniform up to 1 / sqrt(inputs).
    std = 0.02 if all_drawn else (3 * head.weight[0].numel()) ** -0.5
    assert head.weight.std().item() == pytest.approx(std, rel=0.02)


@pytest.mark.parametrize("option", ["folders", "strip3", "strip5"])
def test_every_layout_builds(option):
    assert instantiate(compose_config("score", f"layout={option}").layout)


@pytest.mark.parametrize("option", ["market1501", "deepfashion", "deepfashion_176"])
def test_every_data_set_is_prepared_for_its_own_preset(option):
    cfg = compose_config("prepare", f"data={option}")
    preset = instantiate(cfg.preparation)
    assert preset.image_size == tuple(cfg.data.image_size)
    assert preset.label == cfg.data.label


@pytest.mark.parametrize("scale", ["smoke", "small", "medium", "paper"])
def test_the_scale_sets_the_size_of_generated_people_alone(scale):
    assert list(compose_train(f"scale={scale}").data.image_size) == (
        [64, 32] if scale in ("smoke", "small") else [128, 64]
    )
    for name, size in (("market1501", [128, 64]), ("deepfashion", [256, 256]), ("deepfashion_176", [256, 176])):
        data = compose_train(f"scale={scale}", f"data={name}").data
        assert (list(data.image_size), data.source, data.joint_size) == (size, None, 6)
        assert data.batch_size == (32 if name == "market1501" else 7)


POSE_ESTIMATORS = {
    "rtmpose": r"-e48f03d0_20230504\.onnx is missing: put it into none, from .*\.zip \(its end2end\.onnx, renamed\)",
    "keypoint_rcnn": r"keypointrcnn_resnet50_fpn_coco-fc266e95\.pth is missing: put it into none, from",
    "blazepose": r"pose_estimator\.model: expected a \.tflite file, got none",
}


@pytest.mark.parametrize("option", POSE_ESTIMATORS)
def test_every_pose_estimator_builds(option):
    """Without weights, which a fast test can't have, it says what is missing."""
    nothing = ["weights.download=false", "weights.folder=none"]
    for command in ("annotate", "demo", "prepare"):
        with pytest.raises(Exception, match=POSE_ESTIMATORS[option]):
            instantiate(compose_config(command, f"pose_estimator={option}", *nothing).pose_estimator)
    for command in ("train", "evaluate", "score"):
        cfg = compose_config(command, f"pose_estimator@scoring.pose_estimator={option}", *nothing)
        with pytest.raises(Exception, match=POSE_ESTIMATORS[option]):
            instantiate(cfg.scoring).pose_estimator()


@pytest.mark.parametrize("command", ["train", "evaluate", "score"])
def test_the_weight_files_of_an_evaluation_are_those_of_one_group(command):
    overrides = ["weights.folder=w", "weights.download=false", "weights.lpips=a.pth"]
    store = build_scoring(compose_config(command, *overrides)).weights
    assert store == WeightStore("w", False, lpips="a.pth")


def test_the_perceptual_loss_takes_its_weights_from_the_same_group_unless_they_are_named():
    def arguments(*overrides):
        node = compose_config("train", "loss/perceptual=vgg19", "run_dir=r", "variant=full", *overrides).loss.perceptual
        return node.weights, node.folder, node.download

    assert arguments("scale=paper") == (None, None, True)
    assert arguments("scale=small", "weights.vgg19=a.pth", "weights.folder=w") == ("a.pth", "w", False)
    assert arguments("loss.perceptual.weights=b.pth", "weights.vgg19=a.pth")[0] == "b.pth"


def test_groups_can_be_set_one_by_one_beside_an_ablation():
    cfg = compose_train("generator/blocks='5'", "generator/at_module=off", "generator/target_fusion=add")
    generator = build_on_meta(cfg).generator
    assert len(generator.blocks) == 5
    assert type(generator.blocks[0].at_module).__name__ == "NoAppearanceTransfer"
    assert type(generator.blocks[0].target_fusion).__name__ == "AddFusion"
    assert type(generator.blocks[0].source_fusion).__name__ == "CatFusion"


def test_the_baseline_differs_in_its_generator_alone():
    full, patn = (model_config(compose_train("scale=small", *overrides)) for overrides in ([], ["ablation=patn"]))
    assert {key for key in full if full[key] != patn[key]} == {"generator"}
    assert patn["generator"] == model_config(compose_train("scale=small", "generator=patn"))["generator"]


@pytest.mark.parametrize("group", ["at_module", "target_fusion", "source_fusion"])
@pytest.mark.parametrize("baseline", ["generator=patn", "ablation=patn"])
def test_the_baseline_refuses_what_it_does_not_have(baseline, group):
    option = "off" if group == "at_module" else "add"
    with pytest.raises(ConfigCompositionException, match=f"Could not override 'generator/{group}'"):
        compose_train(baseline, f"generator/{group}={option}")


def test_the_paper_scale_is_the_papers():
    cfg = compose_train("scale=paper")
    assert cfg.schedule == {
        "_target_": "twostream.schedule.Schedule",
        "learning_rate": 1e-4,
        "beta1": 0.5,
        "beta2": 0.999,
        "constant_iterations": 60_000,
        "decay_iterations": 30_000,
        "warmup_iterations": 0,
        "sigma_factor": 1,
        "discriminator_factor": 1,
    }
    assert (cfg.loss.adversarial_start, cfg.loss.person_weight, cfg.loss.chroma_weight) == (0, 1, 1)
    assert (cfg.data.batch_size, list(cfg.data.image_size), cfg.generator.dropout) == (32, [128, 64], 0.5)
    weights = (cfg.loss.adversarial_weight, cfg.loss.l1_weight, cfg.loss.perceptual_weight)
    assert weights == (20, 17, 17)


@pytest.mark.parametrize(("batch_size", "iterations"), [(32, (62_500, 25_000)), (7, (285_500, 114_200))])
def test_patns_schedule_counts_epochs_of_4000_pairs(batch_size, iterations):
    schedule = compose_train("schedule=patn", "scale=paper", f"data.batch_size={batch_size}").schedule
    assert (schedule.constant_iterations, schedule.decay_iterations) == iterations


TYPOS = ["generator.widht=8", "shcedule=paper", "generator/blokcs='5'", "performance.chanels_last=true"]


@pytest.mark.parametrize("typo", [*TYPOS, "performance.compiler.by_blok=true"])
def test_a_misspelt_key_is_refused(typo):
    with pytest.raises(ConfigCompositionException, match="Could not override"):
        compose_train("performance=gpu", typo)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.image_size=[30,16]", "divisible by 4, got 30x16"),
        ("trainer.precision=16-mixed", "trainer.precision: expected 32-true or bf16-mixed, got '16-mixed'"),
        ("generator.width=1", r"^generator\.width: expected at least 2, got 1$"),
        ("discriminators.shape.num_blocks=-1", r"^discriminators\.shape\.num_blocks: expected at least 0, got -1$"),
        ("loss.l1_weight=-1", r"^loss\.l1_weight: expected at least 0, got -1$"),
        ("+discriminators.generator=${discriminators.shape}", r"^discriminators\.generator: expected another name"),
        ("loss.pool_size=-1", r"^loss\.pool_size: expected at least 0, got -1$"),
        ("schedule.constant_iterations=-1", "schedule: expected constant_iterations"),
        ("data.source.views_per_identity=1", "views_per_identity: expected at least 2, got 1"),
    ],
)
def test_a_config_that_can_not_work_is_refused(override, message):
    cfg = compose_train(override)
    with pytest.raises(Exception, match=message):
        (check(cfg), build_on_meta(cfg), instantiate(cfg.data))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+trainer.gradient_clip_val=1", "trainer: expected settings of a GAN's training: .*gradient clipping"),
        ("resume=5", "checkpoint not found: 5$"),
    ],
)
def test_what_training_refuses_is_one_line(tiny_config, tmp_path, override, message):
    with pytest.raises(ValueError, match=f"^{message}") as refusal:
        train_and_evaluate(tiny_config(override), tmp_path / "run")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("+callbacks.progress_bar.x=1", r"callbacks\.progress_bar"),
        ("+logger.csv.x=1", r"logger\.csv"),
        ("+trainer.x=1", "trainer"),
        ("trainer.accelerator=mps", "trainer"),  # which the machine does not have
    ],
)
def test_the_key_of_what_can_not_be_built_is_named(tiny_config, override, key):
    with pytest.raises(ValueError, match=f"^{key}: expected settings that this machine can run: ") as refusal:
        build_trainer(tiny_config(override))
    assert "\n" not in str(refusal.value)
