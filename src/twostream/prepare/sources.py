"""A data set as its authors distribute it: the files of a download, and a preset that knows their layout.

Files of a download are read by name and never extracted to a path that a zip contains.
"""

import os
import shutil
import threading
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from itertools import chain
from pathlib import Path, PurePosixPath

from twostream.data.images import read_image
from twostream.data.keypoints import JointArray, JointFrame, read_annotations
from twostream.files import MAX_IMAGE_BYTES, MAX_TABLE_BYTES, atomic_write, read_bytes

KINDS = {"annotations": "annotation", "pairs": "pairs"}  # of tables, with the word in their file names
AS_DOWNLOADED = "JPEG files as downloaded"
MAX_ARCHIVE_BYTES = 64 * 2**30  # of a zip inside a zip
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError)


class Source:
    """A download: an unpacked folder, whose links are followed, or a zip file. Thread-safe.

    Attributes:
        path: the folder or zip file.
        sizes: size in bytes of each file, by relative path with `/`; paths that point outside the zip are left out.

    Raises:
        ValueError: `path` is neither, or a zip that is truncated or encrypted.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._zip: zipfile.ZipFile | None = None
        if path.is_dir():
            self.sizes = _folder_sizes(path)
            return
        if not path.is_file():
            raise ValueError(f"source: expected the downloaded .zip or folder, file not found: {path}")
        try:
            self._zip = zipfile.ZipFile(path)
        except BROKEN as error:
            raise ValueError(f"{path}: expected a folder or a complete .zip file: {error}") from error
        self.sizes = _zip_sizes(path, self._zip)
        # ZipFile counts its open members without a lock.
        self._lock = threading.Lock()

    def read(self, name: str) -> bytes:
        """Return a file's content. Raises ValueError if it cannot be read."""
        try:
            if self._zip is None:
                return read_bytes(self.path / name, MAX_IMAGE_BYTES)
            with self._lock, self._zip.open(name) as packed:
                # Bounds what is decompressed too, whatever size the zip states.
                content = packed.read(MAX_IMAGE_BYTES + 1)
        except BROKEN as error:
            raise ValueError(f"{self.path}: {name} cannot be read: {error}; download it again") from error
        if len(content) > MAX_IMAGE_BYTES:
            raise ValueError(f"{self.path}: {name}: expected at most {MAX_IMAGE_BYTES:,} bytes, got more")
        return content

    def find(self, file_name: str) -> list[str]:
        """Return the names of all files with this file name, in any folder."""
        return [name for name in self.sizes if PurePosixPath(name).name == file_name]

    def open_inner(self, archives: Iterable[str], scratch: Path) -> Iterator["Source"]:
        """Open the zip files in the download whose file name is in `archives`, in that order.

        Those inside a zip are extracted to the folder `scratch`, unless they are there already. One that is refused is
        removed.
        """
        for archive in archives:
            for name in self.find(archive):
                yield Source(self.path / name) if self._zip is None else self._extracted(name, scratch / archive)

    def _extracted(self, name: str, path: Path) -> "Source":
        assert self._zip is not None
        if self.sizes[name] > MAX_ARCHIVE_BYTES:
            size = self.sizes[name]
            raise ValueError(f"{self.path}: {name}: expected at most {MAX_ARCHIVE_BYTES:,} bytes, got {size:,}")
        if not path.is_file() or path.stat().st_size != self.sizes[name]:
            try:
                with atomic_write(path) as temporary, self._zip.open(name) as packed, temporary.open("wb") as file:
                    shutil.copyfileobj(packed, file, 2**20)
            except BROKEN as error:
                raise ValueError(f"{self.path}: {name} cannot be extracted to {path}: {error}") from error
        try:
            return Source(path)
        except ValueError:
            path.unlink()
            raise


def _folder_sizes(path: Path) -> dict[str, int]:
    sizes = {file.relative_to(path).as_posix(): file.stat().st_size for file in _files_below(path) if file.is_file()}
    return dict(sorted(sizes.items()))


def _files_below(path: Path) -> Iterator[Path]:
    """Yield the files below a folder. A folder that several links lead to, or a link and its own path, is read once."""
    seen: set[tuple[int, int]] = set()
    pending = [path]
    while pending:
        # Links come after all folders that are found without them.
        for folder, names, files in os.walk(pending.pop(0)):
            status = Path(folder).stat()
            if (status.st_dev, status.st_ino) in seen:
                names.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            pending += [link for name in sorted(names) if (link := Path(folder, name)).is_symlink()]
            yield from (Path(folder, name) for name in files)


def _zip_sizes(path: Path, opened: zipfile.ZipFile) -> dict[str, int]:
    sizes = {}
    for info in opened.infolist():
        parts = PurePosixPath(info.filename.replace("\\", "/"))
        if info.is_dir() or parts.is_absolute() or ".." in parts.parts:
            continue
        if info.flag_bits & 0x1:
            raise ValueError(
                f"{path}: {info.filename} is encrypted: unpack the zip with the password that the data set's owners "
                "give out, and pass the folder"
            )
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            # zipfile does not bound what it decompresses of the others.
            raise ValueError(f"{path}: {info.filename}: expected a stored or deflated file; unpack it, pass the folder")
        sizes[info.filename] = info.file_size
    return sizes


class Preset(ABC):
    """A data set, called `label` in tables, and the frame of its prepared images.

    The defaults suit images that are copied as they are.
    """

    image_size: tuple[int, int]  # height and width in pixels of the prepared images
    layout: str  # the images that a download contains, for messages
    archives: tuple[str, ...]  # file names of zips inside a download that contain the images, the best first
    list_files: tuple[tuple[str, ...], ...] = ()  # alternatives of files that split the images; none if folders do
    prefixes: tuple[str, ...]  # of published annotation and pair files, PREFIX-annotation-train.csv
    joints_frame: JointFrame  # of published joints; where its width is None, `to_frame` finds it out
    published: Mapping[str, int]  # the paper's pairs and the published files' images, by their key in the manifest
    num_drawn: Mapping[str, int] = {}  # published pairs of a split that are a random draw of those of the pair rule
    draw_hash: Mapping[str, str] = {}  # `pairs_hash` of the published draw

    def __init__(self, label: str) -> None:
        self.label = label

    @abstractmethod
    def image_name(self, path: str) -> str | None:
        """Return the prepared file name of an image by its path in the download; None for any other file."""

    @abstractmethod
    def split(self, images: Mapping[str, str], lists: Mapping[str, bytes]) -> dict[str, list[str]]:
        """Return the image names of each split, from the images' paths or the content of the lists, by file name.

        Raises ValueError if the lists are malformed.
        """

    def convert(self, content: bytes) -> tuple[bytes, str]:
        """Bring an image file to the frame, and describe how.

        Raises ValueError if the image is damaged or of an unexpected size.
        """
        read_image(BytesIO(content), self.image_size)
        return content, AS_DOWNLOADED

    def to_frame(
        self, joints: Mapping[str, JointArray], frame: int | None, file: Path
    ) -> tuple[dict[str, JointArray], int | None]:
        """Shift published joints, by image name, to the frame of the images.

        `frame` is the width of the images that they were made for; None detects it. Returns that width too, or None for
        a data set with a single frame. Raises ValueError naming `file` if the frame does not fit or cannot be detected.
        """
        if frame is not None:
            raise ValueError(f"annotation_frame: expected null for {self.label}, got {frame}")
        return dict(joints), None

    def find_images(self, names: Collection[str]) -> dict[str, str]:
        """Select the images among the files of a download: image name -> name in the download.

        Raises ValueError if two files have the same image name.
        """
        images: dict[str, str] = {}
        for name in names:
            image = self.image_name(name)
            if image in images:
                raise ValueError(f"source: {image} exists twice: {images[image]} and {name}; pass the folder of one")
            if image is not None:
                images[image] = name
        return images

    def read_joints(self, path: Path) -> dict[str, JointArray]:
        """Read an annotation file into image name -> joints, in the frame that it was made for.

        Raises ValueError if it does not exist, is malformed, empty or of another frame, or annotates an image twice.
        """
        if not path.is_file():
            raise ValueError(f"annotations: file not found: {path}")
        annotations = read_annotations(path, self.joints_frame)
        joints = {self.plain_name(name): array for name, array in annotations.items()}
        if not joints:
            raise ValueError(f"{path}: expected annotated images, got none")
        if len(joints) < len(annotations):
            raise ValueError(f"{path}: {len(annotations) - len(joints)} images are annotated twice, in two spellings")
        return joints

    def plain_name(self, name: str) -> str:
        """Return the image name for a name in a published file, which may be a path."""
        return self.image_name(name) or name

    def find_file(self, kind: str, split: str, folders: Iterable[Path]) -> Path | None:
        """Return the published "annotations" or "pairs" of a split, from the first folder that has them.

        Raises ValueError if the folder has several.
        """
        for folder in folders:
            paths = [folder / name for name in self.file_names(kind, split) if (folder / name).is_file()]
            if len(paths) > 1:
                names = " and ".join(path.name for path in paths)
                raise ValueError(f"{folder}: expected one file, got {names}: pass one as {kind}_{split}=FILE")
            if paths:
                return paths[0]
        return None

    def file_names(self, kind: str, split: str) -> list[str]:
        """Return the names under which the "annotations" or "pairs" of a split are published."""
        return [f"{prefix}-{KINDS[kind]}-{split}.csv" for prefix in self.prefixes]

    def find_lists(
        self, named: Mapping[str, Path], folders: Sequence[Path], sources: Sequence[Source]
    ) -> dict[str, bytes]:
        """Read the files that split the images: the first alternative of `list_files` that is complete.

        Files that are not in `named`, file name -> path, are searched in `folders` without their subfolders, then in
        `sources`. Raises ValueError if no alternative is complete, and for lists of a data set that folders split.
        """
        if not self.list_files:
            if named:
                raise ValueError(f"train_list, test_list: expected null, as folders split {self.label}")
            return {}
        lists: dict[str, bytes] = {}
        for name in chain.from_iterable(self.list_files):
            paths = [named[name]] if name in named else [folder / name for folder in folders]
            contents = (read_bytes(path, MAX_TABLE_BYTES) for path in paths if path.is_file())
            members = (source.read(member) for source in sources for member in source.find(name))
            content = next(chain(contents, members), None)
            if content is not None:
                lists[name] = content
        for names in self.list_files:
            if lists.keys() >= set(names):
                return {name: lists[name] for name in names}
        raise ValueError(
            f"expected {', or '.join(' and '.join(names) for names in self.list_files)}, in the source or next to the "
            f"annotations, got {' and '.join(lists) or 'none'}; pass train_list=FILE test_list=FILE"
        )
