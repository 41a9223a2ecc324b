"""Run every command that writes on full disks, in read-only and odd folders, without files that it needs, and more."""

import random
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path

from attack.kills import remains
from attack.writers import Writer, content_of
from commands import SECONDS

COUNTS = ("as usual", "refused", "refused without a name", "traceback", "files damaged", "temporary files")
PAGE = 4096  # bytes, of a file system in memory
# In a mount namespace of its own, whose file systems vanish with it.
SCRIPT = 'eval "$MOUNT" && cd "$FOLDER" || exit 99; "$@"; status=$?; cp -a "$FOLDER/." "$AFTER"; exit $status'
READ_ONLY = 'mount --bind "$FOLDER" "$FOLDER" && mount -o remount,ro,bind "$FOLDER"'
FULL = 'cp -a "$FOLDER" "$COPY" && mount -t tmpfs -o size=$SIZE none "$FOLDER" && cp -a "$COPY/." "$FOLDER"'
FULL_TMPDIR = 'mount -t tmpfs -o size=8k none "$TMPDIR" && head -c 4096 /dev/zero > "$TMPDIR/full"'


@dataclass(frozen=True)
class Surroundings:
    """Where a command runs.

    Attributes:
        mount: changes the file system; a command of a shell.
        environment: variables.
        folder: the name of the folder.
        room: the space on the disk of FULL, as a share of what an undisturbed command needs.
        is_file_missing: whether a file of the folder, drawn at random, is removed before.

    """

    name: str
    mount: str = "true"
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: str = "folder"
    room: float = 0
    is_file_missing: bool = False


SURROUNDINGS = (
    Surroundings("read-only folder", READ_ONLY),
    Surroundings("full disk", FULL),
    Surroundings("disk that fills early", FULL, room=0.3),
    Surroundings("disk that fills late", FULL, room=0.8),
    Surroundings("full folder for temporary files", FULL_TMPDIR),
    Surroundings("no folder for temporary files", environment={"TMPDIR": "/nonexistent"}),
    Surroundings("no home", environment={"HOME": "/nonexistent"}),
    Surroundings("ASCII terminal", environment={"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}),
    Surroundings("folder with an odd name", folder="a b,c=d'$eü[0]"),
    Surroundings("missing file", is_file_missing=True),
)


@dataclass(frozen=True)
class End:
    """How a command ended, and what it left."""

    status: int
    output: str
    folder: Path


def can_mount() -> bool:
    """Return whether this process may have a mount namespace of its own."""
    if shutil.which("unshare") is None:
        return False
    try_it = ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(try_it, capture_output=True, check=False).returncode == 0


def attack(writer: Writer, folder: Path, seed: int) -> tuple[dict[str, Counter[str]], list[str]]:
    """Run a command in all surroundings; return the counts of each, and a text for each bad outcome."""
    counts, defects = {}, []
    with tempfile.TemporaryDirectory() as work:
        usual = run(writer, folder, Path(work) / "usual")
        if usual.status:
            raise ValueError(f"{writer.name}: expected status 0, got {usual.status}\n{usual.output}")
        for number, one in enumerate(SURROUNDINGS):
            room = used_by(folder) + one.room * (used_by(usual.folder) - used_by(folder))
            missing = None
            if one.is_file_missing:
                files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
                missing = random.Random(f"{seed} {writer.name}").choice(files)
            end = run(writer, folder, Path(work) / str(number), one, missing, int(room / PAGE) * PAGE)
            counts[one.name], texts = judge(end, folder, usual.folder, missing)
            defects += [f"{writer.name}, {one.name}{f' {missing}' if missing else ''}: {text}" for text in texts]
            shutil.rmtree(end.folder.parent)
    return counts, defects


def run(
    writer: Writer,
    folder: Path,
    work: Path,
    surroundings: Surroundings = Surroundings("usual"),
    missing: Path | None = None,
    size: int = 0,
) -> End:
    """Run a command in a copy of a folder under `work`, with a disk of so many bytes if the surroundings have one."""
    copy, temporary = work / surroundings.folder, work / "tmp"
    shutil.copytree(folder, copy)
    temporary.mkdir()
    if missing:
        (copy / missing).unlink()
    variables = {
        **{"MOUNT": surroundings.mount, "FOLDER": str(copy), "AFTER": str(work / "after"), "COPY": str(work / "copy")},
        **{"SIZE": str(size), "TMPDIR": str(temporary), **surroundings.environment},
    }
    inside = ("unshare", "--map-root-user", "--mount", "sh", "-c", SCRIPT, "sh")
    process = writer.start(copy, inside=inside, **variables)
    output, _ = process.communicate(timeout=SECONDS)
    return End(process.returncode, output, work / "after")


def used_by(folder: Path) -> int:
    """Return how many bytes the files of a folder take on a disk in memory."""
    return sum(-(-path.stat().st_size // PAGE) * PAGE for path in folder.rglob("*") if path.is_file())


def judge(end: End, before: Path, usual: Path, missing: Path | None) -> tuple[Counter[str], list[str]]:
    """Return the counts, and a text for each bad one, of a command that was given `before`, and usually leaves `usual`.

    A file is damaged if it is neither as before nor as usual, or gone. Not compared: hidden folders, in which commands
    keep what they can resume, checkpoints of a stopped training, and files that may lack what a missing one would give.
    """
    given, expected, left = (
        {name: content for name, content in content_of(folder).items() if not name.startswith(".")}
        for folder in (before, usual, end.folder)
    )
    names = {path.name for folder in (usual, end.folder) for path in folder.rglob("*")}
    outcome = outcome_of(end, names if missing is None else {missing.name, missing.parent.name})
    damaged = []
    if missing is None:
        damaged = [name for name in given if name not in left]
        damaged += [
            name
            for name, content in left.items()
            if content not in (given.get(name), expected.get(name)) and not name.endswith(".ckpt")
        ]
    if outcome == "as usual" and missing is None:
        damaged += [name for name in expected if left.get(name) != expected[name]]
    counts = Counter({outcome: 1, "files damaged": len(damaged), "temporary files": len(remains(end.folder))})
    bad = [name for name in COUNTS[2:] if counts[name]]
    return counts, [f"{', '.join(bad)} {damaged or ''}\n{end.output}"] if bad else []


def outcome_of(end: End, names: Set[str]) -> str:
    """Return how a command ended; a refusal has to show one of the names, or to end with a quoted one."""
    if "Traceback" in end.output:
        return "traceback"
    if end.status == 0:
        return "as usual"
    is_named = any(name in end.output for name in names) or re.search(r"Error: .*: '[^']+'$", end.output, re.MULTILINE)
    return "refused" if is_named else "refused without a name"
