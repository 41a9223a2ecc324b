"""The manifest of a data folder, and the verification of the folder's files against it.

The manifest holds `data_hash`, the SHA-256 over the names and contents of all files. An index beside it holds size,
time and SHA-256 of each file as of its last verification, so that only files of another size or time are read again.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from twostream.files import first_lines, open_regular, quoted, read_object, sha256_of, write_json, write_text

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
INDEX = ".verified.json"
CHECKS = ".checked.json"  # checks of the files that have passed
SPLITS = ("train", "test")
TABLES = tuple(f"{kind}-{split}.csv" for kind in ("annotation", "pairs") for split in SPLITS)
FOLDERS = (*SPLITS, "surface-test")


class FileState(NamedTuple):
    """A file as it was verified."""

    size: int  # bytes
    modified: int  # nanoseconds since 1970
    sha256: str


def names_in(folder: Path) -> set[str]:
    """Return the names of the files in a folder, without temporary ones (`.NAME`) and those that a crash left empty."""
    return {name for name, _ in _sizes_and_times(folder)}


def read_manifest(root: Path) -> dict[str, Any]:
    """Read the manifest of a data folder. Raises ValueError, in one line with the path, if it is missing or damaged."""
    path = root / MANIFEST
    manifest = read_object(path, "label", "data_hash")
    if manifest is None:
        raise ValueError(f"{path}: expected the manifest of a prepared data folder, file not found")
    for key in ("label", "data_hash"):
        if not isinstance(manifest[key], str):
            raise ValueError(f"{path}: {key}: expected a string, got {quoted(manifest[key])}")
    return manifest


def write_manifest(root: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """Write the manifest of a complete data folder with the hash of its files, and their index; return the manifest."""
    data_hash, states = _hash(root, _found(root))
    _write_index(root, data_hash, states)
    manifest = {**content, "data_hash": data_hash}
    write_json(root / MANIFEST, manifest)
    return manifest


def verify(root: Path, trust_times: bool = True) -> dict[str, Any]:
    """Return the manifest of a data folder after the verification of its files.

    Files of the size and time of the last verification are not read, unless `trust_times` is false. Without an index of
    an earlier verification all are read. Raises ValueError that names the files that are missing, have changed or were
    added; without an index it names the manifest alone.
    """
    manifest = read_manifest(root)
    data_hash, found, states = manifest["data_hash"], _found(root), _read_index(root, manifest["data_hash"])
    if not states:
        got, states = _hash(root, found)
        if got != data_hash:
            raise ValueError(
                f"{root / MANIFEST}: expected the data_hash of the files, {got}, got {data_hash}: the files "
                "or this one have changed; prepare the data again"
            )
        _write_index(root, data_hash, states)
        return manifest
    todo = [name for name in found if name in states and not (trust_times and found[name] == states[name][:2])]
    now = {name: FileState(*found[name], sha256_of(root / name)) for name in _bar(todo)}
    problems = [f"{name}: missing" for name in states if name not in found]
    problems += [f"{name}: added" for name in found if name not in states]
    problems += [f"{name}: changed" for name, state in now.items() if state.sha256 != states[name].sha256]
    if problems:
        heading = f"{root}: has changed since it was prepared, {len(problems)} files differ; prepare it again:"
        raise ValueError("\n".join([heading, *first_lines(problems, 10)]))
    if any(state != states[name] for name, state in now.items()):
        _write_index(root, data_hash, states | now)
    return manifest


@contextmanager
def unless_passed(root: Path, check: str) -> Iterator[bool]:
    """Yield whether a check has passed for a data folder of this hash, and remember that it has, unless it raises.

    Without a manifest nothing is remembered.
    """
    manifest = read_object(root / MANIFEST) or {}
    try:
        content = read_object(root / CHECKS, "data_hash", "passed") or {}
    except ValueError:
        content = {}
    has_hash = "data_hash" in manifest
    is_same = has_hash and content.get("data_hash") == manifest["data_hash"] and isinstance(content["passed"], list)
    passed = content["passed"] if is_same else []
    yield check in passed
    if has_hash and check not in passed:
        _write(root / CHECKS, {"data_hash": manifest["data_hash"], "passed": [*passed, check]})


def _found(root: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of each file of a data folder by its relative path, in the order of the hash."""
    found = {name: (status.st_size, status.st_mtime_ns) for name in TABLES if (status := _status(root / name))}
    for folder in FOLDERS:
        found |= {f"{folder}/{name}": values for name, values in _sizes_and_times(root / folder)}
    return dict(sorted(found.items(), key=lambda item: item[0].split("/")))


def _status(path: Path) -> os.stat_result | None:
    return path.stat() if path.is_file() else None


def _sizes_and_times(folder: Path) -> list[tuple[str, tuple[int, int]]]:
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        files = [(entry.name, entry.stat()) for entry in entries if not entry.name.startswith(".") and entry.is_file()]
    return [(name, (status.st_size, status.st_mtime_ns)) for name, status in files if status.st_size]


def _hash(root: Path, found: Mapping[str, tuple[int, int]]) -> tuple[str, dict[str, FileState]]:
    """Read all files; return the hash over their names and contents in the order given, and their states."""
    digest = hashlib.sha256()
    states = {}
    for name in _bar(found):
        digest.update(name.encode())
        of_file = hashlib.sha256()
        with open_regular(root / name) as file:
            while block := file.read(2**20):
                digest.update(block)
                of_file.update(block)
        states[name] = FileState(*found[name], of_file.hexdigest())
    return digest.hexdigest(), states


def _bar(names: Iterable[str]) -> Iterable[str]:
    listed = list(names)
    return tqdm(listed, desc="Hash", unit="file", disable=None) if listed else listed


def _read_index(root: Path, data_hash: str) -> dict[str, FileState]:
    """Return the states of the index; none if it is missing, damaged or of another manifest."""
    try:
        content = read_object(root / INDEX, "data_hash", "files")
        if content is None or content["data_hash"] != data_hash:
            return {}
        return {name: FileState(*state) for name, state in content["files"].items()}
    except (AttributeError, TypeError, ValueError):
        return {}


def _write_index(root: Path, data_hash: str, states: Mapping[str, FileState]) -> None:
    _write(root / INDEX, {"data_hash": data_hash, "files": states})


def _write(path: Path, content: Mapping[str, Any]) -> None:
    try:
        write_text(path, json.dumps(content, separators=(",", ":")))
    except OSError as error:
        log.warning("%s: all files were read to check them, and will be again: %s", path, error)
