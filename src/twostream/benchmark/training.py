"""A training iteration: what each lever gives, how far it is from the device's limit, the memory it takes."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.flop_counter import FlopCounterMode

from twostream.benchmark.forms import BFLOAT16, PLAIN, TUNED, autocast, form_with, forms_of, in_form
from twostream.benchmark.memory import bytes_of, peak_of, tensors_of
from twostream.benchmark.timing import in_turns
from twostream.build import build_module
from twostream.types import PosePair

NAMES = {"32-true": "float32", BFLOAT16: "bfloat16"}
WARM_UPS = {"cpu": 0, "cuda": 3}
"""Iterations before any is measured: on a GPU kernels are made and chosen, then recorded as graphs."""
PRODUCT_ROUNDS = 3
PRODUCT_SIZE = {"cpu": 2048, "cuda": 8192}
"""Rows and columns of the matrices whose product is the ceiling."""


class Iteration:
    """A training iteration in a form on one drawn batch: every phase, with the optimizers' steps."""

    def __init__(
        self, cfg: DictConfig, form: DictConfig, size: tuple[int, int], batch_size: int, device: torch.device
    ) -> None:
        pl.seed_everything(cfg.seed, workers=True, verbose=False)
        self.form, self.device = form, device
        self.module = build_module(in_form(cfg, form)).to(device)
        self.module.configure_model()
        self.optimizers = dict(zip(self.module.nets, self.module.configure_optimizers()[0], strict=True))
        self.pair = draw_pair(batch_size, size, device)

    def __call__(self, pair: PosePair | None = None) -> dict[str, Tensor]:
        """Train on the batch, or on another one; return what is logged."""
        with autocast(self.form, self.device):
            return self.module.iterate(pair or self.pair, self._step)

    def peak_bytes(self) -> int:
        """Take an iteration; return the bytes of weights and optimizer states, and of all beside them at most."""
        for _ in range(WARM_UPS[self.device.type]):
            self()
        for optimizer in self.optimizers.values():
            make_states(optimizer)
        return bytes_of(tensors_of(self.optimizers.values())) + peak_of(self, self.device)

    def _step(self, name: str, loss: Tensor) -> None:
        self.optimizers[name].zero_grad()
        loss.backward()
        self.optimizers[name].step()


def measure_training(cfg: DictConfig, device: torch.device) -> dict[str, Any]:
    """Time an iteration at `cfg.training.settings` in all forms and the matrix products; return plain values.

    At the first setting every lever is measured alone, at the others the plain and the tuned form only.
    """
    ceilings = measure_ceilings(device)
    rows = []
    for number, setting in enumerate(cfg.training.settings):
        size, batch_size = tuple(setting.size), int(setting.batch_size[device.type])
        forms = forms_of(cfg, device)
        if number:
            forms = {name: forms[name] for name in (PLAIN, TUNED)}
        flop = count_flop(cfg, size)
        iterations = {name: Iteration(cfg, form, size, batch_size, device) for name, form in forms.items()}
        peaks = {name: iteration.peak_bytes() for name, iteration in iterations.items()}
        timings = in_turns(iterations, setting.rounds, device, warm_up=False)
        measured = {}
        for name in forms:
            rate, ceiling = timings[name].rate(batch_size), ceilings[forms[name].precision]
            measured[name] = {
                "pairs_per_second": rate,
                "times_plain": timings[name].times(timings[PLAIN]),
                "gflop_per_second": rate[0] * flop / 1e9,
                "share_of_ceiling": rate[0] * flop / 1e9 / ceiling,
                "peak_bytes": peaks[name],
            }
        about = {"name": setting.name, "rounds": setting.rounds, "size": list(size), "batch_size": batch_size}
        rows.append(about | {"gflop_per_pair": flop / 1e9, "forms": measured})
    about = {"generator": {key: cfg.generator[key] for key in ("num_blocks", "width")}, "plain": cfg.plain.precision}
    about |= {"tuned": list(cfg.tuned[device.type]), "gflop_per_second_of_matrix_products": ceilings}
    return about | {"settings": rows}


def make_states(optimizer: Optimizer) -> None:
    """Have an optimizer make its states by a step without a gradient, which leaves the weights, and free gradients."""
    for weights in tensors_of([optimizer]):
        weights.grad = torch.zeros_like(weights) if weights.requires_grad else None
    optimizer.step()
    optimizer.zero_grad()


def measure_ceilings(device: torch.device) -> dict[str, float]:
    """Return GFLOP/s of products of large matrices by precision; on a GPU float32 is TF32, as in its convolutions."""
    size = PRODUCT_SIZE[device.type]
    dtypes = {"32-true": torch.float32, BFLOAT16: torch.bfloat16}
    matrices = {name: torch.rand(size, size, device=device).to(dtype) for name, dtype in dtypes.items()}
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if device.type == "cuda" else before)
    timings = in_turns({name: partial(torch.mm, m, m) for name, m in matrices.items()}, PRODUCT_ROUNDS, device)
    torch.set_float32_matmul_precision(before)
    return {name: timing.rate(1)[0] * 2 * size**3 / 1e9 for name, timing in timings.items()}


def draw_pair(batch_size: int, size: tuple[int, int], device: torch.device) -> PosePair:
    """Return pose pairs drawn evenly."""
    images = (torch.rand(batch_size, 3, *size, device=device) * 2 - 1 for _ in range(2))
    source, target = (torch.rand(batch_size, 18, *size, device=device) for _ in range(2))
    return PosePair(next(images), source, target, next(images))


def count_flop(cfg: DictConfig, size: tuple[int, int]) -> int:
    """Count an iteration's operations for one pair: a multiplication and an addition are 2."""
    return count_iteration(cfg, size).get_total_flops()


def count_iteration(cfg: DictConfig, size: tuple[int, int]) -> FlopCounterMode:
    """Count an iteration's operations for one pair, operator by operator.

    Gradients that nothing uses are not counted, and D is made once.
    """
    meta = torch.device("meta")
    with meta:
        module = build_module(in_form(cfg, form_with(cfg, ["frozen_discriminators"])))
    with FlopCounterMode(display=False) as counter:
        module.iterate(draw_pair(1, size, meta), lambda name, loss: loss.backward())
    return counter


def as_markdown(results: Mapping[str, Any]) -> str:
    """Write the forms of each setting as a Markdown table."""
    ceilings = results["gflop_per_second_of_matrix_products"]
    lines = [
        "Products of large matrices: "
        + ", ".join(f"{value:,.0f} GFLOP/s in {NAMES[precision]}" for precision, value in ceilings.items())
        + ". {num_blocks} blocks, width {width}. ".format(**results["generator"])
        + f"Plain: {NAMES[results['plain']]}. Tuned: {', '.join(results['tuned'])}. The other forms are plain but for "
        "what they are named after. Times plain is taken round by round.",
    ]
    for setting in results["settings"]:
        size = "x".join(map(str, setting["size"]))
        lines += [
            "",
            f"{setting['name']}, {size}, {setting['batch_size']} pairs an iteration, "
            f"{setting['gflop_per_pair']:.1f} GFLOP a pair; median of {setting['rounds']} rounds [quartiles]:",
            "",
            "| form | pairs/s | times plain | GFLOP/s | of the products' | peak memory, GiB |",
            "| --- | ---: | ---: | ---: | ---: | ---: |",
        ]
        for name, form in setting["forms"].items():
            lines.append(
                "| {} | {:.3g} [{:.3g}, {:.3g}] | {:.2f} [{:.2f}, {:.2f}] | {:,.0f} | {:.0%} | {:.2f} |".format(
                    name.replace("_", " "),
                    *form["pairs_per_second"],
                    *form["times_plain"],
                    form["gflop_per_second"],
                    form["share_of_ceiling"],
                    form["peak_bytes"] / 2**30,
                )
            )
    return "\n".join(lines)
