"""Downloads as they come: a folder or a zip whose members are read by name and never extracted by their own path."""

import os
import shutil
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, runtime_checkable

from twostream.files import atomic_write

BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError)


@runtime_checkable
class Download(Protocol):
    """A download; it can be sent to another process, which opens it itself."""

    path: Path

    def names(self) -> list[str]:
        """Return the files in it as relative paths with `/`; those that lead out of it are left out."""

    def size(self, name: str) -> int:
        """Return a file's length in bytes."""

    def read(self, name: str) -> bytes:
        """Return a file's content. Raises ValueError where it can't be read."""

    def as_file(self, name: str, scratch: Path) -> Path:
        """Return a path under which the file lies alone, in the folder `scratch` where it must be unpacked."""


class FolderDownload:
    """An unpacked download."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[str]:
        """Return the files in the folder and below, links followed, sorted."""
        return sorted(
            Path(folder, file).relative_to(self.path).as_posix()
            for folder, _, files in os.walk(self.path, followlinks=True)
            for file in files
        )

    def size(self, name: str) -> int:
        """Return a file's length in bytes."""
        return (self.path / name).stat().st_size

    def read(self, name: str) -> bytes:
        """Return a file's content. Raises ValueError where it can't be read."""
        try:
            return (self.path / name).read_bytes()
        except OSError as error:
            raise ValueError(f"{self.path / name}: can't be read: {error}") from error

    def as_file(self, name: str, scratch: Path) -> Path:
        """Return the file's own path."""
        return self.path / name


class ZipDownload:
    """A zip file. Raises ValueError where it is none, or cut off."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opened: zipfile.ZipFile | None = None
        self._zip()

    def __getstate__(self) -> dict[str, Any]:
        # Processes that share an open file would move each other's position in it.
        return {"path": self.path, "_opened": None}

    def names(self) -> list[str]:
        """Return the files in the zip's order. Raises ValueError where one is encrypted."""
        files = [info for info in self._zip().infolist() if not info.is_dir() and _stays_inside(info.filename)]
        for info in files:
            if info.flag_bits & 0x1:
                raise ValueError(
                    f"{self.path}: {info.filename} is encrypted: unpack the zip with the password that the data set's "
                    "owners give out, and name the folder"
                )
        return [info.filename for info in files]

    def size(self, name: str) -> int:
        """Return a file's length in bytes."""
        return self._zip().getinfo(name).file_size

    def read(self, name: str) -> bytes:
        """Return a file's content. Raises ValueError where it is damaged."""
        try:
            return self._zip().read(name)
        except BROKEN as error:
            raise ValueError(f"{self.path}: {name} is damaged: {error}; fetch the zip again") from error

    def as_file(self, name: str, scratch: Path) -> Path:
        """Unpack a file into `scratch`, unless it is there, and return its path."""
        path = scratch / PurePosixPath(name).name
        if not path.is_file() or path.stat().st_size != self.size(name):
            try:
                with atomic_write(path) as temporary, self._zip().open(name) as packed, temporary.open("wb") as file:
                    shutil.copyfileobj(packed, file, 2**20)
            except BROKEN as error:
                raise ValueError(f"{self.path}: {name} can't be unpacked to {scratch}: {error}") from error
        return path

    def _zip(self) -> zipfile.ZipFile:
        if self._opened is None:
            try:
                self._opened = zipfile.ZipFile(self.path)
            except BROKEN as error:
                raise ValueError(f"{self.path}: expected a folder or a whole .zip file: {error}") from error
        return self._opened


def open_download(path: Path) -> Download:
    """Open a folder or a zip file. Raises ValueError where `path` is neither."""
    if path.is_dir():
        return FolderDownload(path)
    if not path.is_file():
        raise ValueError(f"source: expected the downloaded .zip or folder, there is none at {path}")
    return ZipDownload(path)


def open_inner(download: Download, archives: Iterable[str], scratch: Path) -> Iterator[Download]:
    """Open the zip files inside a download that have one of the file names `archives`, in the order of those."""
    names = download.names()
    for archive in archives:
        for name in names:
            if PurePosixPath(name).name == archive:
                yield ZipDownload(download.as_file(name, scratch))


def _stays_inside(name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    return not path.is_absolute() and ".." not in path.parts
