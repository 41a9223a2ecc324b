"""The image reader."""

from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps


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
