import os

import numpy as np
import pytest

from twostream.data.videos import check_format, read_video, write_video

FRAMES = [np.full((32, 16, 3), value, np.uint8) for value in (0, 120, 240)]


@pytest.mark.parametrize("suffix", ["gif", "mp4"])
def test_frames_come_back(tmp_path, suffix):
    path = tmp_path / f"walk.{suffix}"
    write_video(path, FRAMES, fps=10)
    read = list(read_video(path))
    assert [frame.shape for frame in read] == [(32, 16, 3)] * 3
    for frame, expected in zip(read, FRAMES, strict=True):
        assert np.abs(frame.astype(int) - expected).max() <= 8  # the MP4 is compressed
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_an_odd_size_is_extended_in_an_mp4(tmp_path):
    write_video(tmp_path / "odd.mp4", [frame[:31, :15] for frame in FRAMES], fps=10)
    assert next(read_video(tmp_path / "odd.mp4")).shape == (32, 16, 3)


@pytest.mark.parametrize("name", ["broken.gif", "broken.mp4"])
def test_a_broken_video_is_refused_in_one_line(tmp_path, name):
    (tmp_path / name).write_bytes(b"no video")
    with pytest.raises(ValueError, match=rf"^.*{name}: expected a video, got: [^\n]*$"):
        list(read_video(tmp_path / name))


def test_frames_that_are_too_large_are_not_decoded(tmp_path):
    size = (16000).to_bytes(2, "little") * 2
    content = b"GIF89a" + size + b"\x80\0\0" + bytes(6) + b",\0\0\0\0" + size + b"\0\x02\x02D\x01\0;"
    (tmp_path / "large.gif").write_bytes(content)
    with pytest.raises(ValueError, match=r"large\.gif: expected a video, got: frames of 16000x16000, more than"):
        next(read_video(tmp_path / "large.gif"))


def test_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(ValueError, match=r"pipe\.mp4: expected a regular file, got a pipe"):
        next(read_video(tmp_path / "pipe.mp4"))


@pytest.mark.parametrize("kind", ["avi", ".gif", ""])
def test_other_formats_are_not_written(kind):
    with pytest.raises(ValueError, match=f"^video: expected gif or mp4, got '{kind}'$"):
        check_format(kind)
