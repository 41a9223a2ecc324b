"""A finished run -> a model package."""

import shutil
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from jinja2 import Environment, StrictUndefined

from twostream import inference, model_package
from twostream.data.keypoints import JOINT_NAMES
from twostream.export import onnx_file
from twostream.files import first_lines, replace_folder, sha256_of, write_json, write_text
from twostream.inference import PoseTransfer
from twostream.metrics.surrogate import is_synthetic
from twostream.registry import NAME, build
from twostream.resume import load_checkpoint
from twostream.runs import SPLITS, read_provenance
from twostream.tables.results import Run, read_run

EXAMPLES = "examples.png"
METHODS = {"TwoStreamGenerator": "2s-ATN", "PATNGenerator": "PATN", "WarpGenerator": "Warp"}
PROVENANCE = (
    *("label", "scale", "variant", "seed", "iterations", "batch_size", "num_train_pairs", "data_hash"),
    *("commit", "dirty", "notes", "versions", "hardware"),
)


def export_run(run_dir: Path, out: Path, averaged: bool = False, dtype: str = "float32", onnx: bool = True) -> None:
    """Write the generator of a run as a model package.

    Args:
        run_dir: the folder of a trained run; the values of its evaluation, if there is one, go into the model card.
        out: folder of the package; one that exists is replaced.
        averaged: the averaged weights of a run with `averaging=ema`.
        dtype: of the weights, float32, float16 or int8.
        onnx: write an ONNX file too and compare it with PyTorch.

    Raises ImportError if a package for ONNX files is missing, ValueError if the run isn't trained, `out` is a folder
    of something else, or the ONNX file generates other images than PyTorch.

    """
    if onnx:
        onnx_file.require_onnx()
    with replace_folder(out, model_package.is_package, "a model package") as partial:
        _write(partial, run_dir, averaged, dtype, onnx)


def _write(folder: Path, run_dir: Path, averaged: bool, dtype: str, onnx: bool) -> None:
    checkpoint = load_checkpoint(run_dir / inference.CHECKPOINT)
    provenance = read_provenance(run_dir)
    trained = PoseTransfer.load(run_dir, "cpu", averaged)
    model_package.write_weights(folder / model_package.WEIGHTS, trained.generator.state_dict(), dtype)
    data = checkpoint["hyper_parameters"]["data"]
    config: dict[str, Any] = {
        "format": model_package.FORMAT,
        "method": METHODS.get(name := checkpoint["hyper_parameters"]["generator"][NAME], name),
        "generator": checkpoint["hyper_parameters"]["generator"],
        "heatmaps": data["heatmaps"],
        "data": {key: data[key] for key in ("source", "num_val_identities", "num_val_pairs")},
        "image_size": list(trained.image_size),
        "joints": list(JOINT_NAMES),
        "dtype": dtype,
        "weights_sha256": sha256_of(folder / model_package.WEIGHTS),
        "parameters": sum(parameter.numel() for parameter in trained.generator.parameters()),
        "averaged": averaged,
        "is_synthetic": is_synthetic(build(data["source"], "data.source")),
        "training": {key: provenance[key] for key in PROVENANCE if key in provenance},
        "evaluation": {split: _evaluation(run_dir, averaged, split) for split in SPLITS},
    }
    write_json(folder / model_package.CONFIG, config)
    packaged = PoseTransfer.load(folder, "cpu")
    inputs = onnx_file.random_inputs(trained, 2)
    with torch.inference_mode():
        rounding = onnx_file.difference(packaged.generator(*inputs), trained, inputs)
    config["rounding"] = rounding._asdict()
    if onnx:
        config["onnx"] = _write_onnx(folder / model_package.ONNX, packaged, dtype)
    write_json(folder / model_package.CONFIG, config)
    grid = run_dir / ("averaged/samples" if averaged else "samples") / "test.png"
    has_examples = grid.exists() and config["is_synthetic"]  # no real person is shown
    if has_examples:
        shutil.copyfile(grid, folder / EXAMPLES)
    write_text(folder / model_package.CARD, model_card(config, has_examples))


def _write_onnx(path: Path, model: PoseTransfer, dtype: str) -> dict[str, Any]:
    found = onnx_file.export_generator(path, model, half=dtype == "float16")
    return {
        "opset": onnx_file.OPSET,
        "inputs": list(onnx_file.INPUT_NAMES),
        "batch_sizes": list(onnx_file.BATCH_SIZES),
        **found._asdict(),
    }


def _evaluation(run_dir: Path, averaged: bool, split: str) -> dict[str, Any] | None:
    """Return the values of a run on a split, None without an evaluation."""
    folder = (run_dir / "averaged" if averaged else run_dir) / SPLITS[split]
    if not (folder / "metrics.json").exists():
        return None
    run: Run = read_run(folder)
    return {"identities": run.identities, "values": [asdict(value) for value in run.values]}


def model_card(config: dict[str, Any], has_examples: bool) -> str:
    """Return the README.md of a package: what the model is, what it was trained on, its values and its limits."""
    template = files("twostream.export").joinpath("model_card.md").read_text(encoding="utf-8")
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
    notes = first_lines(config["training"].get("notes", []))
    return environment.from_string(template).render(config, notes=notes, examples=EXAMPLES if has_examples else None)
