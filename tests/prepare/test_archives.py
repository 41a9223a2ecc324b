import pickle
import zipfile

import pytest

from twostream.prepare.archives import open_download, open_inner


def write_zip(path, files, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return path


FILES = {"a/b.txt": b"hello", "c.txt": b"world!"}


@pytest.fixture(params=["zip", "folder"])
def download(request, tmp_path):
    if request.param == "zip":
        return open_download(write_zip(tmp_path / "x.zip", FILES))
    (tmp_path / "x/a").mkdir(parents=True)
    for name, content in FILES.items():
        (tmp_path / "x" / name).write_bytes(content)
    return open_download(tmp_path / "x")


def test_zip_and_folder_are_read_alike(download):
    assert download.names() == ["a/b.txt", "c.txt"]
    assert [download.read(name) for name in download.names()] == [b"hello", b"world!"]
    assert [download.size(name) for name in download.names()] == [5, 6]


def test_a_download_can_be_sent_to_another_process(download):
    download.names()
    assert pickle.loads(pickle.dumps(download)).read("c.txt") == b"world!"


def test_a_linked_folder_is_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/b.txt").write_bytes(b"hello")
    (tmp_path / "x").mkdir()
    (tmp_path / "x/img").symlink_to(tmp_path / "elsewhere")
    assert open_download(tmp_path / "x").names() == ["img/b.txt"]


def test_members_that_lead_out_of_the_zip_do_not_exist(tmp_path):
    out = ["../b.txt", "a/../../b.txt", "/etc/b.txt", "..\\b.txt", "\\b.txt"]
    path = write_zip(tmp_path / "x.zip", dict.fromkeys([*out, "a/b..txt"], b""))
    assert open_download(path).names() == ["a/b..txt"]


def test_an_encrypted_zip_asks_to_be_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("a.txt", b"")
        file.filelist[0].flag_bits |= 1
    with pytest.raises(ValueError, match=r"x\.zip: a\.txt is encrypted: unpack the zip with the password"):
        open_download(tmp_path / "x.zip").names()


def test_a_zip_that_is_cut_off_is_refused(tmp_path):
    path = write_zip(tmp_path / "x.zip", FILES)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"x\.zip: expected a folder or a whole \.zip file"):
        open_download(path)


def test_a_damaged_member_is_named(tmp_path):
    path = write_zip(tmp_path / "x.zip", FILES)
    path.write_bytes(path.read_bytes().replace(b"hello", b"jello"))
    with pytest.raises(ValueError, match=r"x\.zip: a/b\.txt is damaged: Bad CRC-32 .*fetch the zip again"):
        open_download(path).read("a/b.txt")


def test_a_file_that_can_not_be_read_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"none\.txt: can't be read: .*No such file"):
        open_download(tmp_path).read("none.txt")


def test_refuses_a_path_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"source: expected the downloaded \.zip or folder, there is none at .*none"):
        open_download(tmp_path / "none")


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_in_a_zip_is_unpacked_once(tmp_path, compression):
    inner = write_zip(tmp_path / "img.zip", FILES).read_bytes()
    outer = open_download(write_zip(tmp_path / "x.zip", {"Img/img.zip": inner, "b.zip": b""}, compression))
    (opened,) = open_inner(outer, ("img.zip", "img_highres.zip"), tmp_path / "scratch")
    assert opened.read("c.txt") == b"world!"
    assert [path.name for path in (tmp_path / "scratch").iterdir()] == ["img.zip"]
    written = opened.path.stat().st_mtime_ns
    list(open_inner(outer, ("img.zip",), tmp_path / "scratch"))
    assert opened.path.stat().st_mtime_ns == written


def test_a_damaged_zip_in_a_zip_is_named_and_not_left_behind(tmp_path):
    inner = write_zip(tmp_path / "img.zip", FILES).read_bytes()
    path = write_zip(tmp_path / "x.zip", {"img.zip": inner})
    path.write_bytes(path.read_bytes().replace(b"hello", b"jello"))
    with pytest.raises(ValueError, match=r"x\.zip: img\.zip can't be unpacked"):
        list(open_inner(open_download(path), ("img.zip",), tmp_path / "scratch"))
    assert not list((tmp_path / "scratch").iterdir())


def test_a_zip_in_a_folder_stays_where_it_is(tmp_path):
    (tmp_path / "x/Img").mkdir(parents=True)
    path = write_zip(tmp_path / "x/Img/img.zip", FILES)
    (opened,) = open_inner(open_download(tmp_path / "x"), ("img.zip",), tmp_path / "scratch")
    assert opened.path == path
    assert not (tmp_path / "scratch").exists()
