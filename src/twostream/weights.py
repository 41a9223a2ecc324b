"""Published weight files of third-party networks: found or downloaded, verified by hash, loaded as tensors only."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import torch
from torch import Tensor

from twostream.files import sha256_of


class MissingWeightsError(ValueError):
    """A weight file is missing and can't be downloaded; the message says where to put it."""


@dataclass(frozen=True)
class WeightFile:
    """A published file."""

    name: str
    url: str
    sha256: str  # in hex, or as many leading digits as the publisher states


@dataclass(frozen=True)
class WeightStore:
    """A folder that holds weight files under their published names."""

    folder: Path | None = None  # None for the `checkpoints` folder of torch.hub
    download: bool = True  # download a missing file on first use

    def find(self, file: WeightFile) -> Path:
        """Return the path of a file, whose hash is verified on every call.

        Raises MissingWeightsError if it is missing and can't be downloaded, ValueError if its hash is wrong.
        """
        folder = Path(torch.hub.get_dir(), "checkpoints") if self.folder is None else self.folder
        path = folder / file.name
        advice = f"put it into {_display(folder)}, from {file.url}"
        if not path.is_file():
            if not self.download:
                raise MissingWeightsError(f"{file.name} is missing: {advice}")
            try:
                folder.mkdir(parents=True, exist_ok=True)
                torch.hub.download_url_to_file(file.url, str(path), file.sha256, progress=sys.stderr.isatty())
            except (OSError, HTTPException, RuntimeError) as error:
                raise MissingWeightsError(
                    f"{file.name} is missing and can't be downloaded ({error}): {advice}"
                ) from error
        digest = sha256_of(path)
        if not digest.startswith(file.sha256):
            raise ValueError(
                f"{_display(path)}: expected a SHA-256 that starts with {file.sha256}, got {digest}; "
                f"replace it by {file.url}"
            )
        return path


def load_state(path: Path) -> Mapping[str, Tensor]:
    """Load a state dict onto the CPU without executing code. Raises ValueError if the file holds none."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{path}: expected a state dict that torch can load safely, got: {error}") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path}: expected a state dict of tensors, got {type(state).__name__}")
    return state


def _display(path: Path) -> str:
    """Return a path with `~` for the home folder, because messages are stored in result files."""
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)
