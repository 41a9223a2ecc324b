"""The forms in which networks are measured: plain, with one lever, and tuned."""

from collections.abc import Sequence
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

PLAIN, TUNED = "plain", "tuned"
ATTENTION = "attention"
"""The lever that leaves D unbuilt."""
BFLOAT16 = "bf16-mixed"
NETS = {"two_stream": "2s-ATN", "patn": "PATN"}
FORMS = {ATTENTION: "without D"}
"""What tables and plots call the networks and forms."""


def form_with(cfg: DictConfig, levers: Sequence[str]) -> DictConfig:
    """Return `cfg.plain` with some of `cfg.levers`: `precision`, `at_module` and `speed`.

    Raises ValueError for a lever that there is not.
    """
    if unknown := set(levers) - cfg.levers.keys():
        raise ValueError(f"levers: expected some of {', '.join(cfg.levers)}, got {', '.join(sorted(unknown))}")
    form = OmegaConf.merge(cfg.plain, *(cfg.levers[name] for name in levers))
    assert isinstance(form, DictConfig)
    return form


def shown(name: str) -> str:
    """Name a network in a form."""
    net, form = name.split()
    return f"{NETS[net]} {FORMS.get(form, form)}"


def tuned_form(cfg: DictConfig, device: torch.device) -> DictConfig:
    """Return the form with all levers that pay on a kind of device, `cfg.tuned`."""
    return form_with(cfg, cfg.tuned[device.type])


def forms_of(cfg: DictConfig, device: torch.device) -> dict[str, DictConfig]:
    """Return the plain form, the one of each lever of `cfg.measured` alone, and the tuned one, by name."""
    alone = {name: form_with(cfg, [name]) for name in cfg.measured[device.type]}
    return {PLAIN: form_with(cfg, []), **alone, TUNED: tuned_form(cfg, device)}


def with_at_module(generator: DictConfig, form: DictConfig) -> DictConfig:
    """Return the node of a generator with the AT-module of a form; one that has none is left as it is."""
    if "at_module" not in generator:
        return generator
    changed = generator.copy()
    changed.at_module = form.at_module
    return changed


def in_form(cfg: DictConfig, form: DictConfig) -> DictConfig:
    """Return a run's config with its generator and speed in a form."""
    changed = cfg.copy()
    changed.generator, changed.performance = with_at_module(cfg.generator, form), form.performance
    return changed


def autocast(form: DictConfig, device: torch.device) -> torch.autocast:
    """Return the context of a form's precision, as the trainer enters it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=form.precision == BFLOAT16, cache_enabled=False)


class Generating(nn.Module):
    """A generator in a form, called with what the generator is called with."""

    def __init__(self, generator: DictConfig, form: DictConfig, device: torch.device) -> None:
        super().__init__()
        self.form, self.device = form, device
        self.performance = instantiate(form.performance)
        self.net: nn.Module = instantiate(with_at_module(generator, form)).to(device).eval()
        self.performance.prepare([self.net], [])
        if form.precision == BFLOAT16:
            # The weights stay: rounded once here, they are not at every picture, which autocast would do.
            for module in self.net.modules():
                if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                    module.to(torch.bfloat16)

    def forward(self, *inputs: torch.Tensor) -> Any:
        """Return a generated batch."""
        with autocast(self.form, self.device), self.performance.compiled():
            return self.net(*self.performance.lay_out(inputs))
