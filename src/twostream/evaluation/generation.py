"""Checkpoint -> one PNG per test pair."""

from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from tqdm import tqdm

from twostream.build import build_generator
from twostream.callbacks.averaging import KEY as AVERAGED
from twostream.data.dataset import PairDataset, to_pose_pair, to_uint8
from twostream.data.pairs import Pair
from twostream.data.pose import Heatmaps
from twostream.files import atomic_write


def choose_device(name: str) -> torch.device:
    """Return a device by name; `auto` is the GPU if there is one, and `gpu` is Lightning's name of it."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device("cuda" if name == "gpu" else name)


def image_name(pair: Pair) -> str:
    """Return the file name of a pair's generated image."""
    source, target = (Path(name).stem for name in pair)
    return f"{source}_2_{target}.png"


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint onto the CPU, tensors and plain values only.

    Raises ValueError if the file is missing or not a checkpoint of this project.
    """
    if not path.is_file():
        raise ValueError(f"expected a checkpoint, there is none at {path}")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{path}: expected a whole checkpoint that torch can load safely, got: {error}") from error
    if not isinstance(checkpoint, dict) or not {"state_dict", "hyper_parameters", "global_step"} <= checkpoint.keys():
        raise ValueError(f"{path}: expected a checkpoint of twostream-train")
    return checkpoint


def load_generator(
    checkpoint: dict[str, Any], device: torch.device, averaged: bool = False
) -> tuple[torch.nn.Module, DictConfig]:
    """Build a checkpoint's generator with its weights or their average, without dropout; return the config too."""
    config = OmegaConf.create(checkpoint["hyper_parameters"])
    generator = build_generator(config)
    prefix = "generator."
    weights = {
        key.removeprefix(prefix): value for key, value in checkpoint["state_dict"].items() if key.startswith(prefix)
    }
    generator.load_state_dict(checkpoint[AVERAGED] if averaged else weights)
    return generator.to(device).eval(), config


@torch.inference_mode()
def generate(
    generator: torch.nn.Module,
    dataset: PairDataset,
    heatmaps: Heatmaps,
    folder: Path,
    device: torch.device,
    batch_size: int,
) -> None:
    """Write the generated image of every pair to `folder` as PNG, except those that exist."""
    folder.mkdir(parents=True, exist_ok=True)
    todo = [i for i, pair in enumerate(dataset.pairs) if not (folder / image_name(pair)).exists()]
    with tqdm(total=len(dataset), initial=len(dataset) - len(todo), desc="Generate", unit="image") as bar:
        for start in range(0, len(todo), batch_size):
            indices = todo[start : start + batch_size]
            pair = to_pose_pair(dataset.batch(indices).to(device), heatmaps)
            generated = generator(pair.source_image, pair.source_heatmaps, pair.target_heatmaps)
            for index, image in zip(indices, to_uint8(generated).permute(0, 2, 3, 1).cpu().numpy(), strict=True):
                with atomic_write(folder / image_name(dataset.pairs[index])) as temporary:
                    Image.fromarray(image).save(temporary)
            bar.update(len(indices))
