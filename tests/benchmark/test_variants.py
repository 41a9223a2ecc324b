import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from twostream.benchmark.variants import (
    BASELINE,
    OPTIMIZED,
    BenchmarkedGenerator,
    Iteration,
    build_variant,
    build_variants,
    random_pair,
    with_at_module,
)
from twostream.nets.appearance_transfer import AppearanceTransfer, DenseAppearanceTransfer

CPU = torch.device("cpu")
NAMES = [
    *("attention", "bfloat16", "channels_last", "fused_adam", "one_pass", "frozen_discriminators"),
    *("compiled", "compiled_blocks", "cuda_graphs"),
]
SETTINGS = {"attention": "at_module", "bfloat16": "precision", **dict.fromkeys(NAMES[-3:], "compiler")}
SIZE = (32, 16)


def settings_of(variant):
    at_module = instantiate(variant.at_module).func
    return {"precision": variant.precision, "at_module": at_module, **vars(instantiate(variant.performance))}


def changes_of(cfg, variant):
    baseline, settings = settings_of(build_variant(cfg, [])), settings_of(variant)
    return {name: value for name, value in settings.items() if value != baseline[name]}


def test_the_baseline_has_no_optimization(cfg):
    settings = settings_of(build_variant(cfg, []))
    assert (settings.pop("precision"), settings.pop("at_module")) == ("32-true", DenseAppearanceTransfer)
    assert not any(settings.values())


@pytest.mark.parametrize("name", NAMES)
def test_an_optimization_changes_only_its_own_setting(cfg, name):
    assert changes_of(cfg, build_variant(cfg, [name])).keys() == {SETTINGS.get(name, name)}


def test_unknown_optimizations_are_refused_by_name(cfg):
    assert set(cfg.optimizations) == set(NAMES)
    with pytest.raises(ValueError, match=r"optimizations: expected some of attention, .*, got fast, faster$"):
        build_variant(cfg, ["faster", "attention", "fast"])


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_optimized_variant_has_all_its_optimizations(cfg, device):
    before = OmegaConf.to_yaml(cfg)
    variants = build_variants(cfg, torch.device(device))
    assert list(variants) == [BASELINE, *cfg.measured[device], OPTIMIZED]
    single = [changes_of(cfg, build_variant(cfg, [name])) for name in cfg.optimized[device]]
    assert changes_of(cfg, variants[OPTIMIZED]) == {name: value for one in single for name, value in one.items()}
    assert OmegaConf.to_yaml(cfg) == before


def test_only_the_at_module_of_a_generator_changes(cfg):
    variant, before = build_variant(cfg, []), OmegaConf.to_container(cfg.generators.two_stream)
    dense = with_at_module(cfg.generators.two_stream, variant)
    assert instantiate(dense.at_module).func is DenseAppearanceTransfer
    assert OmegaConf.to_container(dense) | {"at_module": before["at_module"]} == before
    assert OmegaConf.to_container(cfg.generators.two_stream) == before
    assert with_at_module(cfg.generators.patn, variant) == cfg.generators.patn


def generators_of(cfg, *variants):
    generators = [BenchmarkedGenerator(cfg.generators.two_stream, build_variant(cfg, names), CPU) for names in variants]
    # With the initial sigma of 0 the AT-modules have no effect.
    for block in generators[0].net.blocks:
        block.at_module.sigma.data.fill_(0.5)
    for other in generators[1:]:
        other.net.load_state_dict(generators[0].net.state_dict())
    return generators


@pytest.mark.parametrize(
    ("names", "tolerance"), [(["attention"], 1e-4), (["attention", "channels_last"], 1e-4), (["bfloat16"], 0.1)]
)
def test_a_variant_generates_the_same_images_up_to_rounding(benchmark_config, names, tolerance):
    baseline, other = generators_of(benchmark_config(), [], names)
    at_module = AppearanceTransfer if "attention" in names else DenseAppearanceTransfer
    assert {type(block.at_module) for block in other.net.blocks} == {at_module}
    assert not other.net.training
    strides = []
    other.net.blocks[0].register_forward_hook(lambda _, inputs, output: strides.append(inputs[0].stride(1)))
    inputs = random_pair(2, (16, 8), CPU)[:3]
    expected, generated = baseline(*inputs), other(*inputs)
    assert (strides == [1]) is ("channels_last" in names)
    assert expected.dtype == torch.float32
    assert 0 < (generated.float() - expected).abs().max() < tolerance


def test_weights_rounded_once_give_the_images_of_autocast(benchmark_config):
    baseline, rounded = generators_of(benchmark_config(), [], ["bfloat16"])
    assert {weight.dtype for name, weight in rounded.net.named_parameters() if "sigma" not in name} == {torch.bfloat16}
    inputs = random_pair(2, (16, 8), CPU)[:3]
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        expected = baseline.net(*inputs)
    assert torch.equal(rounded(*inputs), expected)


@pytest.mark.parametrize("names", [[], ["compiled"], pytest.param(["compiled_blocks"], marks=pytest.mark.slow)])
def test_a_network_is_compiled_if_the_variant_says_so(benchmark_config, monkeypatch, names):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **_: compiled.append(self))
    cfg = benchmark_config()
    net = BenchmarkedGenerator(cfg.generators.patn, build_variant(cfg, names), CPU).net
    blocks = [net.image_encoder, net.pose_encoder, *net.blocks, net.decoder]
    expected = {"compiled": [net], "compiled_blocks": blocks}.get("".join(names), [])
    assert [id(module) for module in compiled] == [id(module) for module in expected]


def test_every_variant_trains_from_the_same_weights(benchmark_config):
    cfg = benchmark_config("generator.dropout=0", "schedule.learning_rate=1e-3")
    logs = {}
    for name, variant in build_variants(cfg, CPU).items():
        iteration = Iteration(cfg, variant, SIZE, 2, CPU)
        logs[name] = [{key: value.item() for key, value in iteration().items()} for _ in range(3)]
    baseline = logs.pop(BASELINE)
    assert {"l1", "appearance_discriminator", "shape_accuracy"} < baseline[0].keys()
    assert baseline[2]["l1"] < 0.999 * baseline[0]["l1"]
    for name, (first, _, last) in logs.items():
        tolerance = 0.03 if name in ("bfloat16", OPTIMIZED) else 1e-4
        for key in ("l1", "shape_discriminator"):
            assert first[key] == pytest.approx(baseline[0][key], rel=tolerance), name
        # Adam's first steps have full length for any gradient, even one that is only rounding error.
        assert last["l1"] == pytest.approx(baseline[2]["l1"], rel=max(tolerance, 2e-3)), name


def test_an_iteration_trains_on_its_own_or_on_a_given_batch(benchmark_config):
    cfg = benchmark_config()
    iteration, shapes = Iteration(cfg, build_variant(cfg, []), SIZE, 2, CPU), []
    iteration.module.generator.register_forward_hook(lambda _, inputs, output: shapes.append(output.shape))
    iteration(random_pair(3, (16, 8), CPU))
    iteration()
    assert shapes == [(3, 3, 16, 8), (2, 3, 32, 16)]


def test_peak_memory_includes_weights_and_states_and_grows_with_the_batch(benchmark_config):
    cfg = benchmark_config()
    iterations = [Iteration(cfg, build_variant(cfg, []), SIZE, batch_size, CPU) for batch_size in (1, 4)]
    weights = [weight for net in iterations[0].module.nets.values() for weight in net.parameters()]
    one, four = (iteration.peak_bytes() for iteration in iterations)
    # Adam has two numbers per weight; each further pair has at least a generated image and its 64 features.
    assert one > 3 * sum(weight.nbytes for weight in weights)
    assert four - one > 3 * (3 + 64) * 32 * 16 * 4


def test_random_pairs_have_the_shapes_and_ranges_of_the_data():
    pair = random_pair(5, (16, 8), CPU)
    assert [tuple(tensor.shape) for tensor in pair] == [(5, c, 16, 8) for c in (3, 18, 18, 3)]
    assert -1 <= pair.source_image.min() < -0.9
    assert 0.9 < pair.target_image.max() <= 1
    assert not torch.equal(pair.source_image, pair.target_image)
    assert 0 <= pair.source_heatmaps.min() < 0.1
