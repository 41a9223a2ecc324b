"""Atomic writes, JSON, hashes and URIs of files: what appears under its name is complete."""

import base64
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")  # of image files, in upper or lower case


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; it replaces `path` on success and is removed on an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file; None if it does not exist. Raises ValueError naming the file if it holds no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    # A deeply nested file exceeds the parser's recursion limit.
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected JSON, got: {error}") from None


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_files(root: Path, paths: Iterable[Path]) -> str:
    """Return the SHA-256 over the names (relative to `root`) and contents of files, in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def data_uri(content: bytes, kind: str) -> str:
    """Return a file's content of a MIME type, such as `image/png`, as a URI that needs no file."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def first_lines(lines: Sequence[str], count: int = 20) -> list[str]:
    """Return the first `count` lines and, if there are more, a last line that says how many."""
    more = len(lines) - count
    return [*lines[:count], *([f"and {more} more"] if more > 0 else [])]
