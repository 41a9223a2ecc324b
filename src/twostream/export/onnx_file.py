"""A generator as an ONNX file, compared with PyTorch."""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from twostream.data.keypoints import NUM_JOINTS
from twostream.extras import require
from twostream.files import atomic_write
from twostream.inference import PoseTransfer
from twostream.nets.inspection import ExplainedGenerator, Inputs

OPSET = 18  # the first with Col2Im, which a warp needs
INPUT_NAMES = ("source_image", "source_heatmaps", "target_heatmaps")
BATCH_SIZES = (1, 2, 5)  # at which both are compared
TOLERANCE = 1e-4  # largest difference of values in [-1, 1]
SMALL = 256  # tensors of fewer values stay in float32 in a file of half precision


class Difference(NamedTuple):
    """Absolute differences of generated images in [-1, 1]."""

    largest: float
    mean: float


def require_onnx() -> None:
    """Raise ImportError, with the extra that has them, unless the packages that write ONNX files are installed."""
    require("ONNX files need", "export", "onnx", "onnxscript", "onnxruntime")


def random_inputs(model: PoseTransfer, batch_size: int, seed: int = 0) -> Inputs:
    """Return random images and the heatmaps of random joints."""
    random = torch.Generator().manual_seed(seed)
    size = torch.tensor(model.image_size)
    sources, targets = (torch.rand(batch_size, NUM_JOINTS, 2, generator=random) * size for _ in range(2))
    images = torch.rand(batch_size, 3, *model.image_size, generator=random) * 2 - 1
    return images, model.heatmaps(sources, model.image_size), model.heatmaps(targets, model.image_size)


def export_generator(path: Path, model: PoseTransfer, half: bool = False, explained: bool = False) -> Difference:
    """Write a model's generator as an ONNX file, for any batch size, and return how far its images are from PyTorch's.

    Args:
        path: of the file.
        model: on a CPU.
        half: store the weights in float16; inputs, outputs and arithmetic are float32 all the same, since few CPUs have
            another.
        explained: with the further outputs of `ExplainedGenerator`.

    Raises ValueError if the difference is more than `TOLERANCE`.

    """
    network = ExplainedGenerator(model.generator) if explained else model.generator
    names = network.output_names if isinstance(network, ExplainedGenerator) else ("image",)
    _write_onnx(path, network, random_inputs(model, 2), names, half)
    found = compare_with_pytorch(path, model)
    if found.largest > TOLERANCE:
        raise ValueError(f"{path.name}: expected PyTorch's images to {TOLERANCE}, got {found.largest:.2g}")
    return found


def _write_onnx(path: Path, network: nn.Module, inputs: Inputs, output_names: Sequence[str], half: bool) -> None:
    """Export a network by `torch.export`, for any batch size and the image size of `inputs`."""
    batch = torch.export.Dim("batch", min=1)
    for name in ("onnxscript", "onnx_ir"):  # they log every node that they simplify
        logging.getLogger(name).setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names and deprecations inside torch
        program = torch.onnx.export(
            network,
            inputs,
            input_names=INPUT_NAMES,
            output_names=output_names,
            opset_version=OPSET,
            dynamic_shapes=({0: batch},) * len(inputs),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    if half:
        _halve_weights(model)
    with atomic_write(path) as temporary:
        temporary.write_bytes(model.SerializeToString())


def compare_with_pytorch(path: Path, model: PoseTransfer) -> Difference:
    """Return how far onnxruntime's images are from PyTorch's, over several batch sizes."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    differences = []
    for seed, batch_size in enumerate(BATCH_SIZES):
        inputs = random_inputs(model, batch_size, seed)
        (images,) = session.run(
            ["image"], {name: array.numpy() for name, array in zip(INPUT_NAMES, inputs, strict=True)}
        )
        differences.append(difference(torch.from_numpy(images), model, inputs))
    return Difference(max(one.largest for one in differences), float(np.mean([one.mean for one in differences])))


@torch.inference_mode()
def difference(images: Tensor, model: PoseTransfer, inputs: Inputs) -> Difference:
    """Return how far images are from those of a model's generator."""
    absolute = (images - model.generator(*inputs)).abs()
    return Difference(absolute.max().item(), absolute.mean().item())


def _halve_weights(model: Any) -> None:
    """Store a model's large weights in float16, each with a cast to float32 in front of the graph."""
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) >= SMALL:
            name, half = tensor.name, numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.float16"))
            casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
