"""Reads back what W&B wrote offline."""

import json
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.util import get_core_path

OFFLINE = {"WANDB_MODE": "offline", "WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"}


@dataclass
class Written:
    """What is in one `.wandb` file."""

    run: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    artifacts: list[dict[str, Any]] = field(default_factory=list)
    exit_code: int | None = None


def written(run_dir: Path) -> list[Written]:
    """Return what was written for a run's folder, file by file as they were started."""
    files = sorted(run_dir.glob("wandb/offline-run-*/run-*.wandb"))
    return [_read(file) for file in sorted(files, key=lambda file: file.stat().st_mtime_ns)]


def _read(file: Path) -> Written:
    # What `wandb leet inspect --json` calls, which itself takes seconds to start.
    command = [get_core_path(), "leet", "inspect", "--no-observability", "--json", "--run-file", str(file)]
    # A run that has just finished may not be on the disk yet.
    for _ in range(20):
        done = subprocess.run([*command, str(file.parents[1])], capture_output=True, text=True, check=True)
        if '"type":"exit"' in done.stdout.replace(" ", ""):
            break
        time.sleep(0.5)
    found = Written()
    for line in done.stdout.splitlines():
        record = json.loads(line)
        content = record.get(record["type"], {})
        match record["type"]:
            case "run":
                found.run = content
                found.config |= content.get("config", {}).get("update", {})
            case "config":
                found.config |= content.get("update", {})
            case "summary":
                found.summary |= content.get("update", {})
            case "history":
                found.history.append(content["item"])
            case "metric":
                found.metrics.append(content)
            case "artifact":
                found.artifacts.append(content)
            case "exit":
                found.exit_code = content.get("exit_code", 0)
    return found
