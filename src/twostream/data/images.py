"""The image reader: one file, or all images of a folder in threads."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from twostream.files import first_lines

MANY_IMAGES = 2000  # more are read with a progress bar


def read_image(
    file: Path | BytesIO, image_size: tuple[int, int] | None = None, apply_orientation: bool = False
) -> UInt8[np.ndarray, "h w 3"]:
    """Read an image file as RGB.

    Args:
        file: path or content.
        image_size: expected height and width; another size is refused before the image is decoded.
        apply_orientation: rotate the image as its EXIF orientation says.

    Raises:
        ValueError: the file is missing, unreadable or of another size; the message begins with the path, if any.
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


def decode_images(
    paths: Sequence[Path], image_size: tuple[int, int] | None = None, images: UInt8[Tensor, "n 3 h w"] | None = None
) -> None:
    """Decode every image of a folder as RGB in threads, into `images` if given.

    Raises:
        ValueError: images can't be used, see `read_image`; one error lists them.
    """

    def decode(index: int) -> str | None:
        try:
            image = read_image(paths[index], image_size)
        except ValueError as error:
            return str(error)
        if images is not None:
            images[index] = torch.from_numpy(image).permute(2, 0, 1)
        return None

    folder = paths[0].parent
    # `None` draws the bar on a terminal only.
    hide_bar = True if len(paths) <= MANY_IMAGES else None
    # Pillow releases the GIL while it decodes.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(decode, range(len(paths)))
        bar = tqdm(results, desc=f"Read {folder.name}", unit="image", total=len(paths), disable=hide_bar)
        errors = [error for error in bar if error is not None]
    if errors:
        heading = f"{folder}: {len(errors)} of {len(paths)} images can't be used:"
        raise ValueError("\n".join([heading, *first_lines(errors, 10)]))
