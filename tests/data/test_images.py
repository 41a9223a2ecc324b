from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from twostream.data import images
from twostream.data.images import decode_images, read_image


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


def test_the_exif_orientation_is_applied_on_request(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    noise = save_noise(tmp_path / "a.png", exif=exif)
    assert (read_image(tmp_path / "a.png") == noise).all()
    assert (read_image(tmp_path / "a.png", apply_orientation=True) == np.rot90(noise, -1)).all()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=f"^{tmp_path / 'a.png'}: file not found$"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "text.png", "empty.png"])
def test_an_unreadable_file_is_named(tmp_path, name):
    path = tmp_path / name
    save_noise(path)
    path.write_bytes({"text.png": b"text", "empty.png": b""}.get(name, path.read_bytes()[:-300]))
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
