import zipfile

import pytest

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


def test_a_zip_inside_a_folder_is_not_copied(tmp_path):
    (tmp_path / "x/Img").mkdir(parents=True)
    path = write_zip(tmp_path / "x/Img/img.zip", FILES)
    (opened,) = Source(tmp_path / "x").open_inner(("img.zip",), tmp_path / "scratch")
    assert opened.path == path
    assert not (tmp_path / "scratch").exists()
