"""The pictures of a split with their joints: kept decoded in memory, or read from disk each time."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, UInt8
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from twostream.data.annotations import JointArray
from twostream.data.pose import joints_to_tensor
from twostream.types import PictureBatch

# Pictures that take seconds to decode: the least number with a progress bar.
MANY_PICTURES = 2000
NUM_LISTED = 10


class AnnotatedPictures:
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
        self.place_of = {name: place for place, name in enumerate(names)}
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

    def take(self, places: Int[Tensor, "b 2"]) -> PictureBatch:
        """Return pairs by the places of source and target, on the device where the pictures are."""
        source, target = places.unbind(dim=1)
        return PictureBatch(self._images(source), self._joints[source], self._images(target), self._joints[target])

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


def _read_picture(path: Path, image_size: tuple[int, int]) -> UInt8[Tensor, "3 h w"]:
    try:
        with Image.open(path) as file:
            size = (file.height, file.width)
            # A picture that claims to be huge is not decoded.
            picture = np.asarray(file.convert("RGB")) if size == image_size else None
    except FileNotFoundError:
        raise ValueError(f"{path}: the picture is named in the pairs but is not there") from None
    # Pillow's decoders answer broken bytes with errors of many kinds.
    except Exception as error:
        raise ValueError(f"{path}: the picture can't be read: {error}") from error
    if picture is None:
        expected, got = ("x".join(map(str, size)) for size in (image_size, size))
        raise ValueError(f"{path}: expected a picture of height x width {expected}, got {got}")
    return torch.from_numpy(picture.transpose(2, 0, 1).copy())
