"""How commands print the numbers of an evaluation."""

from typing import Any


def print_scores(content: dict[str, Any]) -> None:
    """Print the values of `metrics.json` with their 95 % intervals, an Inception Score's spread over its splits too."""
    for entry in content["values"]:
        interval = "[{:.4f}, {:.4f}]".format(*entry["interval"]) if entry["interval"] else ""
        name = f"{entry['metric']} ({entry['protocol']})"
        splits = f", {entry['splits_std']:.4f} over {entry['splits']} splits" if "splits_std" in entry else ""
        print(f"{name:>36}: {entry['value']:9.4f} {interval:>20}  n = {entry['n']}{splits}")
