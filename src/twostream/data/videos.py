"""Videos and GIFs by imageio and PyAV (FFmpeg), optional packages."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from twostream.data.images import MAX_PIXELS
from twostream.extras import require
from twostream.files import atomic_write, open_regular

VIDEO_SUFFIXES = (".gif", ".mp4", ".mov", ".avi", ".webm", ".mkv")
WRITTEN = ("gif", "mp4")
MAX_FRAMES = 5000

RGB = UInt8[np.ndarray, "h w 3"]


def read_video(path: Path) -> Iterator[RGB]:
    """Yield the frames of a video or GIF.

    Raises ValueError for a file that is not regular, holds no frames, or more than 5,000, or too large ones.
    """
    open_regular(path).close()  # FFmpeg would wait for the writer of a pipe
    imageio, count = _imageio(), 0
    try:
        _check_size(path)
        with imageio.imopen(path, "r", plugin="pyav") as file:
            for frame in file.iter(format="rgb24"):
                if (count := count + 1) > MAX_FRAMES:
                    break
                yield frame
    # imageio and FFmpeg raise errors of many kinds on broken content.
    except Exception as error:
        raise ValueError(f"{path}: expected a video, got: {error}".splitlines()[0]) from error
    if not 1 <= count <= MAX_FRAMES:
        raise ValueError(f"{path}: expected 1 to {MAX_FRAMES} frames, got {'more' if count else 'none'}")


def _check_size(path: Path) -> None:
    """Raise ValueError for a video of more pixels than an image may have, before anything is decoded."""
    import av

    with av.open(str(path)) as file:
        width, height = file.streams.video[0].width, file.streams.video[0].height
    if width * height > MAX_PIXELS:
        raise ValueError(f"frames of {width}x{height}, more than {MAX_PIXELS:,} pixels")


def write_video(path: Path, frames: Sequence[RGB], fps: float) -> None:
    """Write frames of one size, atomically, as a GIF that repeats or an MP4 (H.264).

    An MP4 has an even height and width; an odd one is extended by its last row or column. Raises ValueError for another
    suffix.
    """
    kind = path.suffix.lower().removeprefix(".")
    check_format(kind)
    options: dict[str, Any] = {"duration": 1000 / fps, "loop": 0}
    stacked = np.stack(frames)
    if kind == "mp4":
        options = {"plugin": "pyav", "fps": fps, "codec": "libx264"}
        stacked = np.pad(stacked, ((0, 0), (0, stacked.shape[1] % 2), (0, stacked.shape[2] % 2), (0, 0)), mode="edge")
    with atomic_write(path) as temporary:
        _imageio().imwrite(temporary, stacked, **options)


def check_format(kind: str) -> None:
    """Raise ValueError unless videos are written in a format, gif or mp4, and ImportError without imageio."""
    if kind not in WRITTEN:
        raise ValueError(f"video: expected {' or '.join(WRITTEN)}, got {kind!r}")
    _imageio()


def _imageio() -> Any:
    require("videos need", "video", "imageio", "av")
    import imageio.v3

    return imageio.v3
