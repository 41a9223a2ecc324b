"""What browsers send, checked: sizes, photos, joints."""

import asyncio
import base64
import binascii
import json
import re
import warnings
from collections.abc import AsyncIterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageOps

from twostream.data.keypoints import JOINT_NAMES, NUM_JOINTS
from twostream.files import quoted

PHOTO_FORMATS = ("PNG", "JPEG", "WEBP")
MAX_SIDE = 512  # pixels of an image on the page; larger photos are reduced
MAX_COORDINATE = 10_000  # pixels
MAX_SECONDS = 30  # until a request has arrived
MAX_JSON_BYTES = 3 * 2**20  # an image of noise at MAX_SIDE is 1 MB as PNG


class BadRequest(Exception):
    """A request that is refused; `status` is HTTP's, the message one line: what was expected and what came."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Limits:
    """Of requests. Raises ValueError for a limit that is not positive, and for more pixels than Pillow's own limit.

    Attributes:
        max_megabytes: of an uploaded photo, as a file.
        max_megapixels: of an uploaded photo.
        max_requests: that are received, wait or are computed at one time; more are refused.
    """

    max_megabytes: float = 20
    max_megapixels: float = 30
    max_requests: int = 32

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value <= 0:
                raise ValueError(f"{name}: expected more than 0, got {value}")
        most = (Image.MAX_IMAGE_PIXELS or np.inf) / 1e6
        if self.max_megapixels > most:
            raise ValueError(
                f"max_megapixels: expected at most {most:.0f}, Pillow's own limit, got {self.max_megapixels}"
            )


async def read_body(parts: AsyncIterator[bytes], max_bytes: int) -> bytes:
    """Return the body of a request.

    Raises BadRequest as soon as more than `max_bytes` have arrived (413), and if it takes longer than `MAX_SECONDS`
    (408).
    """
    body = bytearray()
    try:
        async with asyncio.timeout(MAX_SECONDS):
            async for part in parts:
                body += part
                if len(body) > max_bytes:
                    raise BadRequest(f"expected at most {max_bytes / 2**20:.3g} MB, got more", 413)
    except TimeoutError:
        raise BadRequest(f"expected the whole request within {MAX_SECONDS} seconds, got a part", 408) from None
    return bytes(body)


def parse_object(content: bytes, keys: tuple[str, ...]) -> dict[str, Any]:
    """Return a JSON object with exactly these keys. Raises BadRequest for another content, and for NaN and Infinity."""

    def refuse(word: str) -> None:
        raise BadRequest(f"expected finite numbers, got {word}")

    try:
        value = json.loads(content, parse_constant=refuse)
    # Thousands of brackets exceed the parser's recursion limit.
    except (ValueError, RecursionError):
        raise BadRequest(f"expected JSON, got {quoted(content[:60].decode(errors='replace'))}") from None
    got = sorted(value) if isinstance(value, dict) else value
    if got != sorted(keys):
        raise BadRequest(f"expected an object with {', '.join(keys)}, got {quoted(got)}")
    return value


def parse_joints(value: Any, name: str) -> Float[np.ndarray, "18 2"]:
    """Return a list of 18 joints, [y, x] in pixels of the image or null, as floats with NaN for null.

    Raises BadRequest for another value, and for coordinates beyond `MAX_COORDINATE`.
    """
    if not isinstance(value, list) or len(value) != NUM_JOINTS:
        got = f"a list of {len(value)}" if isinstance(value, list) else quoted(value)
        raise BadRequest(f"{name}: expected a list of {NUM_JOINTS} joints, got {got}")
    joints = np.full((NUM_JOINTS, 2), np.nan)
    for index, joint in enumerate(value):
        if joint is None:
            continue
        if not (isinstance(joint, list) and len(joint) == 2 and all(map(_is_coordinate, joint))):
            expected = f"[y, x] within ±{MAX_COORDINATE} pixels, or null"
            raise BadRequest(f"{name}: {JOINT_NAMES[index]}: expected {expected}, got {quoted(joint)}")
        joints[index] = joint
    return joints


def parse_image(value: Any) -> Image.Image:
    """Return an image from a data URI as the page has it, of at most `MAX_SIDE` pixels a side.

    Raises BadRequest for another value.
    """
    match = re.match(r"data:image/(?:png|jpeg|webp);base64,", value) if isinstance(value, str) else None
    if match is None:
        raise BadRequest(f"image: expected a data URI of a {_formats()} image, got {quoted(value)}")
    try:
        content = base64.b64decode(value[match.end() :], validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest("image: expected base64, got other characters") from None
    return decode_image(content, "image", max_pixels=MAX_SIDE**2, max_side=MAX_SIDE)


def decode_image(content: bytes, name: str, max_pixels: float, max_side: int | None = None) -> Image.Image:
    """Decode a photo as RGB: upright, on white if it is transparent, and reduced to `MAX_SIDE` pixels a side.

    Args:
        content: of a file in one of `PHOTO_FORMATS`.
        name: of the photo in messages.
        max_pixels: most pixels; more are refused before anything is decoded.
        max_side: most pixels a side.

    Raises BadRequest for another content (415) and for too many pixels (413).
    """
    try:
        with _open(content) as opened:
            width, height = opened.size
            if width * height > max_pixels or max(width, height) > (max_side or max(width, height)):
                most = f"{max_side}x{max_side}" if max_side else f"{max_pixels / 1e6:g} megapixels"
                raise BadRequest(f"{name}: expected at most {most}, got {width}x{height}", 413)
            opened.draft("RGB", (2 * MAX_SIDE, 2 * MAX_SIDE))  # JPEG: decode at a fraction of the size
            image = ImageOps.exif_transpose(opened)
            if image.has_transparency_data:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            image = image.convert("RGB")
    except BadRequest:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadRequest(f"{name}: expected at most {max_pixels / 1e6:g} megapixels, got more", 413) from None
    # Pillow's decoders raise errors of many kinds on broken content.
    except Exception:
        got = f"{len(content)} bytes that can't be decoded"
        raise BadRequest(f"{name}: expected a {_formats()} image, got {got}", 415) from None
    image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.BICUBIC, reducing_gap=3)
    return image


def _open(content: bytes) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return Image.open(BytesIO(content), formats=PHOTO_FORMATS)


def _is_coordinate(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= MAX_COORDINATE


def _formats() -> str:
    return f"{', '.join(PHOTO_FORMATS[:-1])} or {PHOTO_FORMATS[-1]}"
