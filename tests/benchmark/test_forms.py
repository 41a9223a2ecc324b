import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from twostream.benchmark.forms import (
    PLAIN,
    TUNED,
    Generating,
    autocast,
    form_with,
    forms_of,
    in_form,
    tuned_form,
    with_at_module,
)
from twostream.benchmark.inference import draw_inputs
from twostream.cli import CONF
from twostream.nets.appearance_transfer import AppearanceTransfer, DenseAppearanceTransfer
from twostream.performance import Compiler, Performance

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(scope="module")
def cfg():
    """As it is configured."""
    with initialize_config_dir(version_base="1.3", config_dir=CONF):
        return compose("benchmark")


def meaning(form):
    """A form as what is made of it."""
    at_module = instantiate(form.at_module).func
    return {"precision": form.precision, "at_module": at_module, "performance": instantiate(form.performance)}


PLAIN_MEANING = {
    "precision": "32-true",
    "at_module": DenseAppearanceTransfer,
    "performance": Performance(
        channels_last=False, fused_adam=False, one_pass=False, frozen_discriminators=False, compiler=None
    ),
}
CHANGES = {
    "attention": {"at_module": AppearanceTransfer},
    "bfloat16": {"precision": "bf16-mixed"},
    "channels_last": {"channels_last": True},
    "fused_adam": {"fused_adam": True},
    "one_pass": {"one_pass": True},
    "frozen_discriminators": {"frozen_discriminators": True},
    "compiled": {"compiler": Compiler(by_block=False, cuda_graphs=False)},
    "compiled_blocks": {"compiler": Compiler(by_block=True, cuda_graphs=False)},
    "cuda_graphs": {"compiler": Compiler(by_block=False, cuda_graphs=True)},
}


def changed(*names):
    speed, others = vars(PLAIN_MEANING["performance"]), {}
    for key, value in (item for name in names for item in CHANGES[name].items()):
        speed, others = (speed | {key: value}, others) if key in speed else (speed, others | {key: value})
    return PLAIN_MEANING | others | {"performance": Performance(**speed)}


def test_plain_turns_every_lever_off(cfg):
    assert meaning(form_with(cfg, [])) == PLAIN_MEANING


def test_every_lever_is_one_of_these(cfg):
    assert cfg.levers.keys() == CHANGES.keys()


@pytest.mark.parametrize("lever", CHANGES)
def test_a_lever_changes_what_it_is_named_after_alone(cfg, lever):
    assert meaning(form_with(cfg, [lever])) == changed(lever) != PLAIN_MEANING


def test_levers_add_up_and_leave_the_config_as_it_was(cfg):
    before = OmegaConf.to_yaml(cfg)
    names = ["attention", "bfloat16", "one_pass", "compiled"]
    assert meaning(form_with(cfg, names)) == changed(*names)
    assert meaning(form_with(cfg, [])) == PLAIN_MEANING
    assert OmegaConf.to_yaml(cfg) == before


def test_unknown_levers_are_refused_by_name(cfg):
    with pytest.raises(ValueError, match=r"levers: expected some of attention, .*, got fast, sped$"):
        form_with(cfg, ["sped", "attention", "fast"])


@pytest.mark.parametrize("device", [CPU, CUDA], ids=str)
@pytest.mark.parametrize("lists", ["measured", "tuned"])
def test_every_name_in_the_lists_is_a_lever_once(cfg, device, lists):
    names = list(cfg[lists][device.type])
    assert names
    assert set(names) <= cfg.levers.keys()
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("device", [CPU, CUDA], ids=str)
def test_the_forms_are_the_plain_one_each_lever_alone_and_the_tuned_one(cfg, device):
    forms = forms_of(cfg, device)
    assert list(forms) == [PLAIN, *cfg.measured[device.type], TUNED]
    alone = {name: changed(name) for name in cfg.measured[device.type]}
    expected = {PLAIN: PLAIN_MEANING} | alone | {TUNED: changed(*cfg.tuned[device.type])}
    assert {name: meaning(form) for name, form in forms.items()} == expected
    assert tuned_form(cfg, device) == forms[TUNED]


def test_patn_has_no_at_module_to_change(cfg):
    patn = cfg.generators.patn
    for form in forms_of(cfg, CUDA).values():
        assert with_at_module(patn, form) == patn


def test_the_at_module_is_all_that_changes_in_the_2s_atn(cfg):
    generator = cfg.generators.two_stream
    before = OmegaConf.to_container(generator)
    dense = with_at_module(generator, form_with(cfg, []))
    assert instantiate(dense.at_module).func is DenseAppearanceTransfer
    assert OmegaConf.to_container(generator) == before
    assert OmegaConf.to_container(dense) | {"at_module": before["at_module"]} == before


def test_a_run_in_a_form_differs_in_its_at_module_and_its_speed(cfg):
    before = OmegaConf.to_container(cfg)
    form = form_with(cfg, ["one_pass", "compiled"])
    run = in_form(cfg, form)
    assert (run.generator.at_module, run.performance) == (form.at_module, form.performance)
    after = OmegaConf.to_container(run)
    assert OmegaConf.to_container(cfg) == before
    assert {key for key in before if before[key] != after[key]} == {"generator", "performance"}
    assert after["generator"] | {"at_module": before["generator"]["at_module"]} == before["generator"]


@pytest.mark.parametrize(("levers", "dtype"), [([], torch.float32), (["bfloat16"], torch.bfloat16)])
def test_autocast_is_that_of_the_precision(cfg, levers, dtype):
    ones = torch.ones(2, 2)
    with autocast(form_with(cfg, levers), CPU):
        assert (ones @ ones).dtype == dtype


@pytest.mark.parametrize(
    ("levers", "tolerance"), [(["attention"], 1e-4), (["attention", "channels_last"], 1e-4), (["bfloat16"], 0.1)]
)
def test_a_form_generates_what_the_plain_one_does(benchmark_config, levers, tolerance):
    cfg = benchmark_config()
    node = cfg.generators.two_stream
    plain, other = (Generating(node, form_with(cfg, chosen), CPU) for chosen in ([], levers))
    kinds = DenseAppearanceTransfer, AppearanceTransfer if "attention" in levers else DenseAppearanceTransfer
    for generating, kind in zip((plain, other), kinds, strict=True):
        assert {type(block.at_module) for block in generating.net.blocks} == {kind}
        assert not any(module.training for module in generating.net.modules())
    inputs = draw_inputs(2, (16, 8), CPU)
    with torch.inference_mode():
        assert (plain(*inputs) - other(*inputs)).abs().max() > 0.01
        # Where sigma is 0, as it begins, the AT-modules change nothing.
        for block in plain.net.blocks:
            block.at_module.sigma.fill_(0.5)
        other.net.load_state_dict(plain.net.state_dict())
        expected, generated = plain(*inputs), other(*inputs)
    assert expected.dtype == torch.float32
    assert (generated.float() - expected).abs().max() < tolerance
    assert not torch.equal(generated, expected)


def test_bfloat16_and_channels_last_reach_the_network(benchmark_config):
    cfg = benchmark_config()
    generating = Generating(cfg.generators.patn, form_with(cfg, ["bfloat16", "channels_last"]), CPU)
    seen = []
    convolution = generating.net.blocks[0].pose_conv[1]
    convolution.register_forward_hook(lambda _, inputs, output: seen.append((output.dtype, inputs[0].stride(1))))
    with torch.inference_mode():
        generating(*draw_inputs(2, (16, 8), CPU))
    assert seen == [(torch.bfloat16, 1)]
    assert convolution.weight.is_contiguous(memory_format=torch.channels_last)


def test_weights_rounded_beforehand_give_what_autocast_does(benchmark_config):
    cfg = benchmark_config()
    plain, rounded = (
        Generating(cfg.generators.two_stream, form_with(cfg, levers), CPU) for levers in ([], ["bfloat16"])
    )
    for block in plain.net.blocks:
        block.at_module.sigma.data.fill_(0.3)
    rounded.net.load_state_dict(plain.net.state_dict())
    assert {weight.dtype for name, weight in rounded.net.named_parameters() if "sigma" not in name} == {torch.bfloat16}
    inputs = draw_inputs(2, (16, 8), CPU)
    with torch.inference_mode():
        with torch.autocast("cpu", torch.bfloat16):
            expected = plain.net(*inputs)
        assert torch.equal(rounded(*inputs), expected)


@pytest.mark.parametrize("lever", [None, "compiled", "compiled_blocks"])
def test_a_network_is_compiled_where_the_form_says_so(benchmark_config, monkeypatch, lever):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **_: compiled.append(self))
    cfg = benchmark_config()
    generating = Generating(cfg.generators.patn, form_with(cfg, [lever] if lever else []), CPU)
    net = generating.net
    blocks = [net.image_encoder, net.pose_encoder, *net.blocks, net.decoder]
    parts = {None: [], "compiled": [net], "compiled_blocks": blocks}
    assert [id(part) for part in compiled] == [id(part) for part in parts[lever]]
