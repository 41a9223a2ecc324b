import os
import zipfile

import pytest

from twostream.prepare import sources
from twostream.prepare.sources import Source

FILES = {"a/b.txt": b"hello", "c.txt": b"world!"}


def write_zip(path, files, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return path


def write_damaged_zip(path, files):
    path.write_bytes(write_zip(path, files).read_bytes().replace(b"hello", b"jello"))
    return path


@pytest.mark.parametrize("kind", ["zip", "folder"])
def test_a_zip_and_a_folder_are_read_alike(tmp_path, kind):
    path = write_zip(tmp_path / "x.zip", FILES)
    if kind == "folder":
        path = tmp_path / "x"
        zipfile.ZipFile(tmp_path / "x.zip").extractall(path)
    source = Source(path)
    assert source.sizes == {"a/b.txt": 5, "c.txt": 6}
    assert {name: source.read(name) for name in source.sizes} == FILES


def test_links_to_folders_are_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/b.txt").write_bytes(b"hello")
    (tmp_path / "x").mkdir()
    (tmp_path / "x/img").symlink_to(tmp_path / "elsewhere")
    assert Source(tmp_path / "x").sizes == {"img/b.txt": 5}


def test_folders_that_link_to_each_other_are_read_once(tmp_path):
    for name in ("img", "train"):
        (tmp_path / "x" / name).mkdir(parents=True)
    (tmp_path / "x/train/b.txt").write_bytes(b"hello")
    for link, target in (("a", "."), ("b", "."), ("img/again", "../train"), ("train/up", "../img")):
        (tmp_path / "x" / link).symlink_to(target)
    os.mkfifo(tmp_path / "x/pipe")
    assert Source(tmp_path / "x").sizes == {"train/b.txt": 5}


@pytest.mark.parametrize("kind", ["zip", "folder"])
def test_a_file_over_the_limit_is_refused(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(sources, "MAX_IMAGE_BYTES", 4)
    path = write_zip(tmp_path / "x.zip", FILES, zipfile.ZIP_DEFLATED)
    if kind == "folder":
        path = tmp_path / "x"
        zipfile.ZipFile(tmp_path / "x.zip").extractall(path)
    with pytest.raises(ValueError, match=r"c\.txt: expected at most 4 bytes, got"):
        Source(path).read("c.txt")


def test_a_member_larger_than_it_states_is_not_unpacked_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MAX_IMAGE_BYTES", 1000)
    path = write_zip(tmp_path / "x.zip", {"c.txt": bytes(10_000_000)}, zipfile.ZIP_DEFLATED)
    stated = (10_000_000).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(stated, (10).to_bytes(4, "little")))
    with pytest.raises(ValueError, match=r"c\.txt cannot be read: Bad CRC-32"):
        Source(path).read("c.txt")


def test_a_compression_without_a_limit_is_refused(tmp_path):
    path = write_zip(tmp_path / "x.zip", FILES, zipfile.ZIP_BZIP2)
    with pytest.raises(ValueError, match=r"x\.zip: a/b\.txt: expected a stored or deflated file; unpack it"):
        Source(path)


def test_members_that_point_outside_the_zip_are_ignored(tmp_path):
    outside = ["../b.txt", "a/../../b.txt", "/etc/b.txt", "..\\b.txt", "\\b.txt"]
    path = write_zip(tmp_path / "x.zip", dict.fromkeys([*outside, "a/b..txt"], b""))
    assert list(Source(path).sizes) == ["a/b..txt"]


def test_an_encrypted_zip_has_to_be_unpacked_by_the_user(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("a.txt", b"")
        file.filelist[0].flag_bits |= 1
    with pytest.raises(ValueError, match=r"x\.zip: a\.txt is encrypted: unpack the zip with the password"):
        Source(tmp_path / "x.zip")


def test_a_truncated_zip_and_a_missing_path_are_refused(tmp_path):
    path = write_zip(tmp_path / "x.zip", FILES)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"x\.zip: expected a folder or a complete \.zip file"):
        Source(path)
    with pytest.raises(ValueError, match=r"source: expected the downloaded \.zip or folder, file not found: .*none"):
        Source(tmp_path / "none")


def test_files_that_cannot_be_read_are_named(tmp_path):
    path = write_damaged_zip(tmp_path / "x.zip", FILES)
    with pytest.raises(ValueError, match=r"x\.zip: a/b\.txt cannot be read: Bad CRC-32 .*download it again"):
        Source(path).read("a/b.txt")
    with pytest.raises(ValueError, match=r"none\.txt cannot be read: .*No such file"):
        Source(tmp_path).read("none.txt")


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_inside_a_zip_is_extracted_once(tmp_path, compression):
    inner = write_zip(tmp_path / "img.zip", FILES).read_bytes()
    outer = Source(write_zip(tmp_path / "x.zip", {"Img/img.zip": inner, "b.zip": b""}, compression))
    (opened,) = outer.open_inner(("img.zip", "img_highres.zip"), tmp_path / "scratch")
    assert opened.read("c.txt") == b"world!"
    assert [path.name for path in (tmp_path / "scratch").iterdir()] == ["img.zip"]
    written = opened.path.stat().st_mtime_ns
    list(outer.open_inner(("img.zip",), tmp_path / "scratch"))
    assert opened.path.stat().st_mtime_ns == written


def test_a_damaged_zip_inside_a_zip_leaves_no_file(tmp_path):
    inner = write_zip(tmp_path / "img.zip", FILES).read_bytes()
    outer = Source(write_damaged_zip(tmp_path / "x.zip", {"img.zip": inner}))
    with pytest.raises(ValueError, match=r"x\.zip: img\.zip cannot be extracted"):
        list(outer.open_inner(("img.zip",), tmp_path / "scratch"))
    assert not list((tmp_path / "scratch").iterdir())


@pytest.mark.parametrize("reason", ["no zip", "too large"])
def test_a_zip_inside_a_zip_that_is_refused_leaves_no_copy(tmp_path, monkeypatch, reason):
    monkeypatch.setattr(sources, "MAX_ARCHIVE_BYTES", 1000 if reason == "no zip" else 3)
    outer = Source(write_zip(tmp_path / "x.zip", {"img.zip": bytes(100)}, zipfile.ZIP_DEFLATED))
    with pytest.raises(ValueError, match=r"img\.zip: expected (a folder or a complete|at most 3 bytes, got 100)"):
        list(outer.open_inner(("img.zip",), tmp_path / "scratch"))
    assert not list(tmp_path.glob("scratch/*"))


def test_a_zip_inside_a_folder_is_not_copied(tmp_path):
    (tmp_path / "x/Img").mkdir(parents=True)
    path = write_zip(tmp_path / "x/Img/img.zip", FILES)
    (opened,) = Source(tmp_path / "x").open_inner(("img.zip",), tmp_path / "scratch")
    assert opened.path == path
    assert not (tmp_path / "scratch").exists()
