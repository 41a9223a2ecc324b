import os
import tracemalloc
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from twostream.data import images
from twostream.data.images import check_headers, decode_images, read_image


def save_noise(path, **options):
    noise = np.random.default_rng(0).integers(0, 256, (32, 16, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, **options)
    return noise


def test_an_image_is_read_from_path_or_content(tmp_path):
    path = tmp_path / "a.png"
    noise = save_noise(path)
    assert (read_image(path) == noise).all()
    assert (read_image(BytesIO(path.read_bytes()), (32, 16)) == noise).all()
    Image.new("L", (16, 32), 7).save(path)
    assert (read_image(path) == np.full((32, 16, 3), 7)).all()


def test_the_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    noise = save_noise(tmp_path / "a.png", exif=exif)
    assert (read_image(tmp_path / "a.png") == np.rot90(noise, -1)).all()
    assert read_image(tmp_path / "a.png", (16, 32)).shape == (16, 32, 3)
    with pytest.raises(ValueError, match=r"a\.png: expected an image of height x width 32x16, got 16x32"):
        read_image(tmp_path / "a.png", (32, 16))


def test_modes_of_8_bits_are_converted(tmp_path):
    red, path = Image.new("RGB", (2, 2), (255, 0, 0)), tmp_path / "a.png"
    for image in (red, red.convert("P"), red.convert("RGBA"), red.quantize(2)):
        image.save(path)
        assert (read_image(path) == [255, 0, 0]).all()
    red.convert("CMYK").save(tmp_path / "a.jpg", quality=100)
    assert abs(read_image(tmp_path / "a.jpg").astype(int) - [255, 0, 0]).max() <= 2
    Image.new("1", (2, 2), 1).save(path)
    assert (read_image(path) == 255).all()


def test_transparent_pixels_are_blended_with_white(tmp_path):
    path = tmp_path / "a.png"
    for alpha, expected in ((0, 255), (255, 10), (51, 206)):
        Image.new("RGBA", (2, 2), (10, 10, 10, alpha)).save(path)
        assert (read_image(path) == expected).all()
    palette = Image.new("P", (2, 2), 1)
    palette.putpalette([0, 0, 0, 9, 9, 9])
    palette.save(path, transparency=1)
    assert (read_image(path) == 255).all()
    noise = save_noise(path)
    Image.fromarray(noise).convert("RGBA").save(path)
    assert (read_image(path) == noise).all()


@pytest.mark.parametrize(
    ("name", "mode", "message"),
    [
        ("a.png", "I;16", "expected an image of 8 bits a channel, got one of Pillow's mode I;16"),
        ("a.tiff", "F", "expected an image: it is neither of PNG, JPEG, WEBP"),
        ("a.tiff", "I", "expected an image: it is neither of PNG, JPEG, WEBP"),
        ("a.eps", "RGB", "expected an image: it is neither of PNG, JPEG, WEBP"),
    ],
)
def test_images_of_other_ranges_and_formats_are_refused(tmp_path, name, mode, message):
    path = tmp_path / "a.jpg"
    Image.new(mode, (4, 4)).save(tmp_path / name)
    (tmp_path / name).rename(path)
    with pytest.raises(ValueError, match=f"^{path}: {message}$"):
        read_image(path)


def test_a_huge_image_is_refused_before_it_is_decoded(tmp_path):
    path = tmp_path / "a.png"
    Image.new("1", (10_000, 8_000)).save(path)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"a\.png: expected at most 50,000,000 pixels, got 10,000x8,000"):
            read_image(path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_pipe_as_an_image_is_refused(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png: expected a regular file, got a pipe"):
        decode_images([tmp_path / "a.png"])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=f"^{tmp_path / 'a.png'}: file not found$"):
        read_image(tmp_path / "a.png")


def with_length(chunk, length):
    """Returns how a PNG is changed to state a wrong length of a chunk."""
    return lambda png: png.replace(png[png.index(chunk) - 4 :][:8], length.to_bytes(4, "big") + chunk)


@pytest.mark.parametrize(
    ("suffix", "damage"),
    [
        *(("png", lambda _: b"text"), ("png", lambda _: b"")),
        *(("png", lambda png: png[:-300]), ("jpg", lambda jpeg: jpeg[:-300])),
        # Pillow raises SyntaxError and ValueError.
        *(("png", with_length(b"IDAT", 99)), ("png", with_length(b"IHDR", 5))),
    ],
)
def test_an_unreadable_file_is_named(tmp_path, suffix, damage):
    path = tmp_path / f"a.{suffix}"
    save_noise(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=f"^{path}: expected an image: "):
        read_image(path)
    with pytest.raises(ValueError, match=r"^expected an image: "):
        read_image(BytesIO(path.read_bytes()))


def test_an_image_over_pillows_limit_is_unreadable(tmp_path, monkeypatch):
    save_noise(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(ValueError, match=r"a\.png: expected an image: Image size \(512 pixels\) exceeds"):
        read_image(tmp_path / "a.png")


def test_an_image_of_another_size_is_refused_before_it_is_decoded(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (3000, 2000)).save(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"a\.png: expected an image of height x width 32x16, got 2000x3000"):
        read_image(path, (32, 16))


def test_ten_unusable_images_are_listed_and_the_others_counted(tmp_path):
    with pytest.raises(ValueError, match=r": 13 of 13 images can't be used:\n") as error:
        decode_images([tmp_path / f"{i:02d}.png" for i in range(13)])
    lines = str(error.value).splitlines()
    assert "09.png: file not found" in lines[10]
    assert lines[11:] == ["and 3 more"]


@pytest.mark.parametrize(("threshold", "disable"), [(7, None), (8, True)])
def test_many_images_are_read_with_a_progress_bar_on_a_terminal(people_folder, monkeypatch, threshold, disable):
    bars = []
    monkeypatch.setattr(images, "tqdm", lambda iterable, **options: bars.append(options) or iterable)
    monkeypatch.setattr(images, "MANY_IMAGES", threshold)
    decode_images(sorted((people_folder / "test").iterdir()), (32, 16))
    assert bars == [{"desc": "Read test", "unit": "image", "total": 8, "disable": disable}]


def test_headers_are_checked_without_decoding(tmp_path):
    paths = [
        tmp_path / name for name in ("right.png", "large.jpg", "bits.png", "turned.jpg", "empty.png", "nothere.png")
    ]
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (16, 32)).save(paths[0])
    paths[0].write_bytes(paths[0].read_bytes()[:50])
    Image.new("RGB", (17, 32)).save(paths[1])
    Image.new("I;16", (16, 32)).save(paths[2])
    Image.new("RGB", (32, 16)).save(paths[3], exif=exif)
    paths[4].touch()
    with pytest.raises(ValueError, match=r"4 of 6 images can't be used:\n") as error:
        check_headers(paths, (32, 16))
    assert [line.split(":")[0] for line in str(error.value).splitlines()[1:]] == [
        str(path) for path in (paths[1], paths[2], paths[4], paths[5])
    ]
