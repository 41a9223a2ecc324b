"""Every command that writes files, with arguments for a folder in which it has all that it reads."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch

from commands import QUIET, SECONDS
from onnx_models import save_rtmpose
from tiny_run import leaves, overrides_of_tiny_run, tiny_people

RUN = "runs/synthetic/smoke/full/seed0"
RUNS = "runs=runs/synthetic/smoke"
POSE = "pose_estimator.pose_weights=pose.onnx"
METRICS = ("scoring.metrics=[ssim,psnr]", "scoring.batch_size=1")
# The data are named relative to the folder, so that copies of it have data of their own.
TRAIN = (
    *overrides_of_tiny_run(Path("data")),
    *METRICS,
    "trainer.val_check_interval=4",
    "schedule.constant_iterations=6",
)
# Files that tell when a run was killed, resumed and how fast it was, when data were written, and where a sweep is.
HISTORY = (
    ".verified.json",
    "multirun.yaml",
    "run.json",
    "train.log",
    "metrics.csv",
    "previous.ckpt",
    "checkpoint.sha256",
    "changes.diff",
)
PARTS = ("iteration", "state_dict", "optimizer_states", "lr_schedulers", "averaged_generator", "processes", "best")


@dataclass(frozen=True)
class Writer:
    """A command as `twostream-<command>` is called in a copy of `make_folder`'s folder."""

    name: str
    command: str
    arguments: tuple[str, ...]

    def start(
        self, folder: Path, output: IO[str] | None = None, inside: Sequence[str] = (), **environment: str
    ) -> subprocess.Popen[str]:
        """Start the command in a folder, within another command; its output goes to a file, without one to a pipe."""
        code = f"from twostream.cli.main import run; run({self.command!r})"
        return subprocess.Popen(
            [*inside, sys.executable, "-c", code, *self.arguments],
            cwd=folder,
            # matplotlib writes this date into a PDF.
            env={**os.environ, **QUIET, "SOURCE_DATE_EPOCH": "0", **environment},
            text=True,
            stdout=output or subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )


WRITERS = (
    Writer("train", "train", (*TRAIN, "variant=again")),
    Writer("sweep", "train", ("-m", *TRAIN, "variant=rate${generator.dropout}", "generator.dropout=0.5,0.25")),
    Writer("evaluate", "evaluate", (f"run={RUN}", "device=cpu", "split=val", *METRICS)),
    Writer("score", "score", (f"images={RUN}/images", "targets=people", "metrics=[ssim,psnr]", "scoring.batch_size=1")),
    Writer("table", "table", (RUNS, "specs=[experiments/table3_at_module.yaml]")),
    Writer("figure", "figure", (RUNS, "specs=[experiments/figure4.yaml]")),
    Writer("report", "report", (RUNS, "specs=[experiments/table3_at_module.yaml]", "figures=[]")),
    Writer("export", "export", (f"run={RUN}", "out=package", "onnx=false")),
    Writer("generate", "generate", ("source=people", "joints=joints.csv", "pose=walk", f"model={RUN}", "device=cpu")),
    Writer("prepare", "prepare", ("data=own", "source=photos", POSE)),
    Writer("annotate", "annotate", ("images=people", "out=annotation.csv", POSE)),
)


def make_folder(folder: Path) -> Path:
    """Return a folder with an evaluated run, people with their joints, photos of people and a pose estimator."""
    people = tiny_people().prepare(folder / "data")
    shutil.copytree(people / "test", folder / "people")
    shutil.copy(people / "annotation-test.csv", folder / "joints.csv")
    for path in (people / "train").iterdir():
        person = folder / "photos" / path.name[:4]
        person.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, person)
    save_rtmpose(folder / "pose.onnx", {joint: (8 + joint, 6 + 3 * joint) for joint in range(17)})
    process = Writer("run", "train", (*TRAIN, "variant=full")).start(folder)
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, output
    return folder


def content_of(folder: Path) -> dict[str, bytes]:
    """Return what all files of a folder hold, hidden ones too, but for empty locks and `HISTORY`."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name not in HISTORY and path.stat().st_size]
    read = {"metrics.json": evaluated, "last.ckpt": trained, "best.ckpt": trained}
    return {path.relative_to(folder).as_posix(): read.get(path.name, Path.read_bytes)(path) for path in paths}


def evaluated(path: Path) -> bytes:
    """Return what a `metrics.json` holds, without when its run was resumed."""
    content = json.loads(path.read_text())
    content.get("run", {}).pop("resumed", None)
    return json.dumps(content).encode()


def trained(path: Path) -> bytes:
    """Return the bytes of all that a checkpoint holds of its training, without times."""
    checkpoint = torch.load(path, weights_only=True)
    parts = {name: checkpoint.get(name) for name in PARTS}
    values = [(name, leaf.numpy() if isinstance(leaf, torch.Tensor) else leaf) for name, leaf in leaves(parts)]
    return pickle.dumps([(name, leaf.tobytes() if isinstance(leaf, np.ndarray) else leaf) for name, leaf in values])
