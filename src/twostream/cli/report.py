"""How commands print the values of an evaluation."""

from typing import Any


def print_scores(content: dict[str, Any]) -> None:
    """Print values with their 95 % intervals, and the deviation of an Inception Score over its splits."""
    for entry in content["values"]:
        interval = "[{:.4f}, {:.4f}]".format(*entry["interval"]) if entry["interval"] else ""
        name = f"{entry['metric']} ({entry['protocol']})"
        splits = f", {entry['splits_std']:.4f} over {entry['splits']} splits" if "splits_std" in entry else ""
        print(f"{name:>36}: {entry['value']:9.4f} {interval:>20}  n = {entry['n']}{splits}")
