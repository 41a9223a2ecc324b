"""How commands print the numbers of an evaluation."""

from typing import Any


def print_scores(content: dict[str, Any]) -> None:
    """Print the values of `metrics.json` with their 95 % intervals."""
    for entry in content["values"]:
        interval = "[{:.4f}, {:.4f}]".format(*entry["interval"]) if entry["interval"] else ""
        name = f"{entry['metric']} ({entry['protocol']})"
        print(f"{name:>36}: {entry['value']:9.4f} {interval:>18}  n = {entry['n']}")
