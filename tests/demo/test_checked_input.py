import base64
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from stand_ins import encoded
from twostream.demo.checked_input import BadRequest, Limits, decode_image, parse_image, parse_joints, parse_object

JOINTS = [[float(y), 3] for y in range(17)] + [None]
GREY = Image.new("RGB", (64, 64), "grey")


def png_header(width, height):
    """A PNG that says its size and has no pixels."""
    content = b"\x89PNG\r\n\x1a\n"
    for chunk in (b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"IDAT"):
        content += struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return content


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_photos_are_decoded_and_reduced(kind):
    image = decode_image(encoded(Image.new("RGB", (1200, 800), "teal"), kind), "photo", 1e6)
    assert (image.mode, image.size) == ("RGB", (512, 341))
    assert np.abs(np.asarray(image).astype(int) - (0, 128, 128)).max() <= 4


def test_photos_are_upright_and_on_white():
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    assert decode_image(encoded(Image.new("RGB", (40, 20)), "JPEG", exif=exif), "photo", 1e6).size == (20, 40)
    transparent = decode_image(encoded(Image.new("RGBA", (4, 4), (255, 0, 0, 0))), "photo", 1e6)
    assert transparent.getpixel((0, 0)) == (255, 255, 255)
    grey = decode_image(encoded(Image.new("L", (4, 4), 7)), "photo", 1e6)
    assert grey.getpixel((0, 0)) == (7, 7, 7)


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (b"", 415, "photo: expected a PNG, JPEG or WEBP image, got 0 bytes that can't be decoded"),
        (b"GIF89a" + bytes(40), 415, "got 46 bytes"),
        *((encoded(GREY, kind), 415, "can't be decoded") for kind in ("GIF", "TIFF", "BMP", "PPM")),
        (encoded(GREY, "JPEG")[:-20], 415, "can't be decoded"),
        (png_header(20, 20), 415, "can't be decoded"),
        (png_header(2000, 1000), 413, "photo: expected at most 1 megapixels, got 2000x1000"),
        (png_header(12_000, 9000), 413, "photo: expected at most 1 megapixels"),
        (png_header(60_000, 60_000), 413, "photo: expected at most 1 megapixels"),
    ],
)
def test_other_files_and_too_many_pixels_are_refused(content, status, message):
    with pytest.raises(BadRequest, match=message) as error:
        decode_image(content, "photo", 1e6)
    assert error.value.status == status


def test_joints_are_numbers_or_missing():
    joints = parse_joints(JOINTS, "target_joints")
    assert joints.shape == (18, 2)
    assert np.isnan(joints[17]).all()
    np.testing.assert_array_equal(joints[:17], JOINTS[:17])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "target_joints: expected a list of 18 joints, got None"),
        (JOINTS[:-1], "got a list of 17"),
        ([*JOINTS[:-1], [1, 2, 3]], r"left ear: expected \[y, x\] within ±10000 pixels, or null, got \[1, 2, 3\]"),
        ([[1e30, 0], *JOINTS[1:]], r"nose: expected .* got \[1e\+30, 0\]"),
        ([[10**400, 0], *JOINTS[1:]], r"nose: expected"),
        ([[float("nan"), 0], *JOINTS[1:]], r"nose: expected"),
        ([[float("inf"), 0], *JOINTS[1:]], r"nose: expected"),
        ([[True, 0], *JOINTS[1:]], r"nose: expected"),
        ([["1", 0], *JOINTS[1:]], r"nose: expected"),
        ([{}, *JOINTS[1:]], r"nose: expected .* got \{\}"),
    ],
)
def test_other_joints_are_refused(value, message):
    with pytest.raises(BadRequest, match=message):
        parse_joints(value, "target_joints")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected JSON"),
        (b"\xff\xfe", "expected JSON"),
        (b"[" * 100_000, r"expected JSON, got '\[\[\["),
        (b'{"a": NaN}', "expected finite numbers, got NaN"),
        (b'{"a": -Infinity}', "expected finite numbers, got -Infinity"),
        (b"[1]", r"expected an object with a, b, got \[1\]"),
        (b'{"a": 1}', r"got \['a'\]"),
        (b'{"a": 1, "b": 1, "c": 1}', r"got \['a', 'b', 'c'\]"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "expected JSON"),
    ],
)
def test_other_json_is_refused(content, message):
    with pytest.raises(BadRequest, match=message) as error:
        parse_object(content, ("a", "b"))
    assert len(str(error.value)) < 200
    assert "\n" not in str(error.value)


def test_images_of_the_page_are_data_uris():
    def uri(content, kind="png"):
        return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"

    assert parse_image(uri(encoded(Image.new("RGB", (16, 32))))).size == (16, 32)
    for value in (None, "", "people.png", "data:text/html;base64,AAAA", "http://127.0.0.1/a.png", "file:///a.png"):
        with pytest.raises(BadRequest, match="image: expected a data URI of a PNG, JPEG or WEBP image"):
            parse_image(value)
    with pytest.raises(BadRequest, match="image: expected base64"):
        parse_image("data:image/png;base64,é!")
    with pytest.raises(BadRequest, match="image: expected at most 512x512, got 513x1"):
        parse_image(uri(encoded(Image.new("RGB", (513, 1)))))


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_megabytes": 0}, "max_megabytes: expected more than 0, got 0"),
        ({"max_requests": -1}, "max_requests: expected more than 0, got -1"),
        ({"max_megapixels": 500}, "max_megapixels: expected at most 89, Pillow's own limit, got 500"),
    ],
)
def test_impossible_limits_are_refused(limits, message):
    with pytest.raises(ValueError, match=message):
        Limits(**limits)
