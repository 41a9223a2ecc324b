"""Every reader of the project with a valid input and how it is damaged."""

import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from attack.callables import call_in_checkpoint, call_in_json, call_in_yaml, write_pickle
from attack.mutations import change_bytes, change_image, change_json, change_lines, change_value, change_yaml
from tiny_run import compose_config
from twostream.build import build_datamodule, build_module, check
from twostream.cli.generate import note_settings
from twostream.cli.options import check_options
from twostream.data.images import read_image
from twostream.data.keypoints import JointFrame, read_annotations
from twostream.data.pairs import read_pairs
from twostream.data.pose_files import read_poses
from twostream.data.pose_sources import find_poses
from twostream.data.videos import read_video, write_video
from twostream.demo.service import DemoService
from twostream.evaluation.run_evaluation import generate_run
from twostream.inference import PoseTransfer
from twostream.loggers.curve_csv import read_curves
from twostream.prepare.sources import Source
from twostream.report.figures import load_figure
from twostream.runs import read_run
from twostream.tables import results
from twostream.tables.render import write_tables
from twostream.weights import load_state

Change = Callable[[bytes, np.random.Generator], bytes]


@dataclass
class Reader:
    """Something that reads a file, or a request, from outside.

    `read` gets the path of a damaged copy of `path` in place of it, or bytes if there is no path. With `is_sealed` a
    damaged file must never be accepted, since a hash or a checksum tells. What is damaged may say that the file
    `canary` be written; it must not be.
    """

    name: str
    content: bytes
    changes: tuple[Change, ...]
    read: Callable[[Any], Any]
    path: Path | None = None
    is_sealed: bool = False
    canary: Path | None = None


def readers(run: Path, package: Path, people: Path, spec: Path) -> list[Reader]:
    """Return all readers, given an evaluated run, its package, a folder of synthetic people and the spec of a table."""

    def write_table(path: Path) -> None:
        write_tables(results.collect_all([path], run.parents[1], [0]), scratch / "tables")

    def load(path: Path) -> None:
        PoseTransfer.load(path if path.suffix == ".ckpt" else path.parent, "cpu")

    def read_folder(path: Path) -> None:
        find_poses(str(path.parent), (32, 16))

    def read_zip(path: Path) -> None:
        source = Source(path)
        for name in source.sizes:
            source.read(name)

    def evaluate(path: Path) -> None:
        generate_run(run, torch.device("cpu"), 2)

    scratch, last, weights = package.parent, run / "checkpoints/last.ckpt", package / "model.safetensors"
    image = next((people / "test").iterdir())
    files = write_files(scratch, image)
    frame = JointFrame(height=None, width=16)
    lines, values = (change_lines, change_bytes), (change_json, change_bytes)
    listed: list[tuple[str, Path, tuple[Change, ...], Callable[[Path], Any]]] = [
        ("annotations", people / "annotation-test.csv", lines, lambda path: read_annotations(path, frame)),
        ("pairs", people / "pairs-test.csv", lines, read_pairs),
        ("image, JPEG", image, (change_bytes,), read_image),
        ("image, PNG", files["photo.png"], (change_bytes,), read_image),
        ("image, other modes", files["photo.png"], (change_image,), read_image),
        ("video", files["walk.gif"], (change_bytes,), lambda path: list(read_video(path))),
        ("zip of a data set", files["source.zip"], (change_bytes,), read_zip),
        ("checkpoint, bytes", last, (change_bytes,), load),
        ("checkpoint, values", last, (lambda _, rng: changed_checkpoint(run, rng),), load),
        ("weight file", files["weights.pth"], (change_bytes,), load_state),
        ("model package, config", package / "config.json", values, load),
        ("pose file", files["pose.json"], values, read_poses),
        ("poses of COCO", files["coco.json"], values, read_poses),
        ("folder of pose files", files["poses/2.json"], values, read_folder),
        ("settings of generate", files["settings.json"], values, lambda path: note_settings([image], path.parent, {})),
        ("curves", run / "logs/metrics.csv", lines, read_curves),
        ("run.json", run / "run.json", values, lambda path: read_run(path.parent)),
        ("metrics.json", run / "metrics.json", values, lambda path: results.read_run(path.parent)),
        ("bootstrap.json", run / "bootstrap.json", values, lambda path: results.read_run(path.parent)),
        ("manifest", people / "manifest.json", values, evaluate),
        ("spec of a table", spec, lines, write_table),
        ("spec of a table, bombs", spec, (change_yaml,), write_table),
        ("spec of a figure, bombs", spec.with_name("figure4.yaml"), (change_yaml, change_lines), load_figure),
    ]
    return [
        *(Reader(name, path.read_bytes(), changes, read, path) for name, path, changes, read in listed),
        Reader("model package, weights", weights.read_bytes(), (change_bytes,), load, weights, is_sealed=True),
        *demo_readers(package, files["photo.png"].read_bytes()),
        Reader("options", b"", (lambda _, rng: override(rng),), check_override),
        *readers_of_callables(scratch, listed),
    ]


def readers_of_callables(folder: Path, listed: Sequence[tuple[str, Path, Any, Callable[[Path], Any]]]) -> list[Reader]:
    """Return the readers of files that could name what is called, whose changes name what writes a canary."""
    canary, pickled = folder / "canary", folder / "calls.pkl"
    write_pickle(pickled, canary)
    changes = {
        "checkpoint, values": call_in_checkpoint,
        "weight file": call_in_checkpoint,
        "model package, config": call_in_json,
        "run.json": call_in_json,
        "metrics.json": call_in_json,
        "manifest": call_in_json,
        "spec of a table": call_in_yaml,
        "spec of a figure, bombs": call_in_yaml,
    }

    def calling(change: Callable[..., bytes]) -> Change:
        return lambda content, rng: change(content, canary, pickled, rng)

    return [
        Reader(
            f"{name.partition(',')[0]}, callables",
            path.read_bytes(),
            (calling(changes[name]),),
            read,
            path,
            canary=canary,
        )
        for name, path, _, read in listed
        if name in changes
    ]


def write_files(folder: Path, image: Path) -> dict[str, Path]:
    """Write a photo, a video, poses, weights and a zip with an image to a folder; return their paths by name."""
    names = (
        "photo.png",
        "walk.gif",
        "pose.json",
        "coco.json",
        "poses/2.json",
        "weights.pth",
        "source.zip",
        "settings.json",
    )
    paths = {name: folder / name for name in names}
    Image.new("RGB", (16, 32), (9, 99, 200)).save(paths["photo.png"])
    write_video(paths["walk.gif"], [np.full((32, 16, 3), value, np.uint8) for value in (0, 99)], 10)
    keypoints = [float(number) for number in range(1, 55)]
    pose = json.dumps({"people": [{"pose_keypoints_2d": keypoints}]})
    paths["poses/2.json"].parent.mkdir()
    for path in (paths["pose.json"], folder / "poses/1.json", paths["poses/2.json"]):
        path.write_text(pose)
    paths["coco.json"].write_text(json.dumps({"annotations": [{"keypoints": keypoints[:51]}] * 2}))
    paths["settings.json"].write_text(json.dumps({image.name: {}}))
    torch.save({"a": torch.ones(3)}, paths["weights.pth"])
    with zipfile.ZipFile(paths["source.zip"], "w", zipfile.ZIP_DEFLATED) as packed:
        packed.write(image, f"bounding_box_train/{image.name}")
    return paths


def changed_checkpoint(run: Path, rng: np.random.Generator) -> bytes:
    """Return a checkpoint of which a value is of another type."""
    checkpoint = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    file = BytesIO()
    torch.save(change_value(checkpoint, rng), file)
    return file.getvalue()


def demo_readers(package: Path, photo: bytes) -> list[Reader]:
    """Return what the demo's server is sent."""
    service = DemoService({"model": PoseTransfer.load(package, "cpu")})
    person = service.content["people"][0]
    joints = {"source_joints": person["joints"], "target_joints": person["joints"]}
    request = {"models": ["model"], "image": person["image"], **joints}
    return [
        Reader("demo, upload", photo, (change_bytes,), service.photo),
        Reader("demo, request", json.dumps(request).encode(), (change_json, change_bytes), service.generate),
    ]


KEYS = (
    *("seed", "evaluate", "resume", "deterministic", "trainer.val_check_interval", "schedule.learning_rate"),
    *("data.batch_size", "data.image_size", "data.joint_size", "data.num_val_pairs", "data.cache", "loss.l1_weight"),
    *("generator.width", "generator.dropout", "generator.num_blocks", "schedule.decay_iterations", "scoring.metrics"),
)
VALUES = (
    *("null", "abc", "1.5", "-1", "nan", "inf", "[]", "[a]", "{}", "{a:1}", "true", "1e400", "''", "0", "64", "[64]"),
    *("[64,32]", "1", "0.5", "cpu", "./x", "'${seed}'"),
)


def override(rng: np.random.Generator) -> bytes:
    """Return a random override of an option of training."""
    return f"{KEYS[rng.integers(len(KEYS))]}={VALUES[rng.integers(len(VALUES))]}".encode()


def check_override(content: bytes) -> None:
    """Check an override as a command does when it starts, and build the model."""
    cfg = compose_config(
        "train", "run_dir=x", "variant=x", "loss/perceptual=random", "generator.width=4", content.decode()
    )
    check_options("train", cfg)
    check(cfg)
    build_datamodule(cfg)
    build_module(cfg)
