from copy import deepcopy
from pathlib import Path

import pytest
import torch
from pytorch_lightning import Trainer
from torch.optim import Adam
from torch.utils.data import DataLoader
from torchmetrics.functional.image import structural_similarity_index_measure

from tiny_run import assert_same_leaves, fit, read_curves
from twostream.build import build_datamodule, build_module
from twostream.data.dataset import to_pose_pair
from twostream.module import as_list
from twostream.types import PosePair


@pytest.mark.parametrize("discriminators", ["both", "appearance", "shape", "none"])
def test_iterations_are_updates_of_the_generator(tiny_config, discriminators):
    cfg = tiny_config(f"discriminators={discriminators}")
    trainer = fit(cfg)
    module = trainer.lightning_module
    assert module.iteration == 4
    checkpoint = torch.load(Path(cfg.run_dir) / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["iteration"] == 4
    assert len(trainer.optimizers) == len(module.nets)
    assert {int(state["step"]) for optimizer in trainer.optimizers for state in optimizer.state.values()} == {4}
    assert [scheduler.get_last_lr() for scheduler in as_list(module.lr_schedulers())] == [[0.0]] * len(module.nets)


def test_discriminators_can_start_later(tiny_config):
    cfg = tiny_config("loss.adversarial_start=3")
    start = build_module(tiny_config()).discriminators.state_dict()
    trainer = fit(cfg)
    steps = [{int(state["step"]) for state in optimizer.state.values()} for optimizer in trainer.optimizers]
    assert steps == [{4}, {1}, {1}]
    curves = read_curves(Path(cfg.run_dir))
    assert [row["step"] for row in curves if "train/adversarial" in row] == [4]
    assert [row["step"] for row in curves if "train/l1" in row] == [1, 2, 3, 4]
    assert [scheduler.get_last_lr() for scheduler in trainer.lightning_module.lr_schedulers()] == [[0.0]] * 3
    trained = trainer.lightning_module.discriminators.state_dict()
    assert any(not torch.equal(value, start[name]) for name, value in trained.items())


def test_discriminators_can_have_a_rate_of_their_own(tiny_config):
    optimizers, _ = build_module(tiny_config("schedule.discriminator_factor=0.25")).configure_optimizers()
    rates = [[group["initial_lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    assert rates == [[1e-4], [0.25e-4], [0.25e-4]]


@pytest.mark.parametrize("updated", ["generator", "appearance", "shape"])
def test_an_update_changes_its_own_network_alone(tiny_config, random_pair: PosePair, updated):
    """Of the three updates of an iteration one is allowed to step; gradients reach its own network alone."""
    module = build_module(tiny_config())
    optimizers = dict(zip(module.nets, module.configure_optimizers()[0], strict=True))
    before = {name: [p.detach().clone() for p in net.parameters()] for name, net in module.nets.items()}

    def update(name, loss):
        module.zero_grad()
        loss.backward()
        if name == updated:
            with_gradients = [n for n, net in module.nets.items() if any(p.grad is not None for p in net.parameters())]
            assert with_gradients == [name]
            optimizers[name].step()

    module.update, module.end_iteration = update, lambda logs: logs
    module.training_step(random_pair, 0)
    changed = {
        name: any(not torch.equal(a, b) for a, b in zip(before[name], net.parameters(), strict=True))
        for name, net in module.nets.items()
    }
    assert changed == {name: name == updated for name in before}


def test_validation_ssim_is_exact_in_mixed_precision(tiny_config, random_pair: PosePair):
    module = build_module(tiny_config()).eval()
    generated = random_pair.source_image
    module.forward = lambda pair: generated
    with torch.autocast("cpu", torch.bfloat16):
        module.log = lambda *_, **__: None
        module.validation_step(random_pair, 0)
    exact = structural_similarity_index_measure(generated, random_pair.target_image, data_range=2.0)
    torch.testing.assert_close(module.val_ssim.compute(), exact)


def test_it_overfits_a_few_pairs(tiny_config):
    """Four pairs at width 8: L1 falls below 0.08, a sixth of that of an untrained network."""
    torch.manual_seed(0)
    cfg = tiny_config("generator.width=8", "generator.dropout=0", "loss.adversarial_weight=1", "data.batch_size=4")
    module, data = build_module(cfg), build_datamodule(cfg)
    data.setup("fit")
    pair = to_pose_pair(data.train.batch(range(4)), data.heatmaps)
    optimizer = Adam(module.generator.parameters(), lr=2e-3, betas=(0.5, 0.999))
    losses = []
    for _ in range(150):
        fake = module(pair)
        scores = [net(fake, pair.source_image, pair.target_heatmaps) for net in module.discriminators.values()]
        loss, terms = module.objective.generator(fake, pair.target_image, pair.target_heatmaps, scores)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(terms["l1"].item())
    assert losses[0] > 0.25
    assert losses[-1] < 0.08


def test_deterministic_runs_are_equal_and_use_deterministic_algorithms_only(tiny_config):
    """torch raises an error for an operation without a deterministic algorithm."""
    ends = []
    for _ in range(2):
        trainer = fit(tiny_config("deterministic=true"))
        assert torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(False)
        ends.append(dict(trainer.lightning_module.state_dict()))
    assert_same_leaves(*ends)


def adam_written_out(parameters, moments, step, rate):
    """A step of Adam (Kingma and Ba 2015, Algorithm 1) with betas 0.5 and 0.999."""
    for p, (first, second) in zip(parameters, moments, strict=True):
        first.mul_(0.5).add_(0.5 * p.grad)
        second.mul_(0.999).add_(0.001 * p.grad * p.grad)
        corrected = second / (1 - 0.999**step)
        p.data -= rate * first / (1 - 0.5**step) / (corrected.sqrt() + 1e-8)


def train_written_out(nets, perceptual, pairs, rates):
    """The iterations of Eq. 7 with PATN's cross-entropy and order of updates, without Lightning."""
    moments = {name: [[torch.zeros_like(p) for _ in "mv"] for p in net.parameters()] for name, net in nets.items()}
    generator, *discriminators = nets

    def step(name, loss, number, rate):
        gradients = torch.autograd.grad(loss, list(nets[name].parameters()))
        for parameter, gradient in zip(nets[name].parameters(), gradients, strict=True):
            parameter.grad = gradient
        adam_written_out(nets[name].parameters(), moments[name], number, rate)

    def cross_entropy(scores, real):
        probabilities = 1 / (1 + torch.exp(-scores))
        return -torch.log(probabilities if real else 1 - probabilities).mean()

    for number, (pair, rate) in enumerate(zip(pairs, rates, strict=True), start=1):
        image, source_pose, target_pose, true = pair
        fake = nets[generator](image, source_pose, target_pose)
        scores = [nets[name](fake, image, target_pose) for name in discriminators]
        adversarial = sum(cross_entropy(score, real=True) for score in scores) / 2
        loss = 20 * adversarial + 17 * (fake - true).abs().mean() + 17 * perceptual(fake, true)
        step(generator, loss, number, rate)
        for name in discriminators:
            real_loss = cross_entropy(nets[name](true, image, target_pose), real=True)
            fake_loss = cross_entropy(nets[name](fake.detach(), image, target_pose), real=False)
            step(name, 20 * (real_loss + fake_loss) / 2, number, rate)


def test_training_is_the_loop_written_out(agree, tiny_config):
    cfg = tiny_config("generator.dropout=0", "loss.pool_size=0", "generator.at_module.sigma=0.5")
    torch.manual_seed(0)
    module = build_module(cfg).double()
    pairs = [[torch.rand(2, channels, 32, 16).double() for channels in (3, 18, 18, 3)] for _ in range(4)]
    written_out = deepcopy(module)
    train_written_out(written_out.nets, written_out.objective.perceptual, pairs, [1e-4, 1e-4, 1e-4, 0.5e-4])
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_checkpointing", "enable_model_summary"), False)
    trainer = Trainer(accelerator="cpu", precision="64-true", max_epochs=1, limit_val_batches=0, **quiet)
    batches = DataLoader([PosePair(*pair) for pair in pairs], batch_size=None)
    trainer.fit(module, batches, batches)
    assert module.iteration == 4
    what, against = "parameters after 4 iterations", "a plain loop with Adam written out, float64"
    expected = [parameter for net in written_out.nets.values() for parameter in net.parameters()]
    trained = [parameter for net in module.nets.values() for parameter in net.parameters()]
    agree("Losses and training", what, against, trained, expected, 1e-9)
