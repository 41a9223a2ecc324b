"""Weight files of third-party networks: published ones, verified by hash, or the user's own; loaded as tensors only."""

import shutil
import sys
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from torch import Tensor

from twostream.files import atomic_write, open_regular, sha256_of

MAX_UNPACKED_BYTES = 2**30  # of a file in a zip


class MissingWeightsError(ValueError):
    """A weight file is missing and can't be downloaded; the message says where to put it."""


@dataclass(frozen=True)
class WeightFile:
    """A published file."""

    name: str
    url: str
    sha256: str  # in hex, or as many leading digits as the publisher states
    option: str | None = None  # the field of `WeightStore` that names another file in its place
    member: str | None = None  # the name of the file in the zip at `url`; None if the file itself is there


class FoundFile(NamedTuple):
    """A file that takes the place of a published one."""

    path: Path
    sha256: str
    is_own: bool  # not the published file

    def mark(self, name: str) -> str:
        """Return a network's name, followed by `(own file)` unless the file is the published one."""
        return f"{name} (own file)" if self.is_own else name


@dataclass(frozen=True)
class WeightStore:
    """Where weight files come from: a folder that holds them under their published names, or a file for a network."""

    folder: str | Path | None = None  # None for the `checkpoints` folder of torch.hub
    download: bool = True  # download a missing file on first use
    lpips: str | Path | None = None  # AlexNet
    inception: str | Path | None = None  # the Inception of 2015
    torchvision_inception: str | Path | None = None  # the Inception of protocol `gfla`
    vgg19: str | Path | None = None

    def find(self, file: WeightFile) -> FoundFile:
        """Return the file that is named for a network, else the one of its published name; its hash is always computed.

        A named file and one in `folder` may have any hash. Raises MissingWeightsError if the file is missing and can't
        be downloaded, ValueError if the hash of a file in torch.hub's folder is not the published one.
        """
        named = getattr(self, file.option) if file.option else None
        if named is not None and not Path(named).is_file():
            raise MissingWeightsError(
                f"weights.{file.option}: expected a state dict like that of {file.url}, file not found: {named}"
            )
        path = self._published(file) if named is None else Path(named)
        digest = sha256_of(path)
        is_own = not digest.startswith(file.sha256)
        if is_own and named is None and self.folder is None:
            raise ValueError(
                f"{display(path)}: expected a SHA-256 that starts with {file.sha256}, got {digest}; "
                f"replace it by {file.url}"
            )
        return FoundFile(path, digest, is_own)

    def _published(self, file: WeightFile) -> Path:
        """Return the path of the file of the published name, which is downloaded if it is missing."""
        folder = Path(torch.hub.get_dir(), "checkpoints") if self.folder is None else Path(self.folder)
        path = folder / file.name
        source = f"{file.url} (its {file.member}, renamed)" if file.member else file.url
        advice = f"put it into {display(folder)}, from {source}"
        if file.option:
            advice += f", or name a file: weights.{file.option}=FILE"
        if not path.is_file():
            if not self.download:
                raise MissingWeightsError(f"{file.name} is missing: {advice}")
            try:
                folder.mkdir(parents=True, exist_ok=True)
                _download(file, path)
            except (OSError, HTTPException, RuntimeError, zipfile.BadZipFile, zlib.error, EOFError) as error:
                raise MissingWeightsError(
                    f"{file.name} is missing and can't be downloaded ({error}): {advice}"
                ) from error
        return path


def _download(file: WeightFile, path: Path) -> None:
    """Download a file, or unpack it from the zip at its address. Raises RuntimeError if its hash is another."""
    if file.member is None:
        torch.hub.download_url_to_file(file.url, str(path), file.sha256, progress=sys.stderr.isatty())
        return
    with TemporaryDirectory(dir=path.parent) as folder, atomic_write(path) as temporary:
        archive = Path(folder, "archive.zip")
        torch.hub.download_url_to_file(file.url, str(archive), progress=sys.stderr.isatty())
        with zipfile.ZipFile(archive) as packed:
            found = [info for info in packed.infolist() if Path(info.filename).name == file.member]
            if len(found) != 1 or found[0].file_size > MAX_UNPACKED_BYTES:
                raise RuntimeError(f"expected one {file.member} of at most {MAX_UNPACKED_BYTES:,} bytes in the zip")
            with packed.open(found[0]) as source, temporary.open("wb") as target:
                shutil.copyfileobj(source, target)
        if not (digest := sha256_of(temporary)).startswith(file.sha256):
            raise RuntimeError(f"expected {file.member} with the SHA-256 {file.sha256}, got {digest}")


def load_safely(path: Path, kind: str) -> Any:
    """Load tensors and plain values onto the CPU; nothing is executed.

    Raises ValueError, with `kind` as what was expected, for another file, such as a pipe, and for a compressed one,
    which torch never writes and whose size in memory is not known.
    """
    with suppress(OSError):  # torch raises it too, below
        open_regular(path).close()
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as packed:
                if any(info.compress_type != zipfile.ZIP_STORED for info in packed.infolist()):
                    raise ValueError("compressed content")
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{display(path)}: expected {kind} that torch can load safely, got: {reason}") from error


def load_state(path: Path) -> Mapping[str, Tensor]:
    """Load a state dict onto the CPU without executing code. Raises ValueError if the file holds none."""
    state = load_safely(path, "a state dict")
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{display(path)}: expected a state dict of tensors, got {type(state).__name__}")
    return state


def check_tensor(got: Any, expected: Tensor, where: str) -> None:
    """Raise ValueError, beginning with `where`, unless a value is a finite tensor of the shape and dtype of another.

    The other may be on the meta device, without memory.
    """
    if described(got) != _form(expected):
        raise ValueError(f"{where}: expected {_form(expected)}, got {described(got)}")
    if not got.isfinite().all():
        raise ValueError(f"{where}: expected finite values, got {int((~got.isfinite()).sum())} that are not")


def check_tensors(got: Any, expected: Mapping[str, Tensor], where: str) -> None:
    """Raise ValueError, beginning with `where`, unless `got` maps the names of `expected` to such tensors, all finite.

    Names, shapes and dtypes are compared first; the message has the first three that differ.
    """
    if not isinstance(got, Mapping):
        raise ValueError(f"{where}: expected a state dict, got {type(got).__name__}")
    names = [*expected, *(name for name in got if name not in expected)]
    forms = {name: _form(expected[name]) if name in expected else "nothing" for name in names}
    if differing := [name for name in names if described(got.get(name)) != forms[name]]:
        lines = (f"{n}: expected {forms[n]}, got {described(got.get(n))}" for n in differing[:3])
        raise ValueError(f"{where}: {len(differing)} differ: {', '.join(lines)}")
    for name, tensor in expected.items():
        check_tensor(got[name], tensor, f"{where}: {name}")


def described(value: Any) -> str:
    """Return dtype and shape of a tensor, or the type of another value."""
    if not isinstance(value, Tensor):
        return "nothing" if value is None else type(value).__name__
    # Of sparse tensors, and of those without a memory of their own, little can be asked.
    if value.layout != torch.strided or value.is_meta or value.is_quantized:
        return f"{value.layout} {value.dtype} of device {value.device}"
    if value.untyped_storage().nbytes() < value.numel() * value.element_size():
        return f"{_form(value)} that repeats its values"
    return _form(value)


def _form(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"


def load_tensors(path: Path, net: str, shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """Load the tensors of these names and shapes from a state dict; it may hold more.

    Raises ValueError for a file that lacks one or has one of another shape or of integers or not finite, and as
    `load_state`.
    """
    state = load_state(path)
    for name, shape in shapes.items():
        got = tuple(state[name].shape) if name in state else "nothing"
        if got != tuple(shape):
            raise ValueError(f"{display(path)}: expected {net}'s {name} of shape {tuple(shape)}, got {got}")
        if not (state[name].is_floating_point() and state[name].isfinite().all()):
            raise ValueError(f"{display(path)}: expected finite numbers of a floating type in {net}'s {name}")
    return {name: state[name] for name in shapes}


def display(path: Path) -> str:
    """Return a path with `~` for the home folder, because messages are stored in result files."""
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)
