"""Checkpoint -> one PNG per test pair."""

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn
from tqdm import tqdm

from twostream.callbacks.averaging import KEY as AVERAGED
from twostream.data.dataset import PairDataset, to_pose_pair, to_uint8
from twostream.data.pairs import Pair
from twostream.data.pose import Heatmaps
from twostream.files import atomic_write
from twostream.registry import build


def choose_device(name: str) -> torch.device:
    """Return a device by name; `auto` is the GPU if there is one, and `gpu` is Lightning's name of it."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device("cuda" if name == "gpu" else name)


def image_name(pair: Pair) -> str:
    """Return the file name of a pair's generated image."""
    source, target = (Path(name).stem for name in pair)
    return f"{source}_2_{target}.png"


def load_generator(checkpoint: dict[str, Any], device: torch.device, averaged: bool = False) -> nn.Module:
    """Build a checkpoint's generator with its weights or their average, in evaluation mode.

    Raises ValueError if the checkpoint describes something else than the registered options, see `twostream.registry`.
    """
    generator = build(checkpoint["hyper_parameters"]["generator"], "generator")
    prefix = "generator."
    weights = {
        key.removeprefix(prefix): value for key, value in checkpoint["state_dict"].items() if key.startswith(prefix)
    }
    generator.load_state_dict(checkpoint[AVERAGED] if averaged else weights)
    return generator.to(device).eval()


@torch.inference_mode()
def generate(
    generator: nn.Module,
    dataset: PairDataset,
    heatmaps: Heatmaps,
    folder: Path,
    device: torch.device,
    batch_size: int,
) -> None:
    """Write the generated image of every pair to `folder` as PNG, except those that exist."""
    folder.mkdir(parents=True, exist_ok=True)
    todo = [i for i, pair in enumerate(dataset.pairs) if not (folder / image_name(pair)).exists()]
    with tqdm(total=len(dataset), initial=len(dataset) - len(todo), desc="Generate", unit="image", disable=None) as bar:
        for start in range(0, len(todo), batch_size):
            indices = todo[start : start + batch_size]
            pair = to_pose_pair(dataset.batch(indices).to(device), heatmaps)
            generated = generator(pair.source_image, pair.source_heatmaps, pair.target_heatmaps)
            for index, image in zip(indices, to_uint8(generated).permute(0, 2, 3, 1).cpu().numpy(), strict=True):
                with atomic_write(folder / image_name(dataset.pairs[index])) as temporary:
                    Image.fromarray(image).save(temporary)
            bar.update(len(indices))
