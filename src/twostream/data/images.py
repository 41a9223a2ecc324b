"""The image reader: one file, or all images of a folder in threads."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BufferedReader, BytesIO
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from tqdm import tqdm

from twostream.files import MAX_IMAGE_BYTES, first_lines, open_regular

MANY_IMAGES = 2000  # more are read with a progress bar
BATCH = 32  # images that a thread reads at a time
FORMATS = ("PNG", "JPEG", "WEBP")
QUALITY = 95  # of JPEG files that are written; PATN keeps Pillow's default of 75
JPEG = f"JPEG of quality {QUALITY} without chroma subsampling"
MAX_PIXELS = 50_000_000  # phones write 48 and 50 megapixels; to decode them takes less than 1 GB
# Pillow's modes of 8 bits a channel at most; it converts the others by clipping.
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")


def read_image(file: Path | BytesIO, image_size: tuple[int, int] | None = None) -> UInt8[np.ndarray, "h w 3"]:
    """Read an image file as RGB, rotated as its EXIF orientation says; transparent pixels are blended with white.

    Args:
        file: path or content of a PNG, JPEG or WebP file.
        image_size: expected height and width; another size is refused before the image is decoded.

    Raises:
        ValueError: the file is missing, unreadable or of another size, has more than `MAX_IMAGE_BYTES` or `MAX_PIXELS`,
            or channels of more than 8 bits, whose range is not known; the message begins with the path, if any.
    """
    if isinstance(file, BytesIO):
        return _decode(file, image_size, "")
    try:
        with open_regular(file, MAX_IMAGE_BYTES) as opened:
            return _decode(opened, image_size, f"{file}: ")
    except FileNotFoundError:
        raise ValueError(f"{file}: file not found") from None


def _open(file: BytesIO | BufferedReader, image_size: tuple[int, int] | None, where: str) -> Image.Image:
    """Open an image without decoding it, if its header fits."""
    with _named_error(where):
        image: Image.Image = Image.open(file, formats=FORMATS)
    size = (image.height, image.width)
    # An EXIF orientation may exchange height and width.
    if image_size not in (None, size, size[::-1]):
        raise _unexpected_size(where, image_size, size)
    if image.height * image.width > MAX_PIXELS:
        raise ValueError(f"{where}expected at most {MAX_PIXELS:,} pixels, got {image.width:,}x{image.height:,}")
    if image.mode not in MODES:
        raise ValueError(f"{where}expected an image of 8 bits a channel, got one of Pillow's mode {image.mode}")
    return image


def _decode(
    file: BytesIO | BufferedReader, image_size: tuple[int, int] | None, where: str
) -> UInt8[np.ndarray, "h w 3"]:
    image = _open(file, image_size, where)
    with _named_error(where):
        ImageOps.exif_transpose(image, in_place=True)
        if image.has_transparency_data:
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), _in_mode("RGBA", image))
        image = _in_mode("RGB", image)
        pixels = np.array(image)
    if image_size not in (None, pixels.shape[:2]):
        raise _unexpected_size(where, image_size, pixels.shape[:2])
    return pixels


def _in_mode(mode: str, image: Image.Image) -> Image.Image:
    """Return an image in another mode; one that has it already is not copied, as Pillow would."""
    return image if image.mode == mode else image.convert(mode)


@contextmanager
def _named_error(where: str) -> Iterator[None]:
    try:
        yield
    except UnidentifiedImageError:
        raise ValueError(f"{where}expected an image: it is neither of {', '.join(FORMATS)}") from None
    # Pillow's decoders raise errors of many kinds on broken content.
    except Exception as error:
        raise ValueError(f"{where}expected an image: {error}") from error


def _unexpected_size(where: str, expected: Sequence[int] | None, got: Sequence[int]) -> ValueError:
    expected_text, got_text = ("x".join(map(str, sides or ())) for sides in (expected, got))
    return ValueError(f"{where}expected an image of height x width {expected_text}, got {got_text}")


def encode_jpeg(image: Image.Image, comment: bytes = b"") -> bytes:
    """Return an image as a file, `JPEG`, with a comment in its header."""
    file = BytesIO()
    image.save(file, "JPEG", quality=QUALITY, subsampling=0, comment=comment)
    return file.getvalue()


def decode_images(
    paths: Sequence[Path], image_size: tuple[int, int] | None = None, images: UInt8[Tensor, "n 3 h w"] | None = None
) -> None:
    """Decode every image of a folder as RGB in threads, into `images` if given.

    Raises:
        ValueError: images can't be used, see `read_image`; one error lists them.
    """

    def decode(index: int) -> None:
        image = read_image(paths[index], image_size)
        if images is not None:
            images[index] = torch.from_numpy(image).permute(2, 0, 1)

    _in_threads(decode, paths)


def check_headers(paths: Sequence[Path], image_size: tuple[int, int]) -> None:
    """Check that every image of a folder has a header of this height and width.

    Images are not decoded, except for those that an EXIF orientation may rotate. Raises ValueError as `decode_images`.
    """

    def check(index: int) -> None:
        path = paths[index]
        try:
            with open_regular(path, MAX_IMAGE_BYTES) as file:
                image = _open(file, image_size, f"{path}: ")
                if (image.height, image.width) == image_size and "exif" not in image.info:
                    return
        except FileNotFoundError:
            pass  # which `read_image` says
        read_image(path, image_size)

    # Pillow parses a header in Python: threads would take twice the time of one.
    _in_threads(check, paths, 1)


def _in_threads(read: Callable[[int], None], paths: Sequence[Path], num_threads: int | None = None) -> None:
    """Call `read` with the index of every path in threads; raise one ValueError for all ValueErrors."""

    def errors_of(indices: range) -> list[str | None]:
        errors: list[str | None] = []
        for index in indices:
            try:
                read(index)
            except ValueError as error:
                errors.append(str(error))
            else:
                errors.append(None)
        return errors

    folder = paths[0].parent
    # `None` draws the bar on a terminal only.
    hide_bar = True if len(paths) <= MANY_IMAGES else None
    # A task of its own for each header would take longer than the header.
    batches = [range(len(paths))[start : start + BATCH] for start in range(0, len(paths), BATCH)]
    # Pillow releases the GIL while it decodes.
    with ThreadPoolExecutor(num_threads or os.cpu_count()) as pool:
        results = chain.from_iterable(pool.map(errors_of, batches))
        bar = tqdm(results, desc=f"Read {folder.name}", unit="image", total=len(paths), disable=hide_bar)
        errors = [error for error in bar if error is not None]
    if errors:
        heading = f"{folder}: {len(errors)} of {len(paths)} images can't be used:"
        raise ValueError("\n".join([heading, *first_lines(errors, 10)]))
