"""What is benchmarked: generators and training iterations as the baseline, with one optimization, or optimized."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from twostream.benchmark.resources import peak_memory
from twostream.build import build_module
from twostream.types import PosePair

BASELINE, ATTENTION, OPTIMIZED = "baseline", "attention", "optimized"
BFLOAT16 = "bf16-mixed"
NET_NAMES = {"two_stream": "2s-ATN", "patn": "PATN", "warp": "Warp"}
META = torch.device("meta")
NUM_WARM_UPS = {"cpu": 0, "cuda": 3}  # on a GPU kernels are compiled and selected, then recorded as graphs


def net_name(net: str) -> str:
    """Return the name of a generator's option in results; one of one's own is shown as it is."""
    return NET_NAMES.get(net, net)


def build_variant(cfg: DictConfig, optimizations: Sequence[str]) -> DictConfig:
    """Return `cfg.baseline`, its precision, AT-module and performance, changed by some of `cfg.optimizations`.

    Raises ValueError for an unknown optimization.
    """
    if unknown := set(optimizations) - cfg.optimizations.keys():
        known = ", ".join(cfg.optimizations)
        raise ValueError(f"optimizations: expected some of {known}, got {', '.join(sorted(unknown))}")
    variant = cfg.baseline.copy()
    for name in optimizations:
        variant.merge_with(cfg.optimizations[name])
    return variant


def build_variants(cfg: DictConfig, device: torch.device) -> dict[str, DictConfig]:
    """Return the baseline, a variant for each optimization in `cfg.measured`, and one with all in `cfg.optimized`."""
    single = {name: build_variant(cfg, [name]) for name in cfg.measured[device.type]}
    return {BASELINE: build_variant(cfg, []), **single, OPTIMIZED: build_variant(cfg, cfg.optimized[device.type])}


def with_at_module(generator: DictConfig, variant: DictConfig) -> DictConfig:
    """Return a generator's config with the variant's AT-module; PATN, which has none, is returned unchanged."""
    if "at_module" not in generator:
        return generator
    changed = generator.copy()
    changed.at_module = variant.at_module
    return changed


def autocast(variant: DictConfig, device: torch.device) -> AbstractContextManager[object]:
    """Return the context of a variant's precision, as Lightning's trainer enters it."""
    if variant.precision != BFLOAT16:
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)


class BenchmarkedGenerator:
    """A variant of a generator in evaluation mode, called as the generator is."""

    def __init__(self, generator: DictConfig, variant: DictConfig, device: torch.device) -> None:
        self.variant, self.device = variant, device
        self.performance = instantiate(variant.performance)
        self.net: nn.Module = instantiate(with_at_module(generator, variant)).to(device).eval()
        self.performance.prepare([self.net], [])
        if variant.precision == BFLOAT16:
            # Fixed weights are rounded once here; autocast would round them for every image.
            for module in self.net.modules():
                if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                    module.to(torch.bfloat16)

    @torch.inference_mode()
    def __call__(self, *inputs: Tensor) -> Any:
        """Generate a batch of images."""
        with autocast(self.variant, self.device), self.performance.compiled():
            return self.net(*self.performance.to_memory_format(inputs))


def build_generators(cfg: DictConfig, device: torch.device) -> dict[str, BenchmarkedGenerator]:
    """Build `cfg.generators` as baseline, with the attention optimization if they have AT-modules, and optimized."""
    chosen = {BASELINE: [], ATTENTION: [ATTENTION], OPTIMIZED: cfg.optimized[device.type]}
    return {
        f"{net_name(net)} {name}": BenchmarkedGenerator(node, build_variant(cfg, optimizations), device)
        for net, node in cfg.generators.items()
        for name, optimizations in chosen.items()
        if name != ATTENTION or "at_module" in node
    }


class Iteration:
    """A training iteration of a variant: forward, backward and optimizer step of every network, without a trainer.

    Args:
        cfg: the networks, losses and schedule.
        variant: of the generator and of the performance settings.
        size: height and width of the random images to train on.
        batch_size: number of random pairs.
        device: of networks and pairs.

    """

    def __init__(
        self, cfg: DictConfig, variant: DictConfig, size: tuple[int, int], batch_size: int, device: torch.device
    ) -> None:
        pl.seed_everything(cfg.seed, workers=True, verbose=False)
        self.variant, self.device = variant, device
        changed = cfg.copy()
        changed.generator, changed.performance = with_at_module(cfg.generator, variant), variant.performance
        self.module = build_module(changed).to(device)
        self.module.configure_model()
        self.optimizers = dict(zip(self.module.nets, self.module.configure_optimizers()[0], strict=True))
        self.module.update = self._update  # type: ignore[method-assign]
        self.module.end_iteration = lambda logs: logs  # type: ignore[method-assign]
        self.pair = random_pair(batch_size, size, device)

    def __call__(self, pair: PosePair | None = None) -> dict[str, Tensor]:
        """Train on a batch, by default the random one; return what is logged."""
        with autocast(self.variant, self.device):
            return self.module.training_step(pair or self.pair, 0)

    def _update(self, name: str, loss: Tensor) -> None:
        self.optimizers[name].zero_grad()
        loss.backward()
        self.optimizers[name].step()

    def peak_bytes(self) -> int:
        """Run an iteration; return its peak memory with the weights and the optimizer states."""
        for _ in range(NUM_WARM_UPS[self.device.type]):
            self()
        weights = [weight for net in self.module.nets.values() for weight in net.parameters()]
        # A step with zero gradients creates Adam's states and leaves the weights unchanged.
        for weight in weights:
            weight.grad = torch.zeros_like(weight)
        for optimizer in self.optimizers.values():
            optimizer.step()
            optimizer.zero_grad()
        states = [state for optimizer in self.optimizers.values() for state in optimizer.state.values()]
        tensors = weights + [value for state in states for value in state.values()]
        return sum(tensor.nbytes for tensor in tensors) + peak_memory(self, self.device)


def random_pair(batch_size: int, size: tuple[int, int], device: torch.device) -> PosePair:
    """Draw pose pairs uniformly; the first three tensors are a generator's inputs."""
    source_image, target_image = torch.rand(2, batch_size, 3, *size, device=device) * 2 - 1
    source_heatmaps, target_heatmaps = torch.rand(2, batch_size, 18, *size, device=device)
    return PosePair(source_image, source_heatmaps, target_heatmaps, target_image)


def count_generator_flops(cfg: DictConfig, generator: DictConfig, size: tuple[int, int]) -> FlopCounterMode:
    """Count the FLOPs of generating one image; a multiplication and an addition are two."""
    with META:
        benchmarked = BenchmarkedGenerator(generator, build_variant(cfg, []), META)
    with FlopCounterMode(display=False) as counter:
        benchmarked(*random_pair(1, size, META)[:3])
    return counter


def count_iteration_flops(cfg: DictConfig, size: tuple[int, int]) -> FlopCounterMode:
    """Count the FLOPs of a training iteration per pair, without gradients that are never used.

    The attention matrix is computed once, as where it is materialised.
    """
    with META:
        iteration = Iteration(cfg, build_variant(cfg, ["frozen_discriminators"]), size, 1, META)
    with FlopCounterMode(display=False) as counter:
        iteration()
    return counter
