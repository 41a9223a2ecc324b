"""How time and memory of a training iteration grow with blocks, positions and width."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from twostream.benchmark.forms import ATTENTION, form_with
from twostream.benchmark.timing import in_turns
from twostream.benchmark.training import Iteration

LINES = {"2s-ATN": ("two_stream", True), "2s-ATN, D built": ("two_stream", False), "PATN": ("patn", True)}
"""Name of a line -> the generator, and whether its attention never builds D."""


def measure_growth(cfg: DictConfig, device: torch.device) -> dict[str, Any]:
    """Time tuned iterations along `cfg.growth.axes`, each beginning at `cfg.growth.start`; return plain values.

    All networks at one point are timed in turns.
    """
    # The start lies on every axis.
    known: dict[str, dict[str, Any]] = {}
    axes = [
        {"name": name, "unit": axis.unit, **measure_axis(cfg, axis, device, known)}
        for name, axis in cfg.growth.axes.items()
    ]
    start, rounds = OmegaConf.to_container(cfg.growth.start), cfg.growth.rounds
    return {"rounds": rounds, "tuned": list(cfg.tuned[device.type]), "start": start, "axes": axes}


def measure_axis(
    cfg: DictConfig, axis: DictConfig, device: torch.device, known: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """Time iterations at the points of an axis; return the points' values and what each line has there.

    A point that is `known` is not measured again; one that is measured is added to them.
    """
    values = []
    lines: dict[str, dict[str, list[Any]]] = {name: {"seconds": [], "peak_bytes": []} for name in LINES}
    for changes in axis.points[device.type]:
        point = OmegaConf.merge(cfg.growth.start, changes)
        assert isinstance(point, DictConfig)
        if str(point) not in known:
            known[str(point)] = measure_point(cfg, point, device)
        for name, measured in known[str(point)].items():
            for key, value in measured.items():
                lines[name][key].append(value)
        height, width = point.size
        values.append(height * width // 16 if "size" in changes else next(iter(changes.values())))
    return {"values": values, "lines": lines}


def measure_point(cfg: DictConfig, point: DictConfig, device: torch.device) -> dict[str, dict[str, Any]]:
    """Time the iterations of all lines at a point in turns; return each line's seconds and bytes."""
    iterations = {name: iteration_at(cfg, point, *line, device) for name, line in LINES.items()}
    peaks = {name: iteration.peak_bytes() for name, iteration in iterations.items()}
    timings = in_turns(iterations, cfg.growth.rounds, device, warm_up=False)
    return {name: {"seconds": timings[name].lasts(), "peak_bytes": peaks[name]} for name in LINES}


def iteration_at(
    cfg: DictConfig, point: DictConfig, generator: str, without_d: bool, device: torch.device
) -> Iteration:
    """Build the iteration of a generator at a point: `size`, `num_blocks`, `width` and `batch_size`."""
    levers = [name for name in cfg.tuned[device.type] if without_d or name != ATTENTION]
    changed = cfg.copy()
    changed.generator = cfg.generators[generator]
    changed.generator.num_blocks, changed.generator.width = point.num_blocks, point.width
    batch_size = int(point.batch_size[device.type])
    return Iteration(changed, form_with(cfg, levers), tuple(point.size), batch_size, device)


def as_markdown(results: Mapping[str, Any]) -> str:
    """Write a table an axis: milliseconds and GiB of each line."""
    start = results["start"]
    lines = [
        f"A training iteration, tuned ({', '.join(results['tuned'])}); "
        f"{'x'.join(map(str, start['size']))}, {start['num_blocks']} blocks, width {start['width']}, "
        "but for what grows.",
    ]
    for axis in results["axes"]:
        lines += [
            "",
            f"| {axis['name']} | " + " | ".join(f"{name}, ms | GiB" for name in axis["lines"]) + " |",
            "| ---: |" + " ---: | ---: |" * len(axis["lines"]),
        ]
        for index, value in enumerate(axis["values"]):
            cells = [
                "{:,.0f} [{:,.0f}, {:,.0f}] | {:.2f}".format(
                    *(1000 * seconds for seconds in line["seconds"][index]), line["peak_bytes"][index] / 2**30
                )
                for line in axis["lines"].values()
            ]
            lines.append(f"| {value} | {' | '.join(cells)} |")
        powers = ", ".join(f"{name} {power(axis['values'], line):.2f}" for name, line in axis["lines"].items())
        lines += ["", f"The time grows with this power of {axis['name']}, from end to end: {powers}."]
    return "\n".join(lines)


def power(values: Sequence[float], line: Mapping[str, Any]) -> float:
    """Return the power of the values with which a line's time grows from the first to the last."""
    first, last = (line["seconds"][index][0] for index in (0, -1))
    return math.log(last / first) / math.log(values[-1] / values[0])
