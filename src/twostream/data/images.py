"""The pictures of a split with their joints: kept decoded in memory, or read from disk each time."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, UInt8
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from twostream.data.keypoints import JointArray
from twostream.data.pose import joints_to_tensor
from twostream.types import ImagePair

# Pictures that take seconds to decode: the least number with a progress bar.
MANY_PICTURES = 2000
NUM_LISTED = 10


class AnnotatedImages:
    """Pictures by their place, with their joints.

    Every picture is decoded once at the start, so that one that is missing, unreadable or of another size is found
    then. Loader processes see the same memory.

    Args:
        folder: of the pictures.
        joints: picture name -> joints.
        names: of the pictures; their order gives the places.
        image_size: height and width in pixels.
        in_memory: keep the decoded pictures as uint8; else they are read again each time.

    Raises ValueError for a name without annotation, one error for all pictures that can't be used, and one where the
    pictures are more than the machine's memory.

    """

    def __init__(
        self,
        folder: Path,
        joints: dict[str, JointArray],
        names: Sequence[str],
        image_size: tuple[int, int],
        in_memory: bool = True,
    ) -> None:
        unknown = [name for name in names if name not in joints]
        if unknown:
            raise ValueError(f"{folder}: {len(unknown)} pictures of the pairs have no annotation, first {unknown[0]!r}")
        self.index_of = {name: place for place, name in enumerate(names)}
        self.joints = {name: joints[name] for name in names}
        self._paths = [folder / name for name in names]
        self._image_size = image_size
        self._joints = torch.stack([joints_to_tensor(joints[name]) for name in names])
        self._pictures: Tensor | None = None
        if in_memory:
            self._pictures = _allocate(len(names), image_size)
            _decode_all(self._paths, image_size, self._pictures.__setitem__)
        else:
            _decode_all(self._paths, image_size, lambda place, picture: None)

    def __len__(self) -> int:
        return len(self._paths)

    def take(self, places: Int[Tensor, "b 2"]) -> ImagePair:
        """Return pairs by the places of source and target, on the device where the pictures are."""
        source, target = places.unbind(dim=1)
        return ImagePair(self._images(source), self._joints[source], self._images(target), self._joints[target])

    def move_to(self, device: torch.device) -> None:
        """Keep the pictures and their joints in the memory of a device. They must be in memory already."""
        assert self._pictures is not None
        self._pictures, self._joints = self._pictures.to(device), self._joints.to(device)

    def _images(self, places: Int[Tensor, "b"]) -> UInt8[Tensor, "b 3 h w"]:
        if self._pictures is not None:
            return self._pictures[places]
        return torch.stack([_read_picture(self._paths[place], self._image_size) for place in places.tolist()])


def _allocate(count: int, image_size: tuple[int, int]) -> UInt8[Tensor, "n 3 h w"]:
    needed = count * 3 * image_size[0] * image_size[1]
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        raise ValueError(
            f"data.cache: expected at most the {there / 1e9:.1f} GB of this machine's memory, {count} pictures take "
            f"{needed / 1e9:.1f} GB; data.cache=none reads them from disk"
        )
    return torch.empty(count, 3, *image_size, dtype=torch.uint8)


def _decode_all(
    paths: Sequence[Path], image_size: tuple[int, int], keep: Callable[[int, UInt8[Tensor, "3 h w"]], None]
) -> None:
    """Decode every picture and hand it on with its place; one error lists those that can't be used."""
    folder, wrong = paths[0].parent, []
    bar = tqdm(desc=f"Read {folder.name}", unit="image", total=len(paths), disable=len(paths) <= MANY_PICTURES)
    for place, read in enumerate(_in_threads(paths, image_size)):
        try:
            keep(place, read())
        except ValueError as error:
            wrong.append(str(error))
        bar.update()
    bar.close()
    if wrong:
        listed = [*wrong[:NUM_LISTED], *([f"and {len(wrong) - NUM_LISTED} more"] if len(wrong) > NUM_LISTED else [])]
        raise ValueError("\n".join([f"{folder}: {len(wrong)} of {len(paths)} pictures can't be used:", *listed]))


def _in_threads(
    paths: Sequence[Path], image_size: tuple[int, int], at_once: int = 256
) -> Iterator[Callable[[], UInt8[Tensor, "3 h w"]]]:
    """Yield in order what gives each picture or raises its error; few are held at a time."""
    # Pillow lets other threads run while it decodes.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(paths), at_once):
            for future in [pool.submit(_read_picture, path, image_size) for path in paths[start : start + at_once]]:
                yield future.result


def read_image(
    file: Path | BytesIO, image_size: tuple[int, int] | None = None, apply_orientation: bool = False
) -> UInt8[np.ndarray, "h w 3"]:
    """Read an image file as RGB: the one reader of the project.

    Args:
        file: path or content.
        image_size: expected height and width; another size is refused before anything is decoded.
        apply_orientation: turn the image as its EXIF orientation says.

    Raises ValueError, beginning with the path where there is one, if the file is missing, unreadable or of another
    size.

    """
    where = f"{file}: " if isinstance(file, Path) else ""
    try:
        with Image.open(file) as opened:
            size = (opened.height, opened.width)
            if image_size in (None, size):
                return np.array((ImageOps.exif_transpose(opened) if apply_orientation else opened).convert("RGB"))
    except FileNotFoundError:
        raise ValueError(f"{where}file not found") from None
    # Pillow's decoders raise errors of many kinds on broken content.
    except Exception as error:
        raise ValueError(f"{where}expected an image: {error}") from error
    expected, got = ("x".join(map(str, sides)) for sides in (image_size, size))
    raise ValueError(f"{where}expected an image of height x width {expected}, got {got}")


def _read_picture(path: Path, image_size: tuple[int, int]) -> UInt8[Tensor, "3 h w"]:
    return torch.from_numpy(read_image(path, image_size)).permute(2, 0, 1).contiguous()
