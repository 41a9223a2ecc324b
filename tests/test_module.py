from pathlib import Path

import pytest
import torch
from torch.optim import Adam
from torchmetrics.functional.image import structural_similarity_index_measure

from twostream.build import build_datamodule, build_module, build_trainer
from twostream.data.dataset import to_pose_pair
from twostream.module import Schedule, TwoStreamModule, as_list
from twostream.types import PosePair


def fit(cfg) -> tuple[TwoStreamModule, object]:
    torch.manual_seed(cfg.seed)
    module, trainer = build_module(cfg), build_trainer(cfg)
    trainer.fit(module, datamodule=build_datamodule(cfg))
    return module, trainer


def nets_of(module: TwoStreamModule) -> dict[str, torch.nn.Module]:
    return {"generator": module.generator, **dict(module.discriminators.items())}


@pytest.mark.parametrize("discriminators", ["both", "appearance", "shape", "none"])
def test_global_step_is_the_iteration(tiny_config, discriminators):
    cfg = tiny_config(f"discriminators={discriminators}")
    _, trainer = fit(cfg)
    assert trainer.global_step == 4
    checkpoint = torch.load(Path(cfg.run_dir) / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 4


def test_every_net_takes_a_step_an_iteration_and_the_schedule_ends_at_zero(tiny_config):
    module, trainer = fit(tiny_config())
    for optimizer in trainer.optimizers:
        steps = {int(state["step"]) for state in optimizer.state.values()}
        assert steps == {4}
    assert len(trainer.optimizers) == 3
    assert [scheduler.get_last_lr() for scheduler in as_list(module.lr_schedulers())] == [[0.0]] * 3


@pytest.mark.parametrize("phase", ["generator", "appearance", "shape"])
def test_a_phase_steps_its_own_net_alone(tiny_config, phase):
    """Of the optimizers only one is allowed to step; what moves is the phase's own net."""
    cfg = tiny_config("schedule.constant_iterations=1", "schedule.decay_iterations=0")
    module, trainer = build_module(cfg), build_trainer(cfg)
    before = {name: [p.detach().clone() for p in net.parameters()] for name, net in nets_of(module).items()}

    def only_this(optimizer: Adam, *args, **kwargs):
        own = {id(p) for p in nets_of(module)[phase].parameters()}
        if id(optimizer.param_groups[0]["params"][0]) not in own:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad = None

    for optimizer in (configured := module.configure_optimizers())[0]:
        optimizer.register_step_pre_hook(only_this)
    module.configure_optimizers = lambda: configured
    trainer.fit(module, datamodule=build_datamodule(cfg))
    moved = {
        name: any(not torch.equal(a, b) for a, b in zip(before[name], net.parameters(), strict=True))
        for name, net in nets_of(module).items()
    }
    assert moved == {name: name == phase for name in before}


def test_gradients_of_each_phase_reach_its_own_net_alone(tiny_config, random_pair: PosePair):
    """At each optimizer's step, its own net has gradients and no other has gained any."""
    module, trainer = build_module(cfg := tiny_config()), build_trainer(cfg)
    seen: dict[str, list[str]] = {}

    def record(phase: str):
        def hook(*_):
            seen[phase] = [
                name for name, net in nets_of(module).items() if any(p.grad is not None for p in net.parameters())
            ]
            for net in nets_of(module).values():
                net.zero_grad(set_to_none=True) if net is not nets_of(module)[phase] else None

        return hook

    configured = module.configure_optimizers()
    for phase, optimizer in zip(nets_of(module), configured[0], strict=True):
        optimizer.register_step_pre_hook(record(phase))
        optimizer.register_step_post_hook(lambda opt, *_: opt.zero_grad(set_to_none=True))
    module.configure_optimizers = lambda: configured
    trainer.fit(module, datamodule=build_datamodule(cfg))
    assert seen == {"generator": ["generator"], "appearance": ["appearance"], "shape": ["shape"]}


def test_schedule():
    schedule = Schedule(1e-4, 0.5, 0.999, constant_iterations=6, decay_iterations=3)
    expected = [1, 1, 1, 1, 1, 1, 1, 2 / 3, 1 / 3, 0]
    assert [schedule.factor(i) for i in range(10)] == pytest.approx(expected)
    assert Schedule(1e-4, 0.5, 0.999, 2, 0).factor(2) == 0


@pytest.mark.parametrize("counts", [(-1, 5), (0, 0)])
def test_schedule_refuses_what_can_not_be(counts):
    with pytest.raises(ValueError, match="schedule: expected constant_iterations and decay_iterations"):
        Schedule(1e-4, 0.5, 0.999, *counts)


def test_validation_ssim_is_the_same_in_mixed_precision(tiny_config, random_pair: PosePair):
    module = build_module(tiny_config()).eval()
    generated = random_pair.source_image
    module.forward = lambda pair: generated
    with torch.autocast("cpu", torch.bfloat16):
        module.log = lambda *_, **__: None
        module.validation_step(random_pair, 0)
    exact = structural_similarity_index_measure(generated, random_pair.target_image, data_range=2.0)
    torch.testing.assert_close(module.val_ssim.compute(), exact)


def test_overfits_a_handful_of_pairs(tiny_config):
    """Four pairs at width 8: L1 falls under 0.08, a sixth of what an untrained net has."""
    torch.manual_seed(0)
    cfg = tiny_config("generator.width=8", "generator.dropout=0", "loss.adversarial_weight=1", "data.batch_size=4")
    module, data = build_module(cfg), build_datamodule(cfg)
    data.setup("fit")
    pair = to_pose_pair(data.train.batch(range(4)), data.heatmaps)
    optimizer = Adam(module.generator.parameters(), lr=2e-3, betas=(0.5, 0.999))
    first = None
    for _ in range(150):
        _, loss, terms = module.generator_phase(pair)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        first = first or terms["l1"].item()
    assert first > 0.25
    assert terms["l1"].item() < 0.08


def test_deterministic_runs_are_equal_and_take_no_other_algorithm(tiny_config):
    """Where torch has no deterministic algorithm it raises an error."""
    ends = []
    for _ in range(2):
        module, _ = fit(tiny_config("deterministic=true"))
        assert torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(False)
        ends.append(module.state_dict())
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())
