"""Weight files of networks from elsewhere: where they lie, fetched once, checked by hash, loaded as tensors only."""

from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import torch
from torch import Tensor

from twostream.files import sha256_of


class MissingWeightsError(ValueError):
    """A weight file can't be had; the message names it and says where to put it."""


@dataclass(frozen=True)
class WeightFile:
    """A published file: its name, its address and its SHA-256, or as many first digits as its publisher states."""

    name: str
    url: str
    sha256: str


@dataclass(frozen=True)
class WeightStore:
    """Where weight files are looked for.

    Attributes:
        folder: holds the files under their published names; None is torch.hub's own folder of checkpoints.
        download: fetch a file that is not there on its first use.

    """

    folder: Path | None = None
    download: bool = True

    def find(self, file: WeightFile) -> Path:
        """Return the path of a file whose hash is right.

        Raises MissingWeightsError where it is not there and can't be fetched, ValueError for a wrong hash.
        """
        folder = Path(torch.hub.get_dir(), "checkpoints") if self.folder is None else self.folder
        path = folder / file.name
        if not path.is_file():
            if not self.download:
                raise MissingWeightsError(f"{file.name} is missing: put it into {_short(folder)}, from {file.url}")
            try:
                folder.mkdir(parents=True, exist_ok=True)
                torch.hub.download_url_to_file(file.url, str(path), hash_prefix=file.sha256)
            except (OSError, HTTPException, RuntimeError) as error:
                raise MissingWeightsError(
                    f"{file.name} is missing and can't be downloaded ({error}): "
                    f"put it into {_short(folder)}, from {file.url}"
                ) from error
        got = sha256_of(path)
        if not got.startswith(file.sha256):
            expected = f"expected a SHA-256 that starts with {file.sha256}"
            raise ValueError(f"{_short(path)}: {expected}, got {got}; fetch {file.url}")
        return path


def _short(path: Path) -> str:
    """Write a path as the user knows it; the message goes into result files."""
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


def load_state(path: Path) -> Mapping[str, Tensor]:
    """Load a state dict onto the CPU; nothing in the file is executed. Raises ValueError where it is none."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{path}: expected a state dict that torch can load safely, got: {error}") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path}: expected a state dict of tensors, got {type(state).__name__}")
    return state
