"""Pictures of a download -> the files of a data folder, in several processes."""

import os
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from twostream.files import atomic_write
from twostream.prepare.archives import Download
from twostream.prepare.preset import Preset

NUM_LISTED = 20


def decode(picture: bytes) -> Image.Image:
    """Decode a picture to RGB. Raises ValueError where it can't be."""
    try:
        with Image.open(BytesIO(picture)) as file:
            return file.convert("RGB")
    # Pillow's decoders answer broken bytes with errors of many kinds.
    except Exception as error:
        raise ValueError(f"the picture can't be read: {error}") from error


class PictureWriter(Dataset[str]):
    """Item i writes picture i, whole or not at all, and is "" or what is wrong with the picture.

    Args:
        download: holds the pictures.
        preset: brings them to its frame.
        todo: path to write to, and the picture's name in the download.

    """

    def __init__(self, download: Download, preset: Preset, todo: Sequence[tuple[Path, str]]) -> None:
        self._download = download
        self._preset = preset
        self._todo = todo

    def __len__(self) -> int:
        return len(self._todo)

    def __getitem__(self, index: int) -> str:
        """Write one picture."""
        path, member = self._todo[index]
        try:
            content = self._preset.convert(self._download.read(member))
        except ValueError as error:
            return f"{member}: {error}"
        with atomic_write(path) as temporary:
            temporary.write_bytes(content)
        return ""


def write_pictures(
    download: Download, preset: Preset, members: Mapping[str, Mapping[str, str]], root: Path, num_workers: int
) -> int:
    """Write the pictures that are not there yet to `root/SPLIT/NAME`; return how many.

    Args:
        download: holds the pictures.
        preset: brings them to its frame.
        members: split -> file name -> name in the download.
        root: the data folder.
        num_workers: processes that do it; 0 does it in this one. They are started anew (spawn), so a script that calls
            this must guard its top level with `if __name__ == "__main__"`.

    Raises ValueError that lists the pictures that can't be read or have the wrong size, when all others are written.

    """
    there = {split: names_in(root / split) for split in members}
    todo = [
        (root / split / name, member)
        for split, pictures in members.items()
        for name, member in pictures.items()
        if name not in there[split]
    ]
    if not todo:
        return 0
    loader = DataLoader(
        PictureWriter(download, preset, todo),
        batch_size=None,
        num_workers=num_workers,
        # A fork would copy the locks of this process's threads.
        multiprocessing_context="spawn" if num_workers else None,
    )
    total = sum(len(pictures) for pictures in members.values())
    bar = tqdm(loader, desc="Write pictures", unit="image", total=total, initial=total - len(todo), disable=None)
    problems = [problem for problem in bar if problem]
    if problems:
        raise ValueError("\n".join([f"{len(problems)} pictures of {download.path} can't be used:", *listed(problems)]))
    return len(todo)


def names_in(folder: Path) -> set[str]:
    """Return the names of the files in a folder that hold anything; temporary ones begin with a dot and do not count.

    A machine that stops at the wrong moment can leave an empty file.
    """
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries if not entry.name.startswith(".") and entry.stat().st_size}


def listed(lines: Iterable[str]) -> list[str]:
    """Return the first 20 lines and how many more there are."""
    lines = list(lines)
    more = len(lines) - NUM_LISTED
    return [*lines[:NUM_LISTED], *([f"and {more} more"] if more > 0 else [])]
