"""Reading and writing of files: bounded reads of regular files, atomic writes, JSON, CSV tables, hashes, URIs."""

import base64
import csv
import errno
import hashlib
import io
import json
import math
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from itertools import chain
from pathlib import Path
from typing import IO, Any

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")  # of image files, in upper or lower case
# The largest files that are read into memory, in bytes.
MAX_IMAGE_BYTES = 64 * 2**20
MAX_TABLE_BYTES = 256 * 2**20  # annotations, pairs, curves
MAX_JSON_BYTES = 32 * 2**20  # which takes less than 1 GB of memory, whatever it holds
# A spreadsheet takes text with one of these in front for a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")
KINDS = {stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe"}
REMAINS = re.compile(r"\..+\.(\d+)(\.\w+)?")  # names of the temporary files of `atomic_write`


def open_regular(path: Path, max_bytes: int | None = None) -> io.BufferedReader:
    """Open a regular file, or a link to one, for reading.

    Raises ValueError, in one line with the path, for a folder, a pipe, a socket, a device, and a file of more than
    `max_bytes`; FileNotFoundError if there is none.
    """
    try:
        # Otherwise, opening a pipe waits for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise ValueError(f"{path}: expected a regular file, got a socket") from None
        raise
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and (max_bytes is None or status.st_size <= max_bytes):
        return open(descriptor, "rb")  # noqa: PTH123  a descriptor; the caller closes it
    os.close(descriptor)
    if stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path}: expected at most {max_bytes:,} bytes, got {status.st_size:,}")
    raise ValueError(f"{path}: expected a regular file, got a {KINDS.get(stat.S_IFMT(status.st_mode), 'device')}")


def read_bytes(path: Path, max_bytes: int) -> bytes:
    """Read a regular file of at most `max_bytes`. Raises as `open_regular`."""
    with open_regular(path, max_bytes) as file:
        content = file.read(max_bytes + 1)
    # Files of /proc have a size of 0.
    if len(content) > max_bytes:
        raise ValueError(f"{path}: expected at most {max_bytes:,} bytes, got more")
    return content


def read_text(path: Path, max_bytes: int = MAX_TABLE_BYTES) -> str:
    """Read a text file of at most `max_bytes`. Raises ValueError with the path if it is larger or not UTF-8."""
    try:
        return read_bytes(path, max_bytes).decode("utf-8")
    except UnicodeDecodeError as error:
        got = f"byte 0x{error.object[error.start]:02x} at offset {error.start}"
        raise ValueError(f"{path}: expected UTF-8 text, got {got}") from None


def read_json(path: Path, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """Read a JSON file of at most `max_bytes`; None if it does not exist.

    Raises ValueError naming the file if it is larger or holds no JSON, or numbers that are not finite or have more than
    64 bits.
    """
    try:
        text = read_text(path, max_bytes)
    except FileNotFoundError:
        return None
    try:
        return json.loads(text, parse_constant=_no_number, parse_float=_finite, parse_int=_integer)
    # A deeply nested file exceeds the parser's recursion limit, a number of thousands of digits Python's.
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected JSON, got: {error}") from None


def read_object(path: Path, *keys: str, max_bytes: int = MAX_JSON_BYTES) -> dict[str, Any] | None:
    """Read a JSON file of at most `max_bytes` that holds an object; None if it does not exist.

    Raises ValueError, in one line with the path, for another content and for an object that lacks one of `keys`.
    """
    content = read_json(path, max_bytes)
    if content is None and not path.exists():
        return None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a JSON object, got {shortened(json.dumps(content))}")
    if missing := [key for key in keys if key not in content]:
        raise ValueError(f"{path}: expected the key {missing[0]!r}, got {shortened(json.dumps(list(content)))}")
    return content


def read_rows(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Read a CSV file with a header; return the names of its columns and its rows, as they were given to `csv_text`.

    A row that is too short lacks columns; what a row has too many is under the key None. Raises ValueError with the
    path if the file is no CSV, FileNotFoundError if it does not exist.
    """
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    try:
        rows = [{name: _text(cell) for name, cell in row.items() if cell is not None} for row in reader]
    except csv.Error as error:
        raise ValueError(f"{path}:{reader.line_num}: expected a CSV table, got: {error}") from None
    return list(reader.fieldnames or []), rows


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """Return rows as CSV; text that a spreadsheet would take for a formula gets an apostrophe in front."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(map(_cell, row) for row in rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    if not (isinstance(value, str) and value.startswith(FORMULA)):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def _text(cell: Any) -> Any:
    """Undo `_cell`."""
    return cell[1:] if isinstance(cell, str) and cell[:1] == "'" and cell[1:].startswith(FORMULA) else cell


def _no_number(text: str) -> None:
    raise ValueError(f"{shortened(text)}, which is no finite number of at most 64 bits")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        _no_number(text)
    return number


def _integer(text: str) -> int:
    number = int(text)
    if abs(number) >= 2**63:
        _no_number(text)
    return number


def quoted(value: object) -> str:
    """Return the representation of a value from a file, for messages: of a long one the beginning."""
    return shortened(repr(value))


def shortened(text: str, length: int = 120) -> str:
    """Return a text, of a long one the beginning and its length."""
    return text if len(text) <= length else f"{text[:length]}... ({len(text):,} characters)"


@contextmanager
def atomic_write(path: Path, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path in the same folder; it replaces `path` on success and is removed on an error.

    Those that killed processes of this machine left of the same file are removed too. `durable`: the content is on the
    disk before the file appears under its name, so that a power cut leaves a complete file too. An OSError, such as of
    a full disk, names the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in _left_in(path.parent):
        number = _dead_writer(left)
        if number and left.name == f".{path.stem}.{number}{path.suffix}":
            left.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        if durable:
            _sync(temporary)
        temporary.replace(path)
        if durable:
            # Some network file systems can't sync a folder.
            with suppress(OSError):
                _sync(path.parent)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(temporary), temporary):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


@cache
def _left_in(folder: Path) -> list[Path]:
    """Return the temporary files that are in a folder when this process first writes there."""
    return [path for path in folder.iterdir() if REMAINS.fullmatch(path.name)]


def _dead_writer(path: Path) -> str | None:
    """Return the number in the name of a temporary file if no process of this machine has it."""
    match = REMAINS.fullmatch(path.name)
    return match[1] if match and path.is_file() and not _is_alive(int(match[1])) else None


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def replace_folder(folder: Path, is_own: Callable[[Path], bool], kind: str) -> Iterator[Path]:
    """Yield the path of a folder to make beside `folder`; it replaces `folder` on success and is removed on an error.

    Raises ValueError, with `kind` as what was expected, if `folder` has files and `is_own` is false of it.
    """
    if folder.exists() and not (folder.is_dir() and (is_own(folder) or not any(folder.iterdir()))):
        got = "a folder with other files" if folder.is_dir() else "a file"
        raise ValueError(f"{folder}: expected a new folder or {kind}, got {got}")
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a killed process
    try:
        yield partial
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def remove_remains(folder: Path) -> None:
    """Remove the temporary files that killed processes of this machine left in a folder and its subfolders."""
    links = [path for path in folder.iterdir() if path.is_symlink() and path.is_dir()]
    for path in chain.from_iterable(one.rglob(".*") for one in (folder, *links)):
        if _dead_writer(path):
            path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def write_text(path: Path, text: str, durable: bool = False) -> None:
    """Write `text` as UTF-8, atomically; `durable` as in `atomic_write`."""
    with atomic_write(path, durable) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, atomically and durably."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n", durable=True)


def open_log(path: Path, mode: str) -> IO[str]:
    """Open a log in a folder that others may write to: `mode` "a" or "w". Raises OSError if it is a link or a pipe."""
    # Without a reader, opening a pipe fails instead of waiting.
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | (os.O_APPEND if mode == "a" else os.O_TRUNC)
    return open(os.open(path, flags, 0o666), mode, encoding="utf-8")  # noqa: PTH123  a descriptor


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a regular file in hex."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def data_uri(content: bytes, kind: str) -> str:
    """Return a file's content of a MIME type, such as `image/png`, as a URI that needs no file."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def first_lines(lines: Sequence[str], count: int = 20) -> list[str]:
    """Return the first `count` lines and, if there are more, a last line that says how many."""
    more = len(lines) - count
    return [*lines[:count], *([f"and {more} more"] if more > 0 else [])]
