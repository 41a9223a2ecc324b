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
DEFAULT_MODEL = "warp-64x32"  # of MODELS
KEYS = {"format", "generator", "heatmaps", "image_size", "averaged", "weights_sha256"}
DTYPES = {"float32": torch.float32, "float16": torch.float16}


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
    """Write the weights of a generator as safetensors, in float32 or float16. Raises ValueError for another dtype."""
    if dtype not in DTYPES:
        raise ValueError(f"dtype: expected {' or '.join(DTYPES)}, got {quoted(dtype)}")
    tensors = {name: tensor.detach().cpu().to(DTYPES[dtype]).contiguous() for name, tensor in weights.items()}
    with atomic_write(path) as temporary:
        # Not by save_file, whose errors of a full disk are no OSError.
        temporary.write_bytes(save(tensors, metadata={"format": "pt"}))


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the weights of a package, in float32.

    Raises ValueError, naming the file, if it is damaged or has a tensor of another dtype than float32 and float16.
    """
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: expected weights in safetensors, got: {error}") from None
    for name, tensor in weights.items():
        if tensor.dtype not in DTYPES.values():
            got = str(tensor.dtype).removeprefix("torch.")
            raise ValueError(f"{path}: {name}: expected {' or '.join(DTYPES)}, got {got}")
    return {name: tensor.float() for name, tensor in weights.items()}
