"""A model package: the generator of a run as a folder to share, with a config, weights, a model card and ONNX."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from twostream.files import atomic_write, quoted, read_json, sha256_of

CONFIG, WEIGHTS, ONNX, CARD = "config.json", "model.safetensors", "model.onnx", "README.md"
FORMAT = 1  # of config.json
MODELS = Path(__file__).parent / "models"
DEFAULT_MODEL = "warp-128x64"  # of MODELS
KEYS = {"format", "generator", "heatmaps", "image_size", "averaged", "weights_sha256"}
DTYPES = {"float32": torch.float32, "float16": torch.float16, "int8": torch.int8}
SCALE = ".scale"  # ends the name of the scales of a tensor in int8
INT8_MAX, TINY = 127, 1e-30


def packaged_models() -> list[str]:
    """Return the names of the models that come with the package."""
    return sorted(path.name for path in MODELS.iterdir() if is_package(path))


def find_model(model: str | Path) -> Path:
    """Return the path of a model: a file or folder, or else the name of one that comes with the package.

    Raises ValueError for another name.
    """
    path = Path(model)
    if path.exists():
        return path
    if str(model) in packaged_models():
        return MODELS / str(model)
    names = ", ".join(packaged_models())
    raise ValueError(f"model: expected a model package, a run, a checkpoint or one of {names}, got {str(model)!r}")


def is_package(folder: Path) -> bool:
    """Whether a folder holds a model package."""
    return (folder / WEIGHTS).is_file()


def read_config(folder: Path) -> dict[str, Any]:
    """Read a package's `config.json`: names of registered options and plain values.

    Raises ValueError, naming the file, if it is missing, of another format or belongs to other weights.
    """
    path = folder / CONFIG
    config = read_json(path)
    if not isinstance(config, dict) or not config.keys() >= KEYS or config["format"] != FORMAT:
        raise ValueError(f"{path}: expected the config of a model package of format {FORMAT}, from twostream-export")
    read_image_size(config, str(path))
    if (got := sha256_of(folder / WEIGHTS)) != config["weights_sha256"]:
        expected = quoted(config["weights_sha256"])
        raise ValueError(f"{folder / WEIGHTS}: expected the SHA-256 {expected} of {CONFIG}, got {got}")
    return config


def read_image_size(config: object, where: str) -> tuple[int, int]:
    """Return the `image_size` of a config, height and width in pixels. Raises ValueError that begins with `where`."""
    size = config.get("image_size") if isinstance(config, Mapping) else None
    if not (isinstance(size, Sequence) and len(size) == 2 and all(type(side) is int and side > 0 for side in size)):
        raise ValueError(f"{where}: image_size: expected [height, width] in pixels, got {quoted(size)}")
    return size[0], size[1]


def write_weights(path: Path, weights: Mapping[str, Tensor], dtype: str) -> None:
    """Write the weights of a generator as safetensors, in one of DTYPES. Raises ValueError for another dtype.

    In int8 a weight with more than one axis is stored as integers and a scale for each row of its first axis,
    `NAME.scale` in float32; biases are in float16. Buffers of integers, such as counts, stay as they are.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype: expected {' or '.join(DTYPES)}, got {quoted(dtype)}")
    # Copies, as modules may share a weight.
    copies = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in weights.items()
    }
    counts = {name: tensor for name, tensor in copies.items() if not tensor.is_floating_point()}
    tensors = {name: tensor for name, tensor in copies.items() if name not in counts}
    if dtype == "int8":
        matrices = {name: tensor for name, tensor in tensors.items() if tensor.ndim > 1}
        scales = {name: tensor.abs().flatten(1).amax(1) / INT8_MAX for name, tensor in matrices.items()}
        tensors = {name: tensor.half() for name, tensor in tensors.items()}
        for name, scale in scales.items():
            tensors[name] = _rows_times(matrices[name], 1 / scale.clamp_min(TINY)).round().to(torch.int8)
            tensors[name + SCALE] = scale
    else:
        tensors = {name: tensor.to(DTYPES[dtype]) for name, tensor in tensors.items()}
    with atomic_write(path) as temporary:
        # Not by save_file, whose errors of a full disk are no OSError.
        temporary.write_bytes(save(tensors | counts, metadata={"format": "pt"}))


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the weights of a package, in float32.

    Counts in int64 stay as they are. Raises ValueError, naming the file, if it is damaged, has a tensor of another
    dtype than DTYPES, or integers without a scale for each row.
    """
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: expected weights in safetensors, got: {error}") from None
    read = {}
    for name, tensor in weights.items():
        if tensor.dtype == torch.int64:
            read[name] = tensor
            continue
        if tensor.dtype not in DTYPES.values():
            got = str(tensor.dtype).removeprefix("torch.")
            raise ValueError(f"{path}: {name}: expected {' or '.join(DTYPES)}, got {got}")
        if tensor.dtype == torch.int8:
            scale = weights.get(name + SCALE)
            if scale is None or scale.shape != tensor.shape[:1] or scale.dtype == torch.int8:
                got = "none" if scale is None else f"{scale.dtype} of {tuple(scale.shape)}"
                raise ValueError(f"{path}: {name}{SCALE}: expected a scale for each row of {name}, got {got}")
            read[name] = _rows_times(tensor.float(), scale.float())
        elif weights.get(name.removesuffix(SCALE), tensor).dtype != torch.int8:
            read[name] = tensor.float()
    return read


def _rows_times(tensor: Tensor, factors: Tensor) -> Tensor:
    """Multiply each row of the first axis with its factor."""
    return tensor * factors.reshape(-1, *[1] * (tensor.ndim - 1))
