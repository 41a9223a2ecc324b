import sys
import types
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from pytorch_lightning.callbacks import LambdaCallback
from torch import Tensor, nn

from twostream import build
from twostream.cli.train import train_and_evaluate
from twostream.losses.objective import Objective
from twostream.module import TwoStreamModule
from twostream.performance import Compiler, Performance
from twostream.types import PosePair

SMALL = ["discriminators.appearance.num_blocks=1", "discriminators.shape.num_blocks=1"]
# Dropout is drawn in memory order, which channels last changes.
BASELINE = ["performance=baseline", "generator.dropout=0", "loss.pool_size=2", "schedule.learning_rate=1e-3", *SMALL]
ON = [f"performance.{name}=true" for name in ("channels_last", "fused_adam", "one_pass", "frozen_discriminators")]
AOT, EAGER = (f"performance.compiler.backend={name}" for name in ("aot_eager", "eager"))


def is_last(tensor: Tensor) -> bool:
    return tensor.is_contiguous(memory_format=torch.channels_last)


class Iterations:
    """Iterations of a module on one pair, in float64 so that rounding does not hide a difference."""

    def __init__(self, module: TwoStreamModule, pair: PosePair):
        self.module = module.double()
        for name, weight in module.named_parameters():
            if name.endswith("sigma"):
                nn.init.constant_(weight, 0.5)
        module.configure_model()
        self.pair = PosePair(*(tensor.double() for tensor in pair))
        self.optimizers = dict(zip(module.nets, module.configure_optimizers()[0], strict=True))
        module.update, module.end_iteration = self.update, lambda logs: logs
        self.seen: list[tuple[str, list[str]]] = []
        self.values: list[dict[str, Tensor]] = []

    def update(self, name: str, loss: Tensor):
        self.optimizers[name].zero_grad()
        loss.backward()
        nets = self.module.nets
        self.seen.append((name, [n for n in nets if any(p.grad is not None for p in nets[n].parameters())]))
        self.optimizers[name].step()

    def run(self, iterations: int = 1) -> "Iterations":
        self.values += [self.module.training_step(self.pair, 0) for _ in range(iterations)]
        return self


def iterate(cfg, pair: PosePair, package: types.ModuleType = build, iterations: int = 3) -> Iterations:
    torch.manual_seed(0)
    return Iterations(package.build_module(cfg), pair).run(iterations)


def assert_same(one: Iterations, other: Iterations):
    assert len(one.values) == len(other.values) == 3
    torch.testing.assert_close(other.values, one.values, rtol=1e-8, atol=1e-9)
    weights = (dict(made.module.state_dict()) for made in (other, one))
    torch.testing.assert_close(*weights, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("optimizations", [*([name] for name in ON), ON, ["generator/at_module=dense"]], ids=str)
def test_optimizations_do_not_change_what_is_computed(tiny_config, random_pair, optimizations):
    baseline = iterate(tiny_config(*BASELINE), random_pair)
    assert_same(baseline, iterate(tiny_config(*BASELINE, *optimizations), random_pair))


def test_these_iterations_change_every_network_and_use_past_fakes(tiny_config, random_pair):
    starts, baseline = (iterate(tiny_config(*BASELINE), random_pair, iterations=count) for count in (0, 3))
    for net, start in zip(baseline.module.nets.values(), starts.module.nets.values(), strict=True):
        assert max(change.abs().max() for change in map(torch.sub, net.parameters(), start.parameters())) > 1e-3
    without_pool = iterate(tiny_config(*BASELINE, "loss.pool_size=0"), random_pair)
    assert not torch.allclose(without_pool.values[2]["shape_discriminator"], baseline.values[2]["shape_discriminator"])


def test_frozen_discriminators_get_no_gradient_in_the_update_of_the_generator(tiny_config, random_pair):
    nets = ["generator", "appearance", "shape"]
    assert iterate(tiny_config(*BASELINE), random_pair, iterations=1).seen[0] == ("generator", nets)
    frozen = iterate(tiny_config(*BASELINE, "performance.frozen_discriminators=true"), random_pair, iterations=1)
    assert frozen.seen == [("generator", nets[:1]), ("appearance", nets[:2]), ("shape", nets)]
    assert all(weight.requires_grad for weight in frozen.module.parameters())


def test_weights_that_are_never_trained_stay_frozen():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).requires_grad_(False))
    with Performance(False, False, False, frozen_discriminators=True, compiler=None).frozen(net):
        assert not any(weight.requires_grad for weight in net.parameters())
    assert [weight.requires_grad for weight in net.parameters()] == [True, True, False, False]


@pytest.mark.parametrize(("one_pass", "own_update"), [("true", [4]), ("false", [2, 2])])
def test_one_pass_scores_real_and_generated_images_in_one_batch(tiny_config, random_pair, one_pass, own_update):
    made, sizes = iterate(tiny_config(*BASELINE, f"performance.one_pass={one_pass}"), random_pair, iterations=0), []
    for name, net in made.module.discriminators.items():
        net.register_forward_pre_hook(lambda _, inputs, name=name: sizes.append((name, len(inputs[0]))))
    made.run()
    own = [(name, size) for name in ("appearance", "shape") for size in own_update]
    assert sizes == [("appearance", 2), ("shape", 2), *own]


@pytest.mark.parametrize("last", [True, False])
def test_channels_last_is_the_format_of_weights_and_inputs(tiny_config, random_pair, last):
    cfg = tiny_config(*BASELINE, f"performance.channels_last={last}")
    made, got = iterate(cfg, random_pair, iterations=0), []
    convolutions = [[m for m in net.modules() if isinstance(m, nn.Conv2d)] for net in made.module.nets.values()]
    for first, *_ in convolutions:
        first.register_forward_pre_hook(lambda _, inputs: got.append(is_last(inputs[0])))
    made.run(2)
    perceptual = made.module.objective.perceptual
    weights = [convolution.weight for net in convolutions for convolution in net if convolution.kernel_size != (1, 1)]
    assert len(weights) > 20
    assert {is_last(weight) for weight in [*weights, perceptual.weight_0, perceptual.weight_2]} == {last}
    # Once in the generator, in each discriminator once for the generator's update and twice for its own.
    assert got == [last] * 7 * 2


@pytest.mark.parametrize("fused", [True, None])
def test_fused_adam_is_used_on_request(tiny_config, fused):
    module = build.build_module(tiny_config(*BASELINE, f"performance.fused_adam={bool(fused)}"))
    assert [optimizer.defaults["fused"] for optimizer in module.configure_optimizers()[0]] == [fused] * 3


class Compilations:
    """A compiler backend that counts the graphs it compiles and the calls of the compiled code."""

    def __init__(self, module: TwoStreamModule):
        compiler = module.performance.compiler
        self.backend = torch._dynamo.lookup_backend(compiler.backend)
        self.graphs = self.calls = 0
        module.performance = replace(module.performance, compiler=replace(compiler, backend=self))

    def __call__(self, graph, inputs):
        self.graphs += 1
        compiled = self.backend(graph, inputs)

        def run(*arguments):
            self.calls += 1
            return compiled(*arguments)

        return run


# Warnings from torch's own tracer.
TRACED = pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf Tensor:UserWarning",
    "ignore:.*should not be instantiated. Methods on autograd functions are all static:DeprecationWarning",
)


@TRACED
@pytest.mark.parametrize(
    ("overrides", "graphs", "calls"),
    [
        # A discriminator has a graph per kind of update; in its own update it is called twice, or once.
        pytest.param(["performance/compiler=nets", AOT], 1 + 2 + 2, 1 + 3 + 3, marks=pytest.mark.slow),
        # Both kinds of update have equal shapes; only frozen weights distinguish their graphs.
        pytest.param(["performance/compiler=blocks", AOT, ON[3]], 5 + 2 + 2, 5 + 3 + 3, marks=pytest.mark.slow),
        # Two encoders, two blocks, the last without source fusion, and a decoder.
        pytest.param(["performance/compiler=blocks", AOT, *ON], 5 + 2 + 2, 5 + 2 + 2, marks=pytest.mark.slow),
        pytest.param(
            ["performance/compiler=nets", EAGER, "generator=patn", *ON],
            *2 * [1 + 2 + 2],
            marks=pytest.mark.slow,
        ),
    ],
    ids=["nets", "frozen", "blocks", "patn"],
)
def test_compiled_networks_equal_eager_ones_and_are_compiled_once(
    tiny_config, random_pair, unchecked, overrides, graphs, calls
):
    common = [*BASELINE, *(word for word in overrides if word.startswith("generator"))]
    baseline = iterate(tiny_config(*common), random_pair, unchecked)
    torch.manual_seed(0)
    module = unchecked.build_module(tiny_config(*common, *overrides))
    backend = Compilations(module)
    fast = Iterations(module, random_pair)
    fast.run()
    first = backend.graphs, backend.calls
    # torch 2.11 splits a submodule that is a sequence.
    assert first == (graphs, calls) or ("performance/compiler=blocks" in overrides and first > (graphs, calls))
    with torch.no_grad():
        assert module.eval()(PosePair(*(torch.cat([tensor, tensor[:1]]) for tensor in fast.pair))).shape[0] == 3
    module.train()
    assert backend.calls == first[1]
    assert_same(baseline, fast.run(2))
    fast.run(2)
    assert (backend.graphs, backend.calls) == (first[0], 5 * first[1])


@TRACED
def test_a_run_compiles_in_its_first_iteration_and_validates_eagerly(tiny_config, unchecked):
    cfg = tiny_config(*SMALL, "performance/compiler=blocks", EAGER)
    module, trainer = unchecked.build_module(cfg), unchecked.build_trainer(cfg)
    backend, notes = Compilations(module), []
    watch = LambdaCallback(
        on_train_batch_start=lambda trainer, module, pair, index: module(pair),
        on_train_batch_end=lambda *_: notes.append(("iteration", backend.graphs, backend.calls)),
        on_validation_start=lambda *_: notes.append(("before", backend.graphs, backend.calls)),
        on_validation_end=lambda *_: notes.append(("after", backend.graphs, backend.calls)),
    )
    trainer.callbacks.append(watch)
    trainer.fit(module, datamodule=unchecked.build_datamodule(cfg))
    _, graphs, calls = notes[0]
    assert graphs >= 9
    after = {"iteration": [1, 2, 3, 4], "before": [2, 4], "after": [2, 4]}
    assert sorted(notes) == sorted((when, graphs, count * calls) for when, counts in after.items() for count in counts)
    names = list(torch.load(Path(cfg.run_dir, "checkpoints", "last.ckpt"), weights_only=True)["state_dict"])
    assert names == list(unchecked.build_module(tiny_config(*SMALL, "performance=baseline")).state_dict())
    names = {path.name for path in Path(cfg.run_dir, "samples").iterdir()}
    assert names == {f"{kind}{step:06d}.png" for kind in ("", "correspondence_") for step in (2, 4)}
    torch.compile(torch.neg, backend=backend)(torch.ones(1))
    assert (backend.graphs, backend.calls) == (graphs + 1, 4 * calls + 1)


def test_where_nothing_can_be_compiled_networks_are_executed_eagerly(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no C++ compiler\nand a long trace")

    net = nn.Conv2d(1, 1, 1)
    monkeypatch.setattr(torch, "compile", fail)
    monkeypatch.setattr(net, "compile", fail)
    performance = Performance(False, False, False, False, Compiler(by_block=False, cuda_graphs=False))
    with pytest.warns(UserWarning, match=r"executed eagerly, .* not work here: no C\+\+ compiler$"):
        performance.prepare([net], [])
    with performance.compiled():
        assert net(torch.ones(1, 1, 2, 2)).shape == (1, 1, 2, 2)


@pytest.mark.parametrize("size", [0, 50])
@pytest.mark.parametrize("overrides", [["generator=patn"], ["loss/adversarial=least_squares", ON[0]]], ids=str)
def test_an_iteration_reads_no_value_from_the_device(tiny_config, on_meta, size, overrides):
    made = on_meta(tiny_config(*SMALL, f"loss.pool_size={size}", *overrides)).run(2)
    assert all(value.is_meta for values in made.values for value in values.values())
    assert [len(pool.samples) for pool in made.module.pools.values()] == [size, size]


@pytest.mark.parametrize("read", [Tensor.item, bool])
def test_reading_a_value_would_be_detected(tiny_config, on_meta, monkeypatch, read):
    monkeypatch.setattr(Objective, "accuracy", lambda self, real, fake: read(real.mean() > 0))
    with pytest.raises(RuntimeError, match="meta tensors"):
        on_meta(tiny_config(*SMALL)).run()


@pytest.fixture
def on_meta(random_pair, monkeypatch):
    """Builds a module on the meta device, where values cannot be read, with a batch that fills a pool."""
    monkeypatch.setattr(sys.modules["torch.optim.optimizer"], "_get_fused_kernels_supported_devices", lambda: ["meta"])
    pair = PosePair(*(tensor.repeat(30, 1, 1, 1).to("meta") for tensor in random_pair))

    def make(cfg) -> Iterations:
        with torch.device("meta"):
            module = build.build_module(cfg)
        return Iterations(module, pair)

    return make


def test_an_interrupted_run_with_channels_last_ends_as_an_uninterrupted_one(tiny_config, tmp_path, monkeypatch):
    settings = [*SMALL, "performance.channels_last=true", "loss.pool_size=3", "evaluate=false"]
    training_step, begun, ends = TwoStreamModule.training_step, [], []

    def step(self, pair, index):
        begun.append(self.iteration)
        if begun == [0, 1, 2, 3]:
            raise OSError("gone")
        return training_step(self, pair, index)

    monkeypatch.setattr(TwoStreamModule, "training_step", step)
    for folder in (tmp_path / "interrupted", tmp_path / "uninterrupted"):
        cfg = tiny_config(*settings, f"run_dir={folder}")
        with nullcontext() if begun else pytest.raises(OSError, match="gone"):
            train_and_evaluate(cfg, folder)
        train_and_evaluate(cfg, folder)
        ends.append(torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True))
    # The second run in a folder resumes, or finds the run finished.
    assert begun == [0, 1, 2, 3, 2, 3, 0, 1, 2, 3]
    assert is_last(ends[0]["state_dict"]["generator.blocks.0.source_conv.0.weight"])
    one, other = ([dict(end["state_dict"]), *(o["state"] for o in end["optimizer_states"])] for end in ends)
    torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_every_option_composes(tiny_config):
    nets, blocks = (Compiler(by_block, False, "inductor") for by_block in (False, True))
    baseline, default, gpu = (
        Performance(*4 * [False], None),
        Performance(False, True, False, True, None),
        Performance(*4 * [True], nets),
    )
    for overrides, performance, precision in (
        ([], default, "32-true"),
        (["performance=baseline"], baseline, "32-true"),
        (["performance=baseline", "performance/compiler=blocks"], replace(baseline, compiler=blocks), "32-true"),
        (["performance=default", "performance/compiler=nets"], replace(default, compiler=nets), "32-true"),
        (["performance=gpu"], gpu, "bf16-mixed"),
        (["performance=gpu", "performance/compiler=blocks"], replace(gpu, compiler=blocks), "bf16-mixed"),
        (["performance=gpu", "trainer.precision=32-true"], gpu, "32-true"),
    ):
        cfg = tiny_config(*overrides)
        assert (instantiate(cfg.performance), cfg.trainer.precision) == (performance, precision), overrides
