import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from commands import ended_process
from twostream import files
from twostream.files import (
    atomic_write,
    csv_text,
    open_log,
    read_bytes,
    read_json,
    read_object,
    read_rows,
    read_text,
    remove_remains,
    sha256_of,
    write_json,
    write_text,
)


@pytest.mark.parametrize("read", [read_text, read_json, read_object, read_rows, sha256_of])
def test_only_regular_files_are_read(tmp_path, read, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    os.mkfifo("pipe")
    Path("folder").mkdir()
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")
    for name, kind in (("pipe", "pipe"), ("socket", "socket"), ("folder", "folder"), ("/dev/zero", "device")):
        Path("link").unlink(missing_ok=True)
        Path("link").symlink_to(name)
        for path in (Path(name), Path("link")):
            with pytest.raises(ValueError, match=f"^{path}: expected a regular file, got a {kind}$"):
                read(path)


def test_a_link_to_a_regular_file_is_read(tmp_path):
    (tmp_path / "a").write_text("[1]")
    (tmp_path / "b").symlink_to("a")
    assert read_json(tmp_path / "b") == [1]


def test_a_file_over_the_limit_is_refused(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(bytes(11))
    assert len(read_bytes(path, 11)) == 11
    with pytest.raises(ValueError, match=f"^{path}: expected at most 10 bytes, got 11$"):
        read_bytes(path, 10)


def test_text_alone_is_kept_from_being_a_formula():
    assert csv_text([["=1", "+a", "-a", "@a", "\t"], ["-0.5", "+1e9", -1, "a=1", None]]) == (
        "'=1,'+a,'-a,'@a,'\t\n-0.5,+1e9,-1,a=1,\n"
    )


def test_json_has_a_lower_limit(tmp_path):
    path = tmp_path / "a.json"
    with path.open("wb") as file:
        file.truncate(2**25 + 1)
    with pytest.raises(ValueError, match=f"^{path}: expected at most 33,554,432 bytes, got 33,554,433$"):
        read_json(path)
    with pytest.raises(ValueError, match=f"^{path}: expected JSON, got: "):
        read_json(path, 2**25 + 1)


READ_LARGEST = """
import re, sys
from pathlib import Path
from twostream.data.images import MAX_PIXELS, Image, read_image
from twostream.files import MAX_JSON_BYTES, read_json

path = Path(sys.argv[1])
if path.suffix == ".png":
    Image.new("L", (MAX_PIXELS // 5000, 5000)).save(path, transparency=0)
else:
    path.write_text("[" + "[1]," * (MAX_JSON_BYTES // 4 - 1) + "0]")
# Unlike that of `resource`, this peak is not the parent's, from which the process was forked.
peak = lambda: int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
before = peak()
(read_image if path.suffix == ".png" else read_json)(path)
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.png", "a.json"])
def test_the_largest_files_take_less_than_a_gigabyte(tmp_path, name):
    command = [sys.executable, "-c", READ_LARGEST, str(tmp_path / name)]
    assert 100 * 2**10 < int(subprocess.check_output(command, text=True)) < 2**20  # KB


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs /proc")
def test_a_file_that_states_no_size_is_limited_too():
    with pytest.raises(ValueError, match="expected at most 10 bytes, got more"):
        read_bytes(Path("/proc/self/smaps"), 10)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[" * 100_000, "[NaN]", '{"a": -Infinity}', "[" * 50 + "x", "[1e999]", f"[{2**63}]", f"[{'9' * 5000}]"],
)
def test_text_that_is_no_json_is_named(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=rf"^{tmp_path}/a\.json: expected JSON, got: .+$"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("null", "a JSON object, got null"),
        ("[]", r"a JSON object, got \[\]"),
        ("5", "a JSON object, got 5"),
        ('"x"', 'a JSON object, got "x"'),
        ("{}", r"the key 'format', got \[\]"),
        (json.dumps(["x" * 1000]), r"a JSON object, got \[\"x+\.\.\. \(1,004 characters\)"),
    ],
)
def test_json_of_another_type_is_named(tmp_path, text, got):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=f"^{tmp_path}/a.json: expected {got}$"):
        read_object(tmp_path / "a.json", "format")


def test_a_missing_object_is_none(tmp_path):
    assert read_object(tmp_path / "a.json", "format") is None
    write_json(tmp_path / "a.json", {"format": 1})
    assert read_object(tmp_path / "a.json", "format") == {"format": 1}


def test_a_table_is_read_by_its_header(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('a,b\n1,"x,\ny"\n2\n')
    assert read_rows(path) == (["a", "b"], [{"a": "1", "b": "x,\ny"}, {"a": "2"}])
    path.write_text("")
    assert read_rows(path) == ([], [])
    path.write_text("a\n" + "x" * 200_000)
    with pytest.raises(ValueError, match=rf"^{path}:\d+: expected a CSV table, got: field larger than"):
        read_rows(path)


def test_a_log_does_not_follow_links(tmp_path):
    target, link = tmp_path / "precious", tmp_path / "train.log"
    target.write_text("content")
    link.symlink_to(target)
    for mode in ("a", "w"):
        with pytest.raises(OSError, match=r"train\.log"):
            open_log(link, mode)
    assert target.read_text() == "content"
    link.unlink()
    os.mkfifo(link)
    with pytest.raises(OSError, match=r"train\.log"):
        open_log(link, "a")
    link.unlink()
    for line in ("a", "b"):
        with open_log(link, "a") as log:
            log.write(line)
    assert link.read_text() == "ab"


def test_a_durable_write_reaches_the_disk_before_its_name(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(files, "_sync", lambda path: synced.append((path.name, (tmp_path / "a.json").exists())))
    write_json(tmp_path / "a.json", {})
    assert synced == [(f".a.{os.getpid()}.json", False), (tmp_path.name, True)]


def test_remains_of_dead_processes_are_removed(tmp_path):
    dead = ended_process()
    gone = [tmp_path / f".a.{dead}.json", tmp_path / "checkpoints" / f".last.{dead}.ckpt"]
    gone.append(tmp_path / f".table.{2**40}")
    kept = [tmp_path / name for name in (f".b.{os.getpid()}.json", ".lock", f"a.{dead}.json", ".c.x.json")]
    (tmp_path / "checkpoints").mkdir()
    for path in (*gone, *kept):
        path.touch()
    remove_remains(tmp_path)
    assert not any(path.exists() for path in gone)
    assert all(path.exists() for path in kept)


def test_a_failed_write_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail():
        with atomic_write(path) as temporary:
            temporary.write_text("new")
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        fail()
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("a.txt", "old")]


def test_the_remains_of_a_killed_writer_are_removed_by_the_next_one_of_the_file(tmp_path):
    dead = ended_process()
    remains = tmp_path / f".table.{dead}.md"
    others = [tmp_path / f".table.{dead}.csv", tmp_path / f".notes.{dead}.md"]
    others.append(tmp_path / f".table.{os.getppid()}.md")  # of a process that runs
    for path in (remains, *others):
        path.touch()
    write_text(tmp_path / "table.md", "new")
    assert sorted(tmp_path.iterdir()) == sorted([*others, tmp_path / "table.md"])


def test_a_full_disk_is_reported_with_the_file_and_leaves_nothing(tmp_path):
    code = "import resource; from pathlib import Path; from twostream.files import write_text\n"
    code += "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); write_text(Path('table.md'), 'x' * 5000)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == "OSError: [Errno 27] File too large: 'table.md'"
    assert list(tmp_path.iterdir()) == []
