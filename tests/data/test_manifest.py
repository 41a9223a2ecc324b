import json
import os
import shutil

import pytest

from twostream.data import manifest
from twostream.data.manifest import INDEX, MANIFEST, read_manifest, verify


@pytest.fixture
def folder(people_folder, tmp_path):
    return shutil.copytree(people_folder, tmp_path / "data")


@pytest.fixture
def read(monkeypatch):
    """The files that are read, by name."""
    read = []
    for name in ("open_regular", "sha256_of"):
        original = getattr(manifest, name)
        monkeypatch.setattr(manifest, name, lambda path, original=original: read.append(path.name) or original(path))
    return read


def num_files(folder):
    return len([path for path in folder.rglob("[!.]*") if path.is_file() and path.name != MANIFEST])


def test_files_of_known_size_and_time_are_not_read_again(folder, read):
    assert verify(folder) == json.loads((folder / MANIFEST).read_text())
    assert read == []
    image = min((folder / "test").iterdir())
    os.utime(image, (0, 0))
    verify(folder)
    assert read == [image.name]
    verify(folder)
    assert read == [image.name]
    verify(folder, trust_times=False)
    assert len(read) == 1 + num_files(folder)


@pytest.mark.parametrize("content", [None, "", "[]", '{"data_hash": "x", "files": {}}', '{"data_hash": 1, "files": 5}'])
def test_a_folder_without_a_usable_index_is_read_once(folder, read, content):
    (folder / INDEX).unlink()
    if content is not None:
        (folder / INDEX).write_text(content)
    for _ in range(2):
        verify(folder)
        assert len(read) == num_files(folder)


def test_changed_missing_and_added_files_are_named(folder):
    changed, missing = sorted((folder / "test").iterdir())[:2]
    content = bytearray(changed.read_bytes())
    content[-1] ^= 1
    changed.write_bytes(content)
    missing.unlink()
    (folder / "train" / "more.jpg").write_bytes(b"x")
    with pytest.raises(
        ValueError, match="data: has changed since it was prepared, 3 files differ; prepare it"
    ) as error:
        verify(folder)
    assert str(error.value).splitlines()[1:] == [
        f"test/{missing.name}: missing",
        "train/more.jpg: added",
        f"test/{changed.name}: changed",
    ]
    (folder / INDEX).unlink()
    with pytest.raises(ValueError, match=r"/manifest\.json: expected the data_hash of the files, \w{64}, got \w{64}"):
        verify(folder)


def test_a_table_is_verified_too(folder):
    with (folder / "pairs-test.csv").open("a") as file:
        file.write("\n")
    with pytest.raises(ValueError, match=r"1 files differ; prepare it again:\npairs-test\.csv: changed"):
        verify(folder)


def test_a_folder_that_can_not_be_written_to_is_verified(folder, monkeypatch, caplog):
    (folder / INDEX).unlink()

    def refuse(path, text):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(manifest, "write_text", refuse)
    assert verify(folder) == read_manifest(folder)
    assert "all files were read to check them, and will be again" in caplog.text


@pytest.mark.parametrize("content", [None, "null", "[]", "5", "{}", '{"label": "x", "data_hash": 5}', "[" * 100_000])
def test_a_damaged_manifest_is_named(folder, content):
    (folder / MANIFEST).unlink()
    if content is not None:
        (folder / MANIFEST).write_text(content)
    with pytest.raises(ValueError, match=rf"^{folder}/manifest\.json: .*expected") as error:
        verify(folder)
    assert "\n" not in str(error.value)
